"""Two sets of answers to the same questions, compared question by question."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from lapilli.core.statistics.bootstrap import draws, interval, two_sided
from lapilli.core.statistics.clusters import numbered
from lapilli.core.statistics.estimate import Tested

POWER = 0.8
"""The chance with which a difference of the least detectable size is found."""


@dataclass(frozen=True)
class McNemar:
    """The questions that only one of two sets of answers gets right, and the exact two-sided p that both are as good.

    Source: McNemar 1947, Psychometrika 12:153, in its exact form. Questions count as independent.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Compare which of the same questions were answered rightly; p is 1 where the two never differ."""
    apart = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    only = sum(one for one, _ in apart)
    fewer = min(only, len(apart) - only)
    p = min(1.0, 2 * float(bdtr(fewer, len(apart), 0.5))) if apart else 1.0
    return McNemar(only, len(apart) - only, p)


def paired_difference(
    first: Sequence[float] | NDArray[Any], second: Sequence[float] | NDArray[Any], cluster: Sequence[Hashable]
) -> Tested:
    """The mean of `first` less that of `second`, scores of the same questions, with its interval and p.

    Questions of one cluster may be alike; the bootstrap draws clusters. n counts the questions. Where all differences
    are equal nothing can be said of their spread: p is nan, and the interval has no width.
    """
    apart = np.subtract(first, second, dtype=np.float64)
    replicates, clusters = _replicates(apart, cluster)
    value = float(apart.mean()) if apart.size else float("nan")
    ends = interval(value, replicates, clusters)
    tail = (min((replicates <= 0).sum(), (replicates >= 0).sum()) + 1) / (len(replicates) + 1)
    p = two_sided(tail, clusters) if replicates.size and np.ptp(replicates) > 0 else float("nan")
    return Tested(value, ends.low, ends.high, apart.size, p)


def detectable(
    first: Sequence[float] | NDArray[Any], second: Sequence[float] | NDArray[Any], cluster: Sequence[Hashable]
) -> float:
    """The least true difference that so many questions would show at .05, four times in five.

    It is 2.80 standard errors of the difference that was measured (Bloom 1995, Eval. Rev. 19:547); nan for fewer than
    two clusters, and where all differences are equal.
    """
    replicates, clusters = _replicates(np.subtract(first, second, dtype=np.float64), cluster)
    if clusters < 2 or np.ptp(replicates) == 0:
        return float("nan")
    errors = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(POWER)
    return float(errors * replicates.std() * np.sqrt(clusters / (clusters - 1)))


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """How far two judgements of the same answers agree beyond chance, at most 1; nan where chance leaves no room.

    Source: Cohen 1960, Educ. Psychol. Meas. 20:37.
    """
    one, other = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    if not one.size:
        return float("nan")
    chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return float(((one == other).mean() - chance) / (1 - chance)) if chance < 1 else float("nan")


def _replicates(apart: NDArray[np.float64], cluster: Sequence[Hashable]) -> tuple[NDArray[np.float64], int]:
    """The mean difference of every draw of clusters, (draw,), and the number of clusters."""
    if not apart.size:
        return np.zeros(0), 0
    numbers = numbered(cluster)
    sums, sizes = np.bincount(numbers, apart), np.bincount(numbers)
    weights = draws(len(sizes), 0).weights
    return (weights @ sums) / (weights @ sizes), len(sizes)
