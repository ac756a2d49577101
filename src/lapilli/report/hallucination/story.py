"""The findings of a study of hallucinations as sentences, losses before gains."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from lapilli.report.kit.figures import counted, is_number, number, percent, points

Result: TypeAlias = Mapping[str, Any]
"""The content of results/hallucination.json."""

FIRST = "yes"
"""The task that the page opens with: can this yes be trusted?"""

SIGNIFICANT = 0.05
SIDES = (
    "Here a made-up answer is always a yes and a right one a no, and these differ in what they are made of, right or "
    "wrong: an area far from .5, to either side, may tell no more than which of them was said."
)
"""The limits of the second task."""

FEW = 20
"""The least number of answers on either side for a claim about a score: intervals of fewer are too narrow."""


def within(estimate: Mapping[str, Any], sign: bool = False) -> str:
    """The value with its interval."""
    value, low, high = (number(estimate[name], sign=sign) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def area_of(
    result: Result, task: str, score: str, model: str = "pooled", kind: str = "all"
) -> Mapping[str, Any] | None:
    """The area of a score; None where it was not measured, or has no pair of answers."""
    key = (task, score, model, kind)
    for area in result["areas"]:
        if (area["task"], area["score"], area["model"], area["kind"]) == key and area["value"] is not None:
            return dict(area)
    return None


def headline(result: Result) -> str:
    """The finding in a few words."""
    if not result["taken"]["wrong yes"]:
        return "Nothing was made up"
    if not enough(result, FIRST):
        return "Too few answers to tell"
    above, below = (_apart(result, "yes", sign) for sign in (1, -1))
    if above:
        return "What an answer is made of says more than its confidence"
    adds = _regression(result, "yes")
    if adds and (adds["over_confidence"]["low"] or 0) > 0:
        return "Shares add something to confidence, but no single one beats it"
    return "Confidence says more than any share" if below else "No share says more than confidence"


def opening(result: Result) -> list[str]:
    """The finding of the first task, sentence by sentence: what loses first."""
    if not result["taken"]["wrong yes"]:
        nothing = "Without a made-up answer nothing can be told from it: ask more, or of other pictures."
        return [_made_up(result), nothing]
    made_up, grounded = (result["taken"][group] for group in ("wrong yes", "right yes"))
    few = (
        f"{made_up} made-up and {grounded} grounded yes were taken apart: with fewer than {FEW} of either no score is "
        f"called better or worse. {_needed(result)}"
    )
    removed = [sentence] if (sentence := without_patches(result)) else []
    return [_made_up(result), *([] if enough(result, FIRST) else [few.strip()]), *of_task(result, FIRST), *removed]


def enough(result: Result, task: str) -> bool:
    """Whether a task has at least FEW answers on both sides."""
    base = area_of(result, task, result["settings"]["baseline"])
    return base is not None and min(base["positives"], base["n"] - base["positives"]) >= FEW


def verdict(result: Result) -> list[str]:
    """The finding of all tasks."""
    others = [task["name"] for task in result["tasks"] if task["name"] != FIRST and result["taken"]["wrong yes"]]
    return [*opening(result), *(sentence for task in others for sentence in of_task(result, task))]


def _made_up(result: Result) -> str:
    absent = [kind for model in result["models"] for kind in model["kinds"].values()]
    wrong = sum(kind["count"] for kind in absent)
    questions = counted(sum(kind["n"] for kind in absent), "question")
    who = f"{len(result['models'])} models" if len(result["models"]) > 1 else "The model"
    return f"{who} said yes to {wrong:,} of {questions} about something that is not in the picture."


def without_patches(result: Result) -> str:
    """The effect of removing the named patches on made-up yes and on matched grounded ones; "" without a pair.

    The sentence claims of made-up ones only what the difference of the two shows.
    """
    matched = result["matched"]
    if not matched["pairs"]:
        return ""
    made_up, grounded = matched["groups"]
    apart = matched["named"]
    change = f"{points(apart['estimate'])} points [{points(apart['low'])}, {points(apart['high'])}]"
    random = " and ".join(percent(group["random"]["value"], 0) for group in matched["groups"])
    return (
        f"Without the patches that the map names {share(made_up['named'])} of made-up yes become no, and "
        f"{share(grounded['named'])} of grounded ones about the same object that were as sure "
        f"({counted(matched['pairs'], 'pair')}), without random patches {random}. The difference is {change}: "
        f"{_falls(matched)}."
    )


def share(proportion: Mapping[str, Any]) -> str:
    """A share of answers with its interval."""
    low, high = percent(proportion["low"], 0), percent(proportion["high"], 0)
    return f"{percent(proportion['estimate'], 0)} [{low}, {high}]"


def _falls(matched: Mapping[str, Any]) -> str:
    if matched["pairs"] < FEW:
        return f"of fewer than {FEW} pairs nothing is claimed"
    if matched["named"]["low"] > 0:
        return "made-up ones fall more often"
    if matched["named"]["high"] < 0:
        return "made-up ones fall less often"
    return "that a yes falls with its patches is not shown to mark it as made up"


def _needed(result: Result) -> str:
    needed = [model["needed"] for model in result["models"] if model["needed"]]
    return f"About {max(needed):,} questions would give 50 of each model." if needed else ""


def of_task(result: Result, task: str) -> Iterator[str]:
    """The findings of a task: the baseline and who loses to it, the best score, other directions, the regression."""
    base = area_of(result, task, result["settings"]["baseline"])
    if base is None:
        return
    if not enough(result, task):
        yield _baseline(task, base)
        return
    yield f"{_baseline(task, base)} {_beside(result, task)}"
    yield _best(result, task)
    if task != FIRST:
        yield SIDES
    elif turned := [area for area in _areas(result, task) if is_number(area["high"]) and area["high"] < 0.5]:
        names = ", ".join(f"{title(result, area['score'])} ({number(area['value'])})" for area in turned)
        yield f"Against what was expected before, and counted as such, these point the other way: {names}."
    if adds := _regression(result, task):
        yield _added(adds)


def _baseline(task: str, base: Mapping[str, Any]) -> str:
    goal = {"yes": "a made-up yes from a grounded one", "absent": "a made-up yes from a right no"}[task]
    counts = f"chance .5, n = {base['n']:,}, {base['positives']} made up"
    return f"The answer's own probability tells {goal} with an AUC of {within(base)} ({counts})."


def _beside(result: Result, task: str) -> str:
    others, below, above = _rivals(result), _apart(result, task, -1), _apart(result, task, 1)
    return (
        f"Of {len(others)} scores from what the answer is made of, {len(below)} are worse than that beyond chance and "
        f"{len(above)} better (paired, Holm, p < {SIGNIFICANT})."
    )


def _best(result: Result, task: str) -> str:
    best = max(_areas(result, task), key=lambda area: area["value"])
    test = next(area for area in result["tests"] if (area["task"], area["score"]) == (task, best["score"]))
    apart = within(test, sign=True)
    return f"The best of them is “{title(result, best['score'])}”: {within(best)}, which differs by {apart}."


def _added(adds: Mapping[str, Any]) -> str:
    change = adds["over_confidence"]
    does = "add to" if (change["low"] or 0) > 0 else "add nothing sure to"  # a loss is that of learning more weights
    return (
        f"In a regression tried on pictures that it had not seen, the shares {does} confidence: AUC "
        f"{number(adds['both']['value'])} with them, {number(adds['confidence']['value'])} without, difference "
        f"{within(change, sign=True)}."
    )


def title(result: Result, score: str) -> str:
    """The title of a score."""
    return str(next(entry["title"] for entry in result["scores"] if entry["name"] == score))


def _areas(result: Result, task: str) -> list[Mapping[str, Any]]:
    """The areas of the scores that are not confidence."""
    return [area for name in _rivals(result) if (area := area_of(result, task, name))]


def _rivals(result: Result) -> Sequence[str]:
    """The scores that are not confidence."""
    return [score["name"] for score in result["scores"] if score["family"] != "confidence"]


def _apart(result: Result, task: str, sign: int) -> list[str]:
    """The scores with an area above (1) or below (-1) the baseline's, after Holm; none for too few answers."""
    rivals = _rivals(result) if enough(result, task) else ()
    return [
        test["score"]
        for test in result["tests"]
        if test["task"] == task and test["score"] in rivals and test["value"] is not None
        and is_number(test["holm"]) and test["holm"] < SIGNIFICANT and test["value"] * sign > 0
    ]  # fmt: skip


def _regression(result: Result, task: str) -> Mapping[str, Any] | None:
    for regression in result["regressions"]:
        if (regression["task"], regression["model"]) == (task, "pooled") and regression["both"]["value"] is not None:
            return dict(regression)
    return None
