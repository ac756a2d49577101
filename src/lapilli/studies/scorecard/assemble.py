"""The scorecard as one object of plain values: what is saved, printed and drawn."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lapilli.core.environment import PACKAGES, versions
from lapilli.data.pictures import open_picture
from lapilli.data.questions import read_picture_questions
from lapilli.model.hub import hub_name
from lapilli.model.llava import codec_of, pixels_of
from lapilli.report.kit.pictures import picture_uri
from lapilli.studies.scorecard import table
from lapilli.studies.scorecard.curves import POINTS
from lapilli.studies.scorecard.job import Job, Kept
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.methods.registry import chosen
from lapilli.studies.scorecard.operators import OPERATORS
from lapilli.studies.scorecard.sanity import TESTS
from lapilli.studies.scorecard.score import CONTROLS, SHARE
from lapilli.studies.scorecard.sift import VISUAL

TARGET = (
    "the key word of the answer, all its pieces, given the words before it: the word that a blurred picture costs "
    "most. Measured is its log-probability. Gradients and decompositions explain its logit less the mean of all "
    "logits, methods that take parts away its log-probability, RISE its probability; the others what they are of"
)
FILTER = (
    "one question of a picture, drawn at random; where it is known of some questions what in the picture they are "
    "about, those alone; answered rightly, and the key word loses more than "
    f"{VISUAL:g} nat when the picture is blurred beyond recognition, and at the median over the nine shipped pictures "
    "in its place. Counted apart are those where the picture's overall color is enough (only other pictures cost a "
    "word that much), those that most pictures leave about as likely (only blurring does), and those that need no "
    "picture"
)

_FAITHFUL = {
    "gap": ("LeRF - MoRF gap", "insertion less deletion: the area between the curves", "up"),
    "insertion": ("Insertion", "area under the curve as the strongest patches come first into an empty picture", "up"),
    "deletion": ("Deletion", "area under the curve as the strongest patches go first", "down"),
    "early": ("Early deletion", "mean of the deletion curve over the first quarter of the patches", "down"),
    "flip": (
        "Flip",
        "how often the word changes without the strongest eighth, less how often without random ones in pieces of the "
        "same sizes",
        "up",
    ),
}
_CALIBRATED = {
    "calibration": (
        "Calibration",
        "rank correlation, within sizes, of a map's sums over random groups and what the word loses without them",
        "up",
    ),
    "slope": (
        "Slope",
        "measured over foretold loss of random groups, both in the unit that the map is in (the centred logit, or nats "
        "of the log-probability), by least squares through 0; 1 is a true forecast",
        "one",
    ),
}
_PLAUSIBLE = {
    "pointing": ("Pointing", "the share of the strongest patch that what is asked about covers", "up"),
    "energy": ("Energy", "the positive map's share on what is asked about, over its share of the picture", "up"),
    "precision": ("Precision", "average precision of the patches as a ranking of what is asked about", "up"),
    "ties_hit": (
        "Pointing, ties as hits",
        "as a released code counts: any of the strongest touching it is a hit",
        "up",
    ),
    "crop_kept": (
        "Pointing, crop not undone",
        "as a released code places maps: stretched over the whole picture",
        "up",
    ),
}
_BLOCKS = {"faithfulness": _FAITHFUL, "calibration": _CALIBRATED, "plausibility": _PLAUSIBLE}


def scorecard(job: Job) -> dict[str, Any]:
    """What a whole run comes to: see the page's section on how it was measured for the meaning of each part."""
    run, plan = job.run, job.plan
    methods, costs = _methods_with_costs(job)
    numbers = table.read(run, methods, plan.operators, len(job.kept))
    seconds = {name: float(np.median([one["seconds"] for one in runs])) for name, runs in costs.items()}
    compared = table.best_tests(numbers, plan.seed)
    return {
        "model": hub_name(job.model) or "/".join(job.model.resolve().parts[-2:]),
        "data": job.data.resolve().name,
        "counts": {"given": len(read_picture_questions(job.data)), **job.counts},
        "settings": _settings(job),
        "methods": [_method(method, costs[method.name]) | table.layers(numbers, method) for method in methods],
        "metrics": _metrics(table.chances(numbers), numbers),
        "scores": table.scores(numbers, plan.seed),
        "tests": table.tests(numbers, plan.seed),
        "best": table.bests(numbers, plan.seed),
        "best_tests": compared,
        "losses": table.losses(compared),
        "agreement": table.agreement(numbers, plan.seed),
        "sanity": table.sanity(numbers, run, plan.seed),
        "sanity_tests": [asdict(test) for test in TESTS] if plan.sanity else [],
        "curves": table.curves(numbers),
        "front": {name: table.front(numbers, number, seconds) for number, name in enumerate(plan.operators)},
        "examples": _examples(job, numbers),
    }


