"""The analysis of the answers: areas under ROC curves, tests, regressions, deletions, and examples."""

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
from lapilli.report.kit.pictures import picture_uri
from lapilli.studies.hallucination.analysed_answers import GROUPS, AnalysedAnswer, group_of
from lapilli.studies.hallucination.margin import CONTROLS, NAMED, PARTS, WAYS
from lapilli.studies.hallucination.matching import CALIPER, Matching, compared, deletion, share
from lapilli.studies.hallucination.scores import BASELINE, CONFIDENCE, SCORES, SHARES, Measurement, answer_probability

TASKS = {
    "yes": ("right yes", "Of the answers yes: which are made up?"),
    "absent": ("right no", "Of the answers about absent objects: which are made up?"),
}
"""The tasks by name: the group that a wrong yes is to be told from, and the question."""

REGRESSED = "yes"
"""The task of the regressions. In the other task made-up answers are yes and right ones no: a score that tells yes from
no, such as a blank picture's margin, would win without telling errors."""

POOLED, EVERY = "pooled", "all"

WANTED = 50
"""The number of a model's made-up answers that makes an interval about a tenth wide to either side."""

_SIDE = 336  # pixels of a picture on the page, at most
_SHOWN = {"wrong yes": 6, "right yes": 3}  # examples on the page


def analyse(
    labels: Sequence[str],
    questions: Sequence[PictureQuestion],
    *,
    answers: Sequence[Sequence[str]],
    analysed: Sequence[AnalysedAnswer],
    matchings: Sequence[tuple[Matching, Sequence[tuple[AnalysedAnswer, AnalysedAnswer]]]],
    picture_of: Callable[[AnalysedAnswer], Image.Image],
    seed: int,
) -> dict[str, Any]:
    """The content of the page, as plain values.

    `answers` are yes, no or other, of every model to every question, `matchings` every model's, with the answers of its
    pairs, and `picture_of` returns the part of a picture that the model's patches cover.

    Answers whose margin is on the other side, because the model says neither word first, are left out and counted.
    """
    sided = [answer for answer in analysed if answer.is_kept]
    areas, tests = _areas(labels, sided, seed)
    return {
        "models": [_counts(label, questions, of_model) for label, of_model in zip(labels, answers, strict=True)],
        "settings": {"seed": seed, "questions": len(questions), "named": 1 / NAMED, "controls": CONTROLS,
                     "folds": FOLDS, "repeats": REPEATS, "baseline": BASELINE, "confidence": CONFIDENCE,
                     "shares": SHARES, "caliper": CALIPER, "versions": versions()},
        "taken": {group: sum(answer.group == group for answer in sided) for group in GROUPS[:3]},
        "left_out": len(analysed) - len(sided),
        "missed": max((_missed(answer.measurement) for answer in sided), default=0.0),
        "tasks": [{"name": name, "against": against, "asks": asks} for name, (against, asks) in TASKS.items()],
        "scores": [{"name": score.name, "title": score.title, "family": score.family, "more": score.more,
                    "says": score.says} for score in SCORES],
        "areas": areas,
        "tests": tests,
        "regressions": list(_regressions(labels, sided, seed)),
        "deletions": [_deletion(group, sided, seed) for group in ("right yes", "wrong yes")],
        "matched": _matched(matchings, seed),
        "parts": {group: _parts([answer.measurement for answer in sided if answer.group == group])
                  for group in GROUPS[:3]},
        "examples": list(_examples(labels, sided, picture_of)),
    }  # fmt: skip


def _deletion(group: str, answers: Sequence[AnalysedAnswer], seed: int) -> dict[str, Any]:
    mine = [answer for answer in answers if answer.group == group]
    return deletion(group, mine, [answer.question.image for answer in mine], seed)


def _matched(
    matchings: Sequence[tuple[Matching, Sequence[tuple[AnalysedAnswer, AnalysedAnswer]]]], seed: int
) -> dict[str, Any]:
    """The pairs of all models, and the numbers of made-up answers without one."""
    without, far = (sum(getattr(matching, name) for matching, _ in matchings) for name in ("without", "far"))
    return {"without": without, "far": far, **compared([pair for _, pairs in matchings for pair in pairs], seed)}


