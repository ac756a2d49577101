"""Whether a change that should not change results changed none: this checkout against an earlier commit, bit for bit.

    python benchmarks/same_numbers.py COMMIT QUICKSTART [--keep DIR] [--only NAME ...] [--json FILE]

QUICKSTART is the folder that `make quickstart` wrote. COMMIT is checked out beside, and gone afterwards. Both sources
run the same commands, one after the other, each in a process of its own: some steps of either stage and of either
part's training, `eval`, `explain`, `scorecard` with all methods and operators, and both studies. Then every number
that they left is compared to the last bit, in the order in which the files have them: losses, weights, arrays,
scores, verdicts' figures. What a clock or the machine says is not; texts and keys may change, as names do.
Exits with 1 if anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from lapilli.core.files import write_atomically

HERE = Path(__file__).resolve().parent.parent
PROGRAM = "from lapilli.cli import main; main()"
NOT_COMPARED = {"environment.json", "manifest.json", "recipe.yaml", "steps.json"}
CLOCKS = (
    "second",
    "started",
    "finished",
    "bytes",
    "memory",
    "version",
    "machine",
    "speed",
    "cost",
    "command",
    "folder",
)
"""A key that has one of these in its name holds what the clock or the machine says, or where something lies."""
QUESTION = "Where is the dotted star?"
LESSON = '[{"steps": 4, "things": 3, "questions": 3, "batch_size": 4}]'


def main() -> None:
    """Parse, run both, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("--keep", type=Path, help="where the runs are written and kept; what is there is not run again")
    parser.add_argument("--only", nargs="+", choices=[*commands(Path(), Path())], help="of the commands")
    parser.add_argument("--json", type=Path, help="a file for what was found")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        out = options.keep or Path(folder)
        runs = {"earlier": out / "earlier", "this": out / "this"}
        quickstart, only = options.quickstart.resolve(), options.only
        with checked_out(options.commit, Path(folder) / "source") as source:
            run_all(source, quickstart, runs["earlier"].resolve(), only)
        run_all(HERE / "src", quickstart, runs["this"].resolve(), only)
        found = {name: compared(runs, name) for name in only or commands(quickstart, out)}
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")
    sys.exit(any(one["differ"] for one in found.values()))


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A block in which the sources of a commit lie in a folder."""
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder / "src"
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def commands(quickstart: Path, out: Path) -> dict[str, list[str]]:
    """What is run, by the name of its folder in `out`."""
    model, data, train = quickstart / "model", quickstart / "data", quickstart / "data/train"
    held_out = data / "held_out"

    def stage(name: str, begun: Path) -> list[str]:
        sets = [f"model={begun}", f"data.file={train / name}.json", f"data.images={train}/images", "epochs=null"]
        return ["train", f"recipes/{name}.yaml", *_sets([*sets, "max_steps=6", "log_every=1", f"out={out / name}"])]

    def part(name: str, *sets: str) -> list[str]:
        return ["train", f"recipes/{name}.yaml", *_sets([*sets, f"out={out / name}"])]

    def on(command: list[str], name: str, *options: str) -> list[str]:
        return [*command, *options, "--out", str(out / name)]

    study = ["study", "colour", str(quickstart / "joined"), str(model), "--data", str(held_out)]
    yes = ["study", "hallucination", str(model), "--data", str(held_out)]
    image = str(held_out / "images/000000.png")
    return {
        "align": stage("align", quickstart / "joined"),
        "instruct": stage("instruct", quickstart / "align/model"),
        "pebble-lm": part("pebble-lm", f"lessons={LESSON}"),
        "pebble-vision": part("pebble-vision", "scenes=40", "steps=4", "batch_size=8"),
        "eval": on(["eval", str(model), "scenes", "--data", str(data)], "eval", "--questions", "4"),
        "explain": on(["explain", str(model), image, QUESTION], "explain"),
        "scorecard": on(
            ["scorecard", str(model), str(held_out), "--questions", "4", "--operators", "blur,mean,drop,knockout"],
            *("scorecard", "--processes", "1"),
        ),
        "color": on(study, "color", "--questions", "12"),
        "hallucination": on(yes, "hallucination", "--questions", "120"),
    }


def _sets(values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def run_all(source: Path, quickstart: Path, out: Path, only: list[str] | None) -> None:
    """Run the commands with the package at `source`, one core each; those whose folder is there are not run again."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    for name, arguments in commands(quickstart, out).items():
        if (only is None or name in only) and not (out / f"{name}.done").exists():
            print(f"{out.name}: {name}", file=sys.stderr)
            out.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=environment, check=True, stdout=sys.stderr)
            (out / f"{name}.done").touch()


def compared(runs: dict[str, Path], name: str) -> dict[str, Any]:
    """How many numbers a command left, and the files in which they are not the same."""
    earlier, this = (numbers(runs[which] / name) for which in ("earlier", "this"))
    files = sorted(earlier.keys() | this.keys())
    differ = [file for file in files if not _same(earlier.get(file), this.get(file))]
    if not earlier:
        differ.append("no numbers at all")
    return {"files": len(files), "numbers": sum(value.size for value in this.values()), "differ": differ}


def _same(one: "np.ndarray[Any, Any] | None", other: "np.ndarray[Any, Any] | None") -> bool:
    return one is not None and other is not None and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def numbers(folder: Path) -> "dict[str, np.ndarray[Any, Any]]":
    """Every number of a run folder, by file and array, with color spelt one way in their names."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_COMPARED):
        name = _respelled(str(file.relative_to(folder)))
        if file.suffix in (".json", ".jsonl"):
            text = file.read_text(encoding="utf-8")
            lines = text.splitlines() if file.suffix == ".jsonl" else [text]
            found[name] = np.array([number for line in lines for number in _flat(json.loads(line))], np.float64)
        elif file.suffix in (".npz", ".safetensors"):
            arrays = dict(np.load(file)) if file.suffix == ".npz" else load_file(file)
            found |= {f"{name}/{_respelled(key)}": value for key, value in arrays.items() if not _clock(key)}
    return found


def _respelled(name: str) -> str:
    return name.replace("colour", "color")


def _flat(value: Any) -> Iterator[float]:
    """The numbers of a JSON value in their order, those of clocks left out."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not _clock(key):
                yield from _flat(one)
    elif isinstance(value, list):
        for one in value:
            yield from _flat(one)
    elif isinstance(value, int | float):
        yield float(value)


def _clock(key: str) -> bool:
    return any(clock in key for clock in CLOCKS)


if __name__ == "__main__":
    main()
