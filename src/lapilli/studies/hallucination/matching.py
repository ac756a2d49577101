"""Matching of made-up and grounded yes: as many, about the same objects, with margins as large.

The change of a made-up yes without its patches means nothing by itself: a grounded yes may change as much. Made-up ones
have smaller margins and other objects, so grounded ones must be matched to them in both.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.core.statistics.proportion import Proportion, newcombe
from lapilli.studies.hallucination.analysed_answers import AnalysedAnswer
from lapilli.studies.hallucination.scores import towards

CALIPER = 0.2
"""The largest distance of a pair's margins, in standard deviations: the root of the mean of both groups' variances
(Austin 2011, Pharm. Stat. 10:150; the margin is the logit of its score)."""


@dataclass(frozen=True)
class Yes:
    """An answer yes to question number `number`, about `object`; `margin` is logit(yes) - logit(no)."""

    number: int
    object: str
    margin: float


@dataclass(frozen=True)
class Matching:
    """Pairs of questions' numbers, a made-up yes and a grounded one each, none of them twice.

    without   the number of made-up ones without a grounded one about the same object
    far       the number of other made-up ones without a partner within the caliper
    """

    pairs: tuple[tuple[int, int], ...]
    without: int
    far: int


def matched(made_up: Sequence[Yes], grounded: Sequence[Yes]) -> Matching:
    """Match as many pairs about one object as the caliper allows, as close as possible; of one model's answers."""
    pairs: list[tuple[int, int]] = []
    without, widest = 0, caliper(made_up, grounded)
    for name in dict.fromkeys(answer.object for answer in made_up):
        wrong, right = ([answer for answer in some if answer.object == name] for some in (made_up, grounded))
        pairs += _closest(wrong, right, widest)
        without += 0 if right else len(wrong)
    return Matching(tuple(sorted(pairs)), without, len(made_up) - len(pairs) - without)


def caliper(made_up: Sequence[Yes], grounded: Sequence[Yes]) -> float:
    """The largest distance of a pair, in logits; 0 where both sides are empty."""
    spread = [float(np.var([answer.margin for answer in some])) if some else 0.0 for some in (made_up, grounded)]
    return CALIPER * float(np.sqrt(np.mean(spread)))


def _closest(wrong: Sequence[Yes], right: Sequence[Yes], widest: float) -> list[tuple[int, int]]:
    apart = np.abs(np.subtract.outer([answer.margin for answer in wrong], [answer.margin for answer in right]))
    never = 1.0 + apart.sum()  # more than all distances together: one more pair is better than any closer ones
    rows, columns = linear_sum_assignment(np.where(apart <= widest, apart, never))
    return [
        (wrong[row].number, right[column].number)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if apart[row, column] <= widest
    ]


def compared(pairs: Sequence[tuple[AnalysedAnswer, AnalysedAnswer]], seed: int) -> dict[str, Any]:
    """The shares of the pairs' made-up and grounded yes that flip, and their differences, as plain values.

    The differences are made-up less grounded: `named` as if they were independent, `random` within pairs.
    """
    together = _together(pairs)
    made_up, grounded = ([pair[side] for pair in pairs] for side in (0, 1))
    top = [clustered(_turned(some), together) for some in (made_up, grounded)]
    random = np.subtract(_turned_at_random(made_up), _turned_at_random(grounded))
    apart = [abs(first.margin - second.margin) for first, second in pairs]
    return {
        "pairs": len(pairs),
        "apart": float(np.mean(apart)) if apart else None,
        "groups": [deletion(some[0].group, some, together, seed) for some in (made_up, grounded) if some],
        "named": asdict(newcombe(top[0], top[1])) if pairs else None,
        "random": asdict(clustered_mean(random, together, seed)),
    }


def _together(pairs: Sequence[tuple[AnalysedAnswer, AnalysedAnswer]]) -> list[int]:
    """The number of every pair's connected component, where pairs are connected by shared pictures."""
    names = {
        name: at for at, name in enumerate(dict.fromkeys(answer.question.image for pair in pairs for answer in pair))
    }
    ends = np.array([[names[answer.question.image] for answer in pair] for pair in pairs], np.intp).reshape(-1, 2)
    joined = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, numbers = connected_components(joined, directed=False)
    return [int(numbers[at]) for at in ends[:, 0]]


def deletion(group: str, answers: Sequence[AnalysedAnswer], cluster: Sequence[Any], seed: int) -> dict[str, Any]:
    """The shares of answers that flip when the map's strongest patches are not read, and when random ones are not."""
    top, random = _turned(answers), _turned_at_random(answers)
    return {
        "group": group,
        "margin": float(np.mean([answer.margin for answer in answers])) if answers else None,
        "named": share(clustered(top, cluster)),
        "random": asdict(clustered_mean(random, cluster, seed)),
        "difference": asdict(clustered_mean(np.subtract(np.array(top, np.float64), random), cluster, seed)),
    }


def share(proportion: Proportion) -> dict[str, Any]:
    """A share of answers, which need not be the right ones, as plain values."""
    return {
        "count": proportion.correct,
        "n": proportion.n,
        "estimate": proportion.estimate,
        "low": proportion.low,
        "high": proportion.high,
    }


def _turned(answers: Sequence[AnalysedAnswer]) -> list[bool]:
    return [towards(answer.measurement) * answer.measurement["removed"]["named"] < 0 for answer in answers]


def _turned_at_random(answers: Sequence[AnalysedAnswer]) -> NDArray[np.float64]:
    shares = [
        np.mean(towards(answer.measurement) * np.array(answer.measurement["removed"]["random"]) < 0)
        for answer in answers
    ]
    return np.array(shares, np.float64)
