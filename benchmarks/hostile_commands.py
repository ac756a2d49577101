"""More hostile inputs: recipes and what is laid over them, arguments, and the folders of runs."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from hostile_inputs import ABSENT, DEEP, ESCAPES, FILES, Input, put

from lapilli.core.run import RunDir

RECIPE = "stage: align\nmodel: model\ndata: {file: rows.json, images: scenes/images}\nout: out\n"
YAML: Mapping[str, str] = {
    "alias bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)),
    "recursive": "data: &a [*a]\n",
    "recursive fields": "data: &a {file: *a}\n",
    "!!int": "seed: !!int foo\n",
    "!!float": "clip: !!float x\n",
    "!!bool": "seed: !!bool x\n",
    "!!timestamp": "seed: !!timestamp x\n",
    "!!binary": "seed: !!binary é\n",
    "!!python": "seed: !!python/object/apply:os.system [id]\n",
    "!!set": "seed: !!set {a}\n",
    "a list as key": "? [a, b]\n: c\n",
    "fields as key": "? {a: b}\n: c\n",
    "brackets": "seed: " + "[" * DEEP,
    "braces": "seed: " + "{a: " * DEEP,
    "5,000 digits": "seed: " + "9" * 5_000 + "\n",
    "sexagesimal": "seed: 1" + ":59" * 9_999 + "\n",
    "hexadecimal": "seed: 0x" + "f" * 9_999 + "\n",
    "2^64": f"seed: {2**64}\n",
    "below zero": "batch_size: -1\n",
    "NaN": "clip: .nan\n",
    "many workers": "workers: 100000\n",
    "a big batch": f"batch_size: {10**30}\n",
    "half a character": 'precision: "\\ud800"\n',
    "a zero byte": 'precision: "a\\0b"\n',
    "merge keys": "<<: {a: 1}\n",
    "two documents": "---\na: b\n",
    "a tab": "x:\n\t- y\n",
    "200,000 entries": "x:\n" + "- a\n" * 200_000,
    "escapes": f"x: {json.dumps(ESCAPES)}\n",
    "an unknown tag": "seed: !x y\n",
    "indented without end": "".join(" " * i + "a:\n" for i in range(1_000)),
}
SETS = [
    "seed=!!int x",
    "seed=" + "[" * DEEP,
    "data=&a [*a]",
    "seed=" + "9" * 5_000,
    "out=" + "o" * 5_000,
    "x" * 5_000 + "=1",
    "=",
    "seed",
    "data.file.x.y=3",
    "data=null",
    "data.file=[[]]",
    "model=" + "m" * 5_000,
    "data.images=" + "i" * 5_000,
    "data.file=" + "f" * 5_000 + ".json",
    'out="\\ud800"',
    'model="a\\0b"',
    "seed=!!timestamp x",
    f"seed={2**32}",
    "workers=100000",
    f"batch_size={10**30}",
    "epochs=.inf",
    f"x={ESCAPES}",
    "out=\udcff",
    "model=\udcff\udcfe",
    "learning_rate=1e999",
]
ASK = ["ask", "model", "picture.png"]
EXPLAIN = ["explain", "model", "picture.png", "What?", "--controls", "0"]
TEXTS = {
    "escapes": ESCAPES,
    "markup": "[red]what?[/red]",
    "bytes": "what \udcff?",
    "umlaut": "wei\udcc3\udc9f?",
    "half a character": "\ud800",
    "spaces": "  ",
    "a mark": "<image>",
    "long": "why " * 3_000,
    "zero": "a\0b",
}
PATHS = [
    "m" * 5_000,
    ESCAPES,
    "a\0b",
    "\udcff",
    "\ud800",
    "[red]",
    "../" * 2_000,
    "org/name@" + "x" * 3_000,
    "/dev/zero",
    "",
]
PATCHES = ["9" * 5_000, "1-" + "9" * 30, "-", "²", "1-0", ESCAPES, ","]
SIZES = ["9" * 400 + "GB", "1e9GB", "0MB", ESCAPES, "²GB", "."]


def recipes() -> Iterator[Input]:
    """Recipes, and what is laid over them."""
    train = ["train", "recipe.yaml"]
    for name, content in FILES.items():
        yield Input("recipes", name, partial(put, "recipe.yaml", content, train))
    for name, text in YAML.items():
        yield Input("recipes", name, partial(put, "recipe.yaml", RECIPE + text, train))
    for one in SETS:
        yield Input("--set", one[:30], partial(put, "recipe.yaml", RECIPE, [*train, "--set", one]))


def arguments() -> Iterator[Input]:
    """Command lines."""
    for name, text in TEXTS.items():
        for command in ([*ASK, text, "--max-new-tokens", "2"], [*EXPLAIN, "--answer", text]):
            yield _line("arguments", f"{command[0]}: {name}", command)
        yield _line("arguments", f"--contrast {name}", [*EXPLAIN, "--contrast", text])
    for path in PATHS:
        for name, command in _commands_of(path).items():
            yield _line("paths", f"{name} {path[:20]!r}", command)
    for patches in PATCHES:
        yield _line("arguments", f"--remove {patches[:9]!r}", [*EXPLAIN, "--remove", patches])
    for size in SIZES:
        yield _line(
            "arguments", f"--shard-size {size[:9]!r}", ["model", "convert", "model", "out", "--shard-size", size]
        )


def _commands_of(path: str) -> dict[str, list[str]]:
    """The commands that are given a path, by what it is to them."""
    return {
        "model": ["model", "info", path],
        "picture": ["ask", "model", path, "What?"],
        "out": ["model", "convert", "model", f"/proc/{path}"],
        "rows": ["data", "validate", f"{path}.json", "--images", path],
        "data": ["scorecard", "model", path, "--out", "out"],
    }


def _line(kind: str, name: str, command: list[str]) -> Input:
    """A command line that is the hostile input itself: beside it stands an empty file."""
    return Input(kind, name, partial(put, "note", "", command))


def results() -> Iterator[Input]:
    """The folders of finished runs, spoilt, and drawn again."""
    beside = ["scorecard", "model", "scenes", "--out", "out", "--beside", "run"]
    for name, content in FILES.items():
        yield Input("results", f"scorecard.json: {name}", partial(_run, "results/scorecard.json", content, beside))
        yield Input("results", f"manifest.json: {name}", partial(_run, "manifest.json", content, beside))
        yield Input("results", f"recipe.yaml of a begun run: {name}", partial(put, "out/recipe.yaml", content, ABSENT))
    for name, content in {
        "files of a list": {"files": []},
        "entries of text": {"files": {"recipe.yaml": "x"}},
        "leads out": {"files": {"../../etc/passwd": {"bytes": 1, "sha256": "x"}}},
        "a device": {"files": {"/dev/zero": {"bytes": 0, "sha256": "x"}}},
    }.items():
        yield Input(
            "results", f"manifest.json: {name}", partial(_run, "manifest.json", json.dumps(content).encode(), beside)
        )


def _run(name: str, content: bytes, command: list[str], sandbox: Path) -> list[str]:
    run = RunDir.create(sandbox / "run", {"made": "for this"}, 0)
    run.save("scorecard", {"model": "a", "scores": []})
    run.finish()
    return put(f"run/{name}", content, command, sandbox)
