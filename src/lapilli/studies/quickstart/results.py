"""Gather everything that the folder of a journey holds into the one file that the page is drawn from."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any, cast

from lapilli.core import spelling
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.read import read_json
from lapilli.core.run import RunDir
from lapilli.data.encode import IGNORED, encode
from lapilli.data.sample import read_samples
from lapilli.data.show import pieces
from lapilli.evaluation.scenes import best_constants, read_questions
from lapilli.model.fetched import RELEASES
from lapilli.report.quickstart.schema import Results
from lapilli.report.quickstart.story import differences
from lapilli.studies.quickstart.times import times

if TYPE_CHECKING:
    from lapilli.model.llava import Llava
    from lapilli.studies.quickstart.journey import Journey

_AGAIN = "choose another --out"

STAGES = {"align": ["projector"], "instruct": ["projector", "language"]}


def collect(journey: Journey) -> Results:
    """Read the journey's folder, write `results.json`, and return what it holds (`report/quickstart/schema.py`)."""
    from lapilli.model.llava import load

    out = journey.out
    steps = times(journey.log)
    llava = load(out / "model")
    runs = {stage: RunDir.open(out / stage) for stage in STAGES}
    results: dict[str, Any] = {
        "title": "A LLaVA that learned to see",
        "seed": journey.seed,
        "seconds": round(sum(step["seconds"] for step in steps), 1),
        "finished": steps[-1]["finished"],
        "command": journey.command,
        "peak_memory_bytes": max(step["peak_memory_bytes"] for step in steps),
        "versions": _versions(out / "instruct"),
        "machine": _machine(),
        **_network(journey, llava),
        "stages": [_stage(name, run, steps) | {"row": _row(journey, name, llava)} for name, run in runs.items()],
        **_scores(journey),
        "steps": steps,
        "next_commands": _next_commands(journey),
    }
    typed = cast(Results, results)
    typed["differences"] = list(differences(typed))
    write_atomically(out / "results.json", json_text(typed, indent=1) + "\n")
    return typed


def _versions(run: Path) -> dict[str, str]:
    environment = read_json(run / "environment.json", _AGAIN)
    return {name: version for name, version in environment["versions"].items() if version}


def _scores(journey: Journey) -> dict[str, Any]:
    """What the scoring left: scores of both stages, captions of the first, answers about new scenes, English kept."""
    files = (journey.out / f"scores/{name}.json" for name in ("align", "instruct", "fresh"))
    align, instruct, fresh = (_saved(file) for file in files)
    rows = align["scores"] + instruct["scores"]
    return {
        "scores": [row for row in rows if row["type"] != "all"],
        "overall": [row for row in rows if row["type"] == "all"],
        "constants": _constants(journey),
        "captions": align["captions"],
        "examples": fresh["examples"],
        **_english(journey),
    }


def _english(journey: Journey) -> dict[str, Any]:
    """What the language model could do without pictures before and after, where that was scored."""
    file = journey.out / "scores/text.json"
    if not journey.makes.talks:
        return {}
    before, after = (read_json(file, _AGAIN)[when] for when in ("before", "after"))
    rows = zip(before["scores"], after["scores"], strict=True)
    units = zip(before["perplexity"], after["perplexity"], strict=True)
    scores = [{"type": old["type"], "before": old["right"], "after": new["right"]} for old, new in rows]
    perplexity = [{"unit": old["unit"], "before": old["perplexity"], "after": new["perplexity"]} for old, new in units]
    return {"english": {"scores": scores, "perplexity": perplexity}}


def _saved(file: Path) -> dict[str, Any]:
    """What a file of scores holds, with the types of questions as they are spelled today."""
    content: dict[str, Any] = read_json(file, _AGAIN)
    typed = [key for key in ("scores", "examples") if key in content]
    return content | {key: [spelling.entry(row, "type") for row in content[key]] for key in typed}


