"""Shares of independent trials, and the difference of two of them."""

import math
from dataclasses import dataclass
from statistics import NormalDist


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

    @property
    def is_clear(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def wilson(correct: int, n: int) -> Proportion:
    """A share with its 95 % score interval (Wilson 1927, JASA 22:209), which is sound near 0 and 1 and for few trials.

    No trials say nothing: for n = 0 the interval is from 0 to 1. Raises ValueError unless 0 <= correct <= n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}")
    if n == 0:
        return Proportion(correct, n, math.nan, 0.0, 1.0)
    z = NormalDist().inv_cdf(0.975)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # The ends are exact at none and at all correct, where the formula leaves a rounding error.
    low = 0.0 if correct == 0 else middle - half
    high = 1.0 if correct == n else middle + half
    return Proportion(correct, n, share, low, high)


def newcombe(first: Proportion, second: Proportion) -> Difference:
    """`first` minus `second`, with the interval built from theirs, as if the two were independent.

    Where both are of the same trials the true interval is narrower. Source: Newcombe, Statistics in Medicine 17 (1998),
    873-890, method 10.
    """
    estimate = first.estimate - second.estimate
    below = math.hypot(first.estimate - first.low, second.high - second.estimate)
    above = math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Difference(estimate, max(-1.0, estimate - below), min(1.0, estimate + above))
