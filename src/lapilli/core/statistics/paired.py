"""Two sets of answers to the same questions, compared question by question."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr

from lapilli.core.statistics.bootstrap import draws, two_sided
from lapilli.core.statistics.clusters import MANY, clustered_mean, numbered, ratio_error
from lapilli.core.statistics.estimate import Tested
from lapilli.core.statistics.ranks import least_signed_rank_p

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
    estimate = clustered_mean(apart, cluster)
    return Tested(estimate.value, estimate.low, estimate.high, estimate.n, _p(apart, cluster))


def detectable(
    first: Sequence[float] | NDArray[Any], second: Sequence[float] | NDArray[Any], cluster: Sequence[Hashable]
) -> float:
    """The least true difference that so many questions would show at .05, four times in five.

    It is 2.80 standard errors of the difference that was measured (Bloom 1995, Eval. Rev. 19:547); nan for fewer than
    two clusters, and where all differences are equal.
    """
    apart = np.subtract(first, second, dtype=np.float64)
    sums, sizes = _by_cluster(apart, cluster)
    error = ratio_error(sums, sizes) if len(sizes) > 1 and not _are_equal(apart) else 0.0
    return (NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(POWER)) * error if error > 0 else float("nan")


def kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """How far two judgements of the same answers agree beyond chance, at most 1; nan where chance leaves no room.

    Source: Cohen 1960, Educ. Psychol. Meas. 20:37.
    """
    one, other = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    if not one.size:
        return float("nan")
    chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return float(((one == other).mean() - chance) / (1 - chance)) if chance < 1 else float("nan")


def _p(apart: NDArray[np.float64], cluster: Sequence[Hashable]) -> float:
    """The two-sided p of a mean of differences that is 0."""
    sums, sizes = _by_cluster(apart, cluster)
    if len(sizes) < 2 or _are_equal(apart) or ratio_error(sums, sizes) == 0:
        return float("nan")
    if len(sizes) > MANY:
        return float(2 * ndtr(-abs(sums.sum() / sizes.sum()) / ratio_error(sums, sizes)))
    weights = draws(len(sizes), 0).weights
    replicates = (weights @ sums) / (weights @ sizes)
    tail = (min((replicates <= 0).sum(), (replicates >= 0).sum()) + 1) / (len(replicates) + 1)
    p = two_sided(tail, len(sizes))
    is_one_sided = (sums > 0).all() or (sums < 0).all()  # of few clusters no draws show how unlikely that is
    return min(p, least_signed_rank_p(len(sizes))) if is_one_sided else p


def _are_equal(apart: NDArray[np.float64]) -> bool:
    """Whether all differences are the same, but for what rounding leaves."""
    return bool(np.ptp(apart) <= 1e-12 * (1 + np.abs(apart).max()))


def _by_cluster(apart: NDArray[np.float64], cluster: Sequence[Hashable]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The sum and the size of each cluster, (cluster,) each."""
    numbers = numbered(cluster)
    return np.bincount(numbers, apart), np.bincount(numbers)