def _stage(name: str, run: RunDir, steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the page says of a stage; its seconds are those of its step, interrupted attempts included."""
    logged = [row for row in run.metrics() if "loss" in row]
    metrics = [{key: row[key] for key in ("step", "loss", "learning_rate")} for row in logged]
    recipe = (run.path / "recipe.yaml").read_text(encoding="utf-8")
    trained = run.load("training")
    speeds = [row["samples_per_second"] for row in logged]
    return {
        "name": name,
        "trains": STAGES[name],
        **{key: trained[key] for key in ("trainable_parameters", "samples", "steps")},
        "seconds": next(step["seconds"] for step in steps if step.get("stage") == name),
        "samples_per_second": round(harmonic_mean(speeds), 1) if speeds else None,
        "metrics": metrics,
        "recipe": recipe,
    }


def _row(journey: Journey, stage: str, llava: Llava) -> dict[str, Any]:
    """The first sample of a stage's data as the stage's model reads it; both speak with the same tokenizer."""
    from lapilli.training.stages import STAGES as KINDS
    from lapilli.training.stages import requirements

    sample = next(iter(read_samples(journey.samples(stage))))
    codec = requirements(KINDS[stage], llava.codec, llava.model.config).codec
    encoded = encode(sample, codec)
    return {
        "image": f"data/train/images/{sample.images[0]}",
        "template": KINDS[stage].template or llava.card.template,
        "count": len(encoded.ids),
        "learned": int((encoded.labels != IGNORED).sum()),
        "tokens": [{**asdict(piece), "role": piece.role.name.lower()} for piece in pieces(encoded, codec)],
    }


def _constants(journey: Journey) -> list[dict[str, Any]]:
    constants = []
    for split in ("held_out", "compositional"):
        questions = read_questions(journey.data(split), split, journey.questions)
        for kind, (answer, share) in best_constants(questions).items():
            constants.append({"split": split, "type": kind, "answer": answer, **asdict(share)})
    return constants


def _network(journey: Journey, llava: Llava) -> dict[str, Any]:
    """The three parts with their sizes and cards, and the grid of patches."""
    rows, columns = llava.codec.patch_grid
    joined = llava.model.model
    parts = (
        ("pebble-vision", "vision", joined.vision_tower),
        ("projector", "projector", joined.multi_modal_projector),
        (journey.language, "language", joined.language_model),
    )
    described = []
    for name, role, module in parts:
        card = "" if role == "projector" else _card(name)
        count = sum(parameter.numel() for parameter in module.parameters())
        described.append({"name": name, "role": role, "parameters": count} | ({"card": card} if card else {}))
    tied = llava.model.config.tie_word_embeddings
    described[-1]["head"] = 0 if tied else sum(parameter.numel() for parameter in llava.model.lm_head.parameters())
    return {"parts": described, "patches": {"rows": rows, "columns": columns}}


def _card(part: str) -> str:
    from lapilli.model.parts import part_path

    if part in RELEASES:
        return RELEASES[part].source
    return (part_path(part) / "README.md").read_text(encoding="utf-8")


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "accelerator": "",
        "cores": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _next_commands(journey: Journey) -> list[dict[str, str]]:
    out, train = journey.out, journey.data("train")
    again = {
        "model": out / "align/model",
        "data.file": journey.samples("instruct"),
        "data.images": train / "images",
        "out": out / "again",
        "seed": journey.seed + 1,
    }
    overrides = [*journey.overrides, *(f"{field}={value}" for field, value in again.items())]
    changes = [part for override in overrides for part in ("--set", override)]
    picture = journey.data("fresh") / "images/000000.png"
    return [
        _command("ask it something yourself", "ask", out / "model", picture, "How many objects are there?"),
        _command(
            "see why it said that: which patches, words and layers, and what it says without them",
            *("explain", out / "model", picture, "How many objects are there?", "--out", out / "why"),
        ),
        _command("score it on scenes drawn anew, with the controls", "eval", out / "model", "scenes"),
        _command(
            "see what one row of its training data looks like to it",
            *("data", "show", journey.samples("instruct"), "--row", 0, "--model", out / "model"),
        ),
        _command("train stage 2 once more with another seed", "train", _recipe(journey), *changes),
    ]


def _recipe(journey: Journey) -> str:
    return f"recipes/{journey.makes.recipes['instruct']}.yaml"


def _command(purpose: str, *words: object) -> dict[str, str]:
    return {"command": shlex.join(["lapilli", *map(str, words)]), "purpose": purpose}
