"""Made-up yes beside grounded ones: as many, about the same objects, and as sure.

What a made-up yes does when its patches are taken away says nothing by itself: a grounded one may do the same. And as
made-up ones are less sure and of other objects, the grounded ones must be matched to them in both.
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
from lapilli.studies.hallucination.answered import Answered
from lapilli.studies.hallucination.scores import towards

CALIPER = 0.2
"""How far margins of a pair may be apart, in standard deviations: that of the made-up and of the grounded ones, each
squared, averaged (Austin 2011, Pharm. Stat. 10:150, whose logit of the score a margin is)."""


@dataclass(frozen=True)
class Yes:
    """An answer yes to question number `number`, about `object`; `margin` is logit(yes) - logit(no)."""

    number: int
    object: str
    margin: float


@dataclass(frozen=True)
class Matching:
    """Pairs of questions' numbers, a made-up yes and a grounded one each, none of them twice.

    without   made-up ones about whose object there is no grounded one
    far       other made-up ones for which none was left within the caliper
    """

    pairs: tuple[tuple[int, int], ...]
    without: int
    far: int


def matched(made_up: Sequence[Yes], grounded: Sequence[Yes]) -> Matching:
    """As many pairs of one object, within the caliper, as can be, and of those the closest; of one model's answers."""
    pairs: list[tuple[int, int]] = []
    without, widest = 0, caliper(made_up, grounded)
    for name in dict.fromkeys(one.object for one in made_up):
        wrong, right = ([one for one in some if one.object == name] for some in (made_up, grounded))
        pairs += _closest(wrong, right, widest)
        without += 0 if right else len(wrong)
    return Matching(tuple(sorted(pairs)), without, len(made_up) - len(pairs) - without)


def caliper(made_up: Sequence[Yes], grounded: Sequence[Yes]) -> float:
    """The widest distance of a pair, in logits; 0 where a side has none."""
    spread = [float(np.var([one.margin for one in some])) if some else 0.0 for some in (made_up, grounded)]
    return CALIPER * float(np.sqrt(np.mean(spread)))


def _closest(wrong: Sequence[Yes], right: Sequence[Yes], widest: float) -> list[tuple[int, int]]:
    apart = np.abs(np.subtract.outer([one.margin for one in wrong], [one.margin for one in right]))
    never = 1.0 + apart.sum()  # more than all pairs together: one pair more is better than any closer ones
    rows, columns = linear_sum_assignment(np.where(apart <= widest, apart, never))
    return [
        (wrong[row].number, right[column].number)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if apart[row, column] <= widest
    ]


def compared(pairs: Sequence[tuple[Answered, Answered]], seed: int) -> dict[str, Any]:
    """How often the made-up and the grounded yes of pairs turn, and the difference, as plain values.

    The differences are of made-up ones less grounded ones: `named` as if they were independent, `random` within pairs.
    """
    together = _together(pairs)
    made_up, grounded = ([pair[side] for pair in pairs] for side in (0, 1))
    named = [clustered(_turned(some), together) for some in (made_up, grounded)]
    random = np.subtract(_turned_at_random(made_up), _turned_at_random(grounded))
    apart = [abs(one.margin - other.margin) for one, other in pairs]
    return {
        "pairs": len(pairs),
        "apart": float(np.mean(apart)) if apart else None,
        "groups": [deletion(some[0].group, some, together, seed) for some in (made_up, grounded) if some],
        "named": asdict(newcombe(named[0], named[1])) if pairs else None,
        "random": asdict(clustered_mean(random, together, seed)),
    }


def _together(pairs: Sequence[tuple[Answered, Answered]]) -> list[int]:
    """For every pair a number that it shares with those that are of its pictures, or of theirs."""
    names = {name: at for at, name in enumerate(dict.fromkeys(one.question.image for pair in pairs for one in pair))}
    ends = np.array([[names[one.question.image] for one in pair] for pair in pairs], np.intp).reshape(-1, 2)
    joined = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, numbers = connected_components(joined, directed=False)
    return [int(numbers[at]) for at in ends[:, 0]]


def deletion(group: str, rows: Sequence[Answered], cluster: Sequence[Any], seed: int) -> dict[str, Any]:
    """How many answers turn when the patches that the map names are not read, and when random ones are not."""
    named, random = _turned(rows), _turned_at_random(rows)
    return {
        "group": group,
        "margin": float(np.mean([one.margin for one in rows])) if rows else None,
        "named": share(clustered(named, cluster)),
        "random": asdict(clustered_mean(random, cluster, seed)),
        "difference": asdict(clustered_mean(np.subtract(np.array(named, np.float64), random), cluster, seed)),
    }


def share(found: Proportion) -> dict[str, Any]:
    """A share of answers, which need not be the right ones, as plain values."""
    return {"count": found.correct, "n": found.n, "estimate": found.estimate, "low": found.low, "high": found.high}


def _turned(rows: Sequence[Answered]) -> list[bool]:
    return [towards(one.found) * one.found["removed"]["named"] < 0 for one in rows]


def _turned_at_random(rows: Sequence[Answered]) -> NDArray[np.float64]:
    shares = [np.mean(towards(one.found) * np.array(one.found["removed"]["random"]) < 0) for one in rows]
    return np.array(shares, np.float64)
