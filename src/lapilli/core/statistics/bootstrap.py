"""The one bootstrap behind every interval: samples drawn with replacement (Efron 1979, Ann. Statist. 7:1).

Samples are the independent units: cases, questions or, where several are about one picture, pictures. The same seed
draws the same samples for every figure, so that differences are paired. A draw's value of a statistic is a replicate.

The percentile interval is too narrow for few samples: of 10 it covers the truth 90 times in 100 where 95 are stated.
Here its ends lie further out, as those of Student's t do (the expanded percentile interval; Hesterberg 2015, Am. Stat.
69:371, section 5.3): the tail is Phi(-sqrt(n / (n - 1)) t), with t the .975 quantile of Student's t.

Its degrees of freedom are those of a variance of n values with the excess kurtosis k, at the least: the variance of s^2
is sigma^4 (2 / (n - 1) + k / n) (Cramer 1946, Mathematical Methods of Statistics, 27.4), which is that of
(n - 1) / (1 + k / 2) degrees or more (matched as in Satterthwaite 1946, Biometrics Bull. 2:110). Of few samples k
cannot be estimated. It is taken as 3, that of Laplace's distribution: with 0, that of normal values, skewed samples of
10 and 20 are covered 93 times in 100.

Means of draws do not leave the range of the samples. So of fewer than five samples no interval of them holds what is
stated: of 2, 3 and 4 normal values the truth is covered 52, 71 and 87 times in 100.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from lapilli.core.statistics.estimate import Estimate

DRAWS = 4_000
"""The number of draws."""

LEVEL = 0.05
"""How often an interval may miss the truth, where nothing else is said."""

EXCESS = 3.0
"""The excess kurtosis of samples of which nothing is known: Laplace's."""

RANKS = 0.0
"""That of ranks, at most: they have no long tails."""


def ends(n: int, level: float = LEVEL, excess: float = EXCESS) -> tuple[float, float]:
    """The quantiles of the replicates at the ends of an interval from `n` samples; nan for fewer than two.

    Its coverage is 1 - `level`, for five samples or more of the kurtosis `excess` or less.
    """
    if n < 2:
        return math.nan, math.nan
    tail = float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(_freedom(n, excess), 1 - level / 2)))
    return tail, 1 - tail


def two_sided(tail: float, n: int, excess: float = EXCESS) -> float:
    """The two-sided p of a difference whose replicates lie beyond 0 by the share `tail`.

    It is below .05 exactly where 0 lies outside the interval of `ends`; nan for fewer than two samples. The
    `tail` of draws is never below 1 / (draws + 1), so that p of eight samples or fewer is above .05.
    """
    if n < 2:
        return math.nan
    below = float(ndtri(min(tail, 0.5))) / math.sqrt(n / (n - 1))
    return min(1.0, 2 * float(stdtr(_freedom(n, excess), below)))


def _freedom(n: int, excess: float) -> float:
    """The degrees of freedom of a variance of `n` samples."""
    return (n - 1) / (1 + excess / 2)


def interval(
    value: float, replicates: NDArray[np.floating], n: int, level: float = LEVEL, *, excess: float = EXCESS
) -> Estimate:
    """A figure of `n` samples with the interval of its finite replicates, (draw,)."""
    replicates = replicates[np.isfinite(replicates)]
    low, high = np.quantile(replicates, ends(n, level, excess)) if replicates.size and n > 1 else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), n)


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap draws: `weights` (draw, sample) sum to 1 in every draw."""

    weights: NDArray[np.float64]

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.weights.T)

    def mean(self, values: NDArray[np.floating] | Sequence[float]) -> Estimate:
        """The mean of values (sample,), with its interval. Samples that are nan are left out, also of the draws."""
        numbers = np.asarray(values, np.float64)
        finite = np.isfinite(numbers)
        if not finite.any():
            return Estimate(math.nan, math.nan, math.nan, 0)
        share = self.weights[:, finite].sum(1)
        means = (self.weights[:, finite] @ numbers[finite])[share > 0] / share[share > 0]
        return interval(float(numbers[finite].mean()), means, int(finite.sum()))

    def means(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The mean of values (sample, ...) in every draw, (draw, ...)."""
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        return (self.weights @ flat).reshape(len(self.weights), *values.shape[1:])

    def bounds(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The low and high ends of the means of values (sample, ...), (...) each; nan for fewer than two samples."""
        if self.n < 2:
            return (np.full(values.shape[1:], math.nan),) * 2
        low, high = np.quantile(self.means(values), ends(self.n), axis=0)
        return low, high


@lru_cache(maxsize=4)  # tables are full of means over the same samples
def draws(n: int, seed: int, count: int = DRAWS) -> Draws:
    """Return `count` draws of `n` samples, at least one; the same seed gives the same draws."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)
    return Draws(counts / n)


def mean(values: Sequence[float] | NDArray[Any], seed: int = 0) -> Estimate:
    """The mean of independent samples, with its interval; nan and n = 0 without any."""
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    return draws(len(values), seed).mean(values)


def resampled(statistic: Callable[[NDArray[np.intp]], float], n: int, seed: int = 0, count: int = 2_000) -> Estimate:
    """Return any statistic of `n` independent samples with its interval; it takes the indices of the drawn samples.

    Draws for which it is nan, such as a correlation of equal numbers, are left out.
    """
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    replicates = np.array([statistic(rng.integers(0, n, n)) for _ in range(count)])
    return interval(float(statistic(np.arange(n))), replicates, n)