def _counts(label: str, questions: Sequence[PictureQuestion], answers: Sequence[str]) -> dict[str, Any]:
    """The counts of each group, also by kind of question, and the number of questions for WANTED wrong yes."""
    groups = [group_of(question, answer) for question, answer in zip(questions, answers, strict=True)]
    wrong = groups.count("wrong yes")
    absent = [(q, g == "wrong yes") for q, g in zip(questions, groups, strict=True) if same_answer(q.answer, "no")]
    return {
        "label": label,
        "groups": {group: groups.count(group) for group in GROUPS},
        "kinds": {kind: _made_up([pair for pair in absent if pair[0].type == kind]) for kind in _kinds(questions)},
        "needed": math.ceil(WANTED * len(questions) / wrong) if wrong else None,
    }


def _made_up(absent: Sequence[tuple[PictureQuestion, bool]]) -> dict[str, Any]:
    """The share of questions about absent objects that were answered with yes."""
    return share(clustered([wrong for _, wrong in absent], [question.image for question, _ in absent]))


def _kinds(questions: Sequence[PictureQuestion]) -> list[str]:
    return list(dict.fromkeys(question.type for question in questions if same_answer(question.answer, "no")))


def _missed(measurement: Measurement) -> float:
    """The largest error of the parts' sum against an answer's margin, in logits."""
    return float(max(reading[way]["missed"] for reading in measurement["readings"].values() for way in WAYS))


def _sides(task: str, answers: Sequence[AnalysedAnswer]) -> tuple[list[AnalysedAnswer], Sides]:
    """The answers of a task, and their sides."""
    against, _ = TASKS[task]
    mine = [answer for answer in answers if answer.group in ("wrong yes", against)]
    names = {name: number for number, name in enumerate(dict.fromkeys(answer.question.image for answer in mine))}
    return mine, Sides(
        positive=np.array([answer.group == "wrong yes" for answer in mine], np.bool_),
        model=np.array([answer.model for answer in mine], np.intp),
        picture=np.array([names[answer.question.image] for answer in mine], np.intp),
    )


def _columns(answers: Sequence[AnalysedAnswer]) -> dict[str, NDArray[np.float64]]:
    return {
        score.name: np.array([score.turned(answer.measurement) for answer in answers], np.float64) for score in SCORES
    }


def _areas(labels: Sequence[str], answers: Sequence[AnalysedAnswer], seed: int) -> tuple[list[Any], list[Any]]:
    """The areas of every score, by model, pooled, and pooled by kind; and its pooled test against the baseline."""
    areas, tests = [], []
    for task in TASKS:
        for model, kind, some in _subsets(task, labels, answers):
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
    task: str, labels: Sequence[str], answers: Sequence[AnalysedAnswer]
) -> Iterator[tuple[str, str, Sequence[AnalysedAnswer]]]:
    """Yield the answers of all models, of each model, and by kind of absent object; present ones are of every kind."""
    yield POOLED, EVERY, answers
    for number, label in enumerate(labels if len(labels) > 1 else ()):
        yield label, EVERY, [answer for answer in answers if answer.model == number]
    for kind in _kinds([answer.question for answer in answers]):
        yield (
            POOLED,
            kind,
            [answer for answer in answers if answer.question.type == kind or answer.group == "right yes"],
        )


