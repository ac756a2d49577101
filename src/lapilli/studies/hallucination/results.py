"""What the answers that were taken apart come to: areas, tests, regressions, deletions, and answers to look at."""

import base64
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapilli.core.environment import versions
from lapilli.core.statistics.auc import Sides, difference, estimate, resampled_areas
from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.logistic import FOLDS, REPEATS, out_of_fold
from lapilli.core.statistics.multiple import holm
from lapilli.data.questions import PictureQuestion, same_answer
from lapilli.studies.hallucination.answered import GROUPS, Answered, group_of
from lapilli.studies.hallucination.margin import CONTROLS, NAMED, PARTS, WAYS
from lapilli.studies.hallucination.matching import CALIPER, Matching, compared, deletion, share
from lapilli.studies.hallucination.scores import BASELINE, CONFIDENCE, SCORES, SHARES, Measured, answer_probability

TASKS = {
    "yes": ("right yes", "Of the answers yes: which are made up?"),
    "absent": ("right no", "Of the answers about absent objects: which are made up?"),
}
"""By name the group that a wrong yes is to be told from, and the question."""

REGRESSED = "yes"
"""The task of the regressions. In the other one a made-up answer is a yes and a right one a no: what tells a yes from a
no, as a blank picture's margin does, would win without a knowledge of errors."""

POOLED, EVERY = "pooled", "all"

WANTED = 50
"""Made-up answers of a model with which an interval is about a tenth to either side."""

_SHOWN = {"wrong yes": 6, "right yes": 3}  # examples on the page


def results(
    labels: Sequence[str],
    asked: Sequence[PictureQuestion],
    *,
    answers: Sequence[Sequence[str]],
    taken: Sequence[Answered],
    matchings: Sequence[tuple[Matching, Sequence[tuple[Answered, Answered]]]],
    shown: Callable[[Answered], Image.Image],
    seed: int,
) -> dict[str, Any]:
    """All that the page shows, as plain values. `answers` are yes, no or other, of every model to every question,
    `matchings` every model's, with the answers of its pairs, and `shown` gives the part of a picture that the patches
    of an answer's model lie on.

    Answers whose margin is on the other side, as of a model that says neither word first, are left out and counted.
    """
    kept = [one for one in taken if one.is_kept]
    areas, tests = _areas(labels, kept, seed)
    return {
        "models": [_counts(label, asked, given) for label, given in zip(labels, answers, strict=True)],
        "settings": {"seed": seed, "questions": len(asked), "named": 1 / NAMED, "controls": CONTROLS, "folds": FOLDS,
                     "repeats": REPEATS, "baseline": BASELINE, "confidence": CONFIDENCE, "shares": SHARES,
                     "caliper": CALIPER, "versions": versions()},
        "taken": {group: sum(one.group == group for one in kept) for group in GROUPS[:3]},
        "left_out": len(taken) - len(kept),
        "missed": max((_missed(one.found) for one in kept), default=0.0),
        "tasks": [{"name": name, "against": against, "asks": asks} for name, (against, asks) in TASKS.items()],
        "scores": [{"name": one.name, "title": one.title, "family": one.family, "more": one.more, "says": one.says}
                   for one in SCORES],
        "areas": areas,
        "tests": tests,
        "regressions": list(_regressions(labels, kept, seed)),
        "deletions": [_deletion(group, kept, seed) for group in ("right yes", "wrong yes")],
        "matched": _matched(matchings, seed),
        "parts": {group: _parts([one.found for one in kept if one.group == group]) for group in GROUPS[:3]},
        "examples": list(_examples(labels, kept, shown)),
    }  # fmt: skip


def _deletion(group: str, rows: Sequence[Answered], seed: int) -> dict[str, Any]:
    mine = [one for one in rows if one.group == group]
    return deletion(group, mine, [one.question.image for one in mine], seed)


def _matched(matchings: Sequence[tuple[Matching, Sequence[tuple[Answered, Answered]]]], seed: int) -> dict[str, Any]:
    """The pairs of all models, and how many made-up answers have none."""
    without, far = (sum(getattr(one, name) for one, _ in matchings) for name in ("without", "far"))
    return {"without": without, "far": far, **compared([pair for _, pairs in matchings for pair in pairs], seed)}