def _methods_with_costs(job: Job) -> tuple[tuple[Method, ...], dict[str, Sequence[dict[str, Any]]]]:
    """The methods as they were measured, and what every run of each has cost, by the method's name."""
    plan, sizes, measured = job.plan, job.run.load("case-0000"), job.run.load("cost")
    listed = chosen(plan.methods, Path(plan.plus) if plan.plus else None, plan.as_released)
    methods = tuple(method.with_head_count(sizes["layers"] * sizes["heads"]) for method in listed)
    return methods, {method.name: measured[one.name] for one, method in zip(listed, methods, strict=True)}


def _settings(job: Job) -> dict[str, Any]:
    plan = job.plan
    kinds: dict[str, int] = {}
    for kept in job.kept:
        kinds[kept.question.type] = kinds.get(kept.question.type, 0) + 1
    return {
        "seed": plan.seed,
        "points": POINTS,
        "target": TARGET,
        "filter": FILTER,
        "primary": plan.operators[0],
        "share": SHARE,
        "controls": CONTROLS,
        "grid": list(codec_of(job.model).patch_grid),
        "sanity_n": min(plan.sanity, len(job.kept)),
        "cost_n": min(plan.costs, len(job.kept)),
        "types": kinds,
        "operators": [{"name": name, "says": (OPERATORS[name].__doc__ or "").strip()} for name in plan.operators],
        "versions": versions((*PACKAGES, "scipy")),
    }


def _method(method: Method, costs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seconds = [one["seconds"] for one in costs]
    memory = [one["memory"] for one in costs if one["memory"] is not None]
    return {
        "name": method.name,
        "family": method.family,
        "says": method.says,
        "paper": method.paper,
        "ours": method.ours,
        "operators": list(method.operators),
        "released": method.released,
        "unit": method.unit,
        "seconds": {"value": float(np.median(seconds)), "low": min(seconds), "high": max(seconds), "n": len(seconds)},
        "forwards": float(np.median([one["forwards"] for one in costs])),
        "backwards": int(np.median([one["backwards"] for one in costs])),
        "memory": int(np.median(memory)) if memory else None,
    }


def _metrics(chances: dict[str, table.Chance], numbers: table.Numbers) -> list[dict[str, Any]]:
    rows = []
    for block, metrics in _BLOCKS.items():
        for name, (title, says, better) in metrics.items():
            if block != "plausibility" or np.isfinite(numbers.plausible.get(name, np.nan)).any():
                row = {"name": name, "title": title, "says": says, "better": better, "block": block}
                rows.append(row | {"chance": chances.get(name)})
    return rows


def _examples(job: Job, numbers: table.Numbers) -> list[dict[str, Any]]:
    view = pixels_of(job.model).view
    rows = []
    for case, why in table.examples(numbers):
        kept, gaps, maps = job.kept[case], numbers.gaps(0)[case], numbers.maps[case]
        picture = view(open_picture(job.data / "images", kept.question.image))
        rows.append(
            _question_fields(kept)
            | {"word": job.run.load(f"case-{case:04d}")["word"], "why": why, "picture": picture_uri(picture)}
            | {"maps": {name: [float(f"{v:.4g}") for v in one] for name, one in zip(numbers.names, maps, strict=True)}}
            | {"gaps": dict(zip(numbers.names, gaps.round(4).tolist(), strict=True))}
        )
    return rows


def _question_fields(kept: Kept) -> dict[str, str]:
    return {"id": kept.question.id, "question": kept.question.question, "answer": kept.given}