def _tests(
    task: str, columns: Mapping[str, NDArray[np.float64]], sides: Sides, draws: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """The tests of every score against the baseline, p adjusted for all of a task."""
    names = [name for name in columns if name != BASELINE]
    differences = [
        difference(columns[name], columns[BASELINE], sides, (draws[name], draws[BASELINE])) for name in names
    ]
    adjusted = holm([comparison.p for comparison in differences])
    return [
        {"task": task, "score": name, **asdict(comparison), "holm": p}
        for name, comparison, p in zip(names, differences, adjusted, strict=True)
    ]


def _regressions(labels: Sequence[str], answers: Sequence[AnalysedAnswer], seed: int) -> Iterator[dict[str, Any]]:
    """Yield the areas of out-of-fold regressions: from confidence alone, and from shares too.

    Every model has a regression of its own; the pooled area pools their predictions. Nothing is yielded where a model
    has too few pictures of a side for all folds: folds are of pictures.
    """
    mine, sides = _sides(REGRESSED, answers)
    pictures = np.unique(np.stack([2 * sides.model + sides.positive, sides.picture]), axis=1)
    if min(np.bincount(pictures[0], minlength=2 * len(labels))) < FOLDS:
        return
    columns = _columns(mine)
    predictions = {
        "confidence": _predicted([columns[name] for name in CONFIDENCE], sides, seed),
        "both": _predicted([columns[name] for name in (*CONFIDENCE, *SHARES)], sides, seed),
        "baseline": columns[BASELINE],
    }
    for number in [-1, *range(len(labels) if len(labels) > 1 else 0)]:
        some = np.flatnonzero((sides.model == number) | (number < 0))
        own = Sides(sides.positive[some], sides.model[some], sides.picture[some])
        label = labels[number] if number >= 0 else POOLED
        yield {"task": REGRESSED, "model": label, **_compared(predictions, some, own, seed)}


def _predicted(columns: Sequence[NDArray[np.float64]], sides: Sides, seed: int) -> NDArray[np.float64]:
    """Out-of-fold logits of every answer, by its own model's regression."""
    table = np.column_stack(columns)
    logits = np.zeros(len(table))
    for model in np.unique(sides.model):
        (own,) = np.nonzero(sides.model == model)
        logits[own] = out_of_fold(table[own], sides.positive[own], sides.picture[own], seed)
    return logits


def _compared(
    predictions: Mapping[str, NDArray[np.float64]], some: NDArray[np.intp], sides: Sides, seed: int
) -> dict[str, Any]:
    mine = {name: scores[some] for name, scores in predictions.items()}
    draws = {name: resampled_areas(scores, sides, seed) for name, scores in mine.items()}
    both = mine["both"], draws["both"]
    return {
        "positives": int(sides.positive.sum()),
        "confidence": asdict(estimate(mine["confidence"], sides, draws["confidence"])),
        "both": asdict(estimate(mine["both"], sides, draws["both"])),
        "over_confidence": asdict(difference(both[0], mine["confidence"], sides, (both[1], draws["confidence"]))),
        "over_baseline": asdict(difference(both[0], mine["baseline"], sides, (both[1], draws["baseline"]))),
    }


def _parts(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
    """The parts of every margin by all paths, in logits for yes, and the margins with and without the picture."""
    shares = {
        name: [measurement["readings"]["full"]["all_paths"][name] for measurement in measurements] for name in PARTS
    }
    margins = {
        picture: [measurement["readings"][picture]["d"] for measurement in measurements]
        for picture in ("full", "blank", "swapped")
    }
    return {name: [round(value, 3) for value in values] for name, values in (shares | margins).items()}


def _examples(
    labels: Sequence[str], answers: Sequence[AnalysedAnswer], picture_of: Callable[[AnalysedAnswer], Image.Image]
) -> Iterator[dict[str, Any]]:
    """Yield the answers with the largest probabilities, at most one of a picture."""
    used: set[str] = set()
    for group, count in _SHOWN.items():
        remaining = count
        for answer in sorted(answers, key=lambda answer: -answer_probability(answer.measurement)):
            if answer.group == group and answer.question.image not in used and remaining:
                used.add(answer.question.image)
                remaining -= 1
                yield _example(labels[answer.model], answer, picture_of(answer))


def _example(label: str, answer: AnalysedAnswer, picture: Image.Image) -> dict[str, Any]:
    readings = answer.measurement["readings"]
    return {
        "model": label,
        "group": answer.group,
        "kind": answer.question.type,
        "question": answer.question.question,
        "probability": answer_probability(answer.measurement),
        "margins": {name: reading["d"] for name, reading in readings.items()},
        "parts": {name: readings["full"]["all_paths"][name] for name in PARTS},
        "map": answer.measurement["maps"]["all_paths"],
        "grid": answer.measurement["grid"],
        "picture": picture_uri(picture, _SIDE),
    }