def _counts(label: str, asked: Sequence[PictureQuestion], answers: Sequence[str]) -> dict[str, Any]:
    """How often each group came, and by kind of question, and how many questions would give WANTED wrong yes."""
    groups = [group_of(question, answer) for question, answer in zip(asked, answers, strict=True)]
    wrong = groups.count("wrong yes")
    absent = [(q, g == "wrong yes") for q, g in zip(asked, groups, strict=True) if same_answer(q.answer, "no")]
    return {
        "label": label,
        "groups": {group: groups.count(group) for group in GROUPS},
        "kinds": {kind: _made_up([one for one in absent if one[0].type == kind]) for kind in _kinds(asked)},
        "needed": math.ceil(WANTED * len(asked) / wrong) if wrong else None,
    }


def _made_up(absent: Sequence[tuple[PictureQuestion, bool]]) -> dict[str, Any]:
    """The share of questions about what is absent that were answered with yes."""
    return share(clustered([wrong for _, wrong in absent], [question.image for question, _ in absent]))


def _kinds(asked: Sequence[PictureQuestion]) -> list[str]:
    return list(dict.fromkeys(question.type for question in asked if same_answer(question.answer, "no")))


def _missed(found: Measured) -> float:
    """By how much the parts of an answer's margin miss it, in logits, at the most."""
    return float(max(reading[way]["missed"] for reading in found["readings"].values() for way in WAYS))


def _sides(task: str, rows: Sequence[Answered]) -> tuple[list[Answered], Sides]:
    """The answers of a task, and on which side they are."""
    against, _ = TASKS[task]
    mine = [one for one in rows if one.group in ("wrong yes", against)]
    names = {name: number for number, name in enumerate(dict.fromkeys(one.question.image for one in mine))}
    return mine, Sides(
        positive=np.array([one.group == "wrong yes" for one in mine], np.bool_),
        model=np.array([one.model for one in mine], np.intp),
        picture=np.array([names[one.question.image] for one in mine], np.intp),
    )


def _columns(rows: Sequence[Answered]) -> dict[str, NDArray[np.float64]]:
    return {score.name: np.array([score.turned(one.found) for one in rows], np.float64) for score in SCORES}


def _areas(labels: Sequence[str], rows: Sequence[Answered], seed: int) -> tuple[list[Any], list[Any]]:
    """The area of every score: of every model, of all, and of all by kind; and against the baseline, of all."""
    areas, tests = [], []
    for task in TASKS:
        for model, kind, some in _subsets(task, labels, rows):
            mine, sides = _sides(task, some)
            columns = _columns(mine)
            draws = {name: resampled_areas(scores, sides, seed) for name, scores in columns.items()}
            about = {"task": task, "model": model, "kind": kind, "positives": int(sides.positive.sum())}
            areas += [
                {**about, "score": name, **asdict(estimate(scores, sides, draws[name]))}
                for name, scores in columns.items()
            ]
            if (model, kind) == (POOLED, EVERY):
                tests += _tests(task, columns, sides, draws)
    return areas, tests


def _subsets(
    task: str, labels: Sequence[str], rows: Sequence[Answered]
) -> Iterator[tuple[str, str, Sequence[Answered]]]:
    """Those of all models, of each, and by kind of absent object: present ones are of every kind."""
    yield POOLED, EVERY, rows
    for number, label in enumerate(labels if len(labels) > 1 else ()):
        yield label, EVERY, [one for one in rows if one.model == number]
    for kind in _kinds([one.question for one in rows]):
        yield POOLED, kind, [one for one in rows if one.question.type == kind or one.group == "right yes"]


