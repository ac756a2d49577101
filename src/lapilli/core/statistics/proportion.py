"""Shares of trials, and the difference of two of them."""

import math
from dataclasses import dataclass
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)
"""The half width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class Proportion:
    """`correct` of `n`: the share (nan when n is 0) and its 95 % interval, all between 0 and 1."""

    correct: int
    n: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of two shares and its 95 % interval, all between -1 and 1."""

    estimate: float
    low: float
    high: float


def wilson(correct: int, n: int) -> Proportion:
    """A share of independent trials with its 95 % score interval, sound near 0 and 1 and for few trials.

    Source: Wilson, JASA 22 (1927), 209. Trials that share a picture are not independent: `clusters.clustered`.

    For n = 0 the interval is from 0 to 1. Raises ValueError unless 0 <= correct <= n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}")
    return score_interval(correct, n, n)


def score_interval(correct: int, n: int, independent: float) -> Proportion:
    """The 95 % score interval of a share of `n` trials; `independent` is their effective number."""
    if n == 0:
        return Proportion(correct, n, math.nan, 0.0, 1.0)
    share, spread = correct / n, Z * Z / independent
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    # The ends are exact at none and at all correct, where the formula leaves a rounding error.
    low = 0.0 if correct == 0 else middle - half
    high = 1.0 if correct == n else middle + half
    return Proportion(correct, n, share, low, high)


def newcombe(first: Proportion, second: Proportion) -> Difference:
    """`first` minus `second`, with an interval that is built from theirs and takes the two to be independent.

    Where both are of the same trials the true interval is narrower. Source: Newcombe, Statistics in Medicine 17 (1998),
    873-890, method 10.
    """
    estimate = first.estimate - second.estimate
    below = math.hypot(first.estimate - first.low, second.high - second.estimate)
    above = math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Difference(estimate, max(-1.0, estimate - below), min(1.0, estimate + above))