def _tests(
    task: str, columns: Mapping[str, NDArray[np.float64]], sides: Sides, draws: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Every score against the baseline, p adjusted for all of a task."""
    names = [name for name in columns if name != BASELINE]
    found = [difference(columns[name], columns[BASELINE], sides, (draws[name], draws[BASELINE])) for name in names]
    adjusted = holm([one.p for one in found])
    return [
        {"task": task, "score": name, **asdict(one), "holm": p}
        for name, one, p in zip(names, found, adjusted, strict=True)
    ]


def _regressions(labels: Sequence[str], rows: Sequence[Answered], seed: int) -> Iterator[dict[str, Any]]:
    """What regressions say of answers that they have not seen: from confidence alone, and from shares too.

    Of every model a regression of its own; pooled, their answers are pooled. None where a model has not an
    answer of either side for every fold.
    """
    mine, sides = _sides(REGRESSED, rows)
    if min(np.bincount(2 * sides.model + sides.positive, minlength=2 * len(labels))) < FOLDS:
        return
    columns = _columns(mine)
    said = {
        "confidence": _predicted([columns[name] for name in CONFIDENCE], sides, seed),
        "both": _predicted([columns[name] for name in (*CONFIDENCE, *SHARES)], sides, seed),
        "baseline": columns[BASELINE],
    }
    for number in [-1, *range(len(labels) if len(labels) > 1 else 0)]:
        some = np.flatnonzero((sides.model == number) | (number < 0))
        own = Sides(sides.positive[some], sides.model[some], sides.picture[some])
        label = labels[number] if number >= 0 else POOLED
        yield {"task": REGRESSED, "model": label, **_compared(said, some, own, seed)}


def _predicted(columns: Sequence[NDArray[np.float64]], sides: Sides, seed: int) -> NDArray[np.float64]:
    """Out-of-fold logits of every answer, by a regression of its own model's."""
    table = np.column_stack(columns)
    found = np.zeros(len(table))
    for model in np.unique(sides.model):
        (own,) = np.nonzero(sides.model == model)
        found[own] = out_of_fold(table[own], sides.positive[own], sides.picture[own], seed)
    return found


def _compared(
    said: Mapping[str, NDArray[np.float64]], some: NDArray[np.intp], sides: Sides, seed: int
) -> dict[str, Any]:
    mine = {name: scores[some] for name, scores in said.items()}
    draws = {name: resampled_areas(scores, sides, seed) for name, scores in mine.items()}
    both = mine["both"], draws["both"]
    return {
        "positives": int(sides.positive.sum()),
        "confidence": asdict(estimate(mine["confidence"], sides, draws["confidence"])),
        "both": asdict(estimate(mine["both"], sides, draws["both"])),
        "over_confidence": asdict(difference(both[0], mine["confidence"], sides, (both[1], draws["confidence"]))),
        "over_baseline": asdict(difference(both[0], mine["baseline"], sides, (both[1], draws["baseline"]))),
    }


def _parts(found: Sequence[Measured]) -> dict[str, list[float]]:
    """The parts of every margin by all paths, in logits for yes, and the margins with and without the picture."""
    shares = {name: [one["readings"]["full"]["all_paths"][name] for one in found] for name in PARTS}
    margins = {picture: [one["readings"][picture]["d"] for one in found] for picture in ("full", "blank", "swapped")}
    return {name: [round(value, 3) for value in values] for name, values in (shares | margins).items()}


def _examples(
    labels: Sequence[str], rows: Sequence[Answered], shown: Callable[[Answered], Image.Image]
) -> Iterator[dict[str, Any]]:
    """The answers of which a model was the surest, none of one picture twice."""
    seen: set[str] = set()
    for group, count in _SHOWN.items():
        left = count
        for one in sorted(rows, key=lambda one: -answer_probability(one.found)):
            if one.group == group and one.question.image not in seen and left:
                seen.add(one.question.image)
                left -= 1
                yield _example(labels[one.model], one, shown(one))


def _example(label: str, one: Answered, picture: Image.Image) -> dict[str, Any]:
    readings = one.found["readings"]
    return {
        "model": label,
        "group": one.group,
        "kind": one.question.type,
        "question": one.question.question,
        "probability": answer_probability(one.found),
        "margins": {name: reading["d"] for name, reading in readings.items()},
        "parts": {name: readings["full"]["all_paths"][name] for name in PARTS},
        "map": one.found["maps"]["all_paths"],
        "grid": one.found["grid"],
        "picture": _data_uri(picture),
    }


def _data_uri(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((336, 336))
    content = io.BytesIO()
    small.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
