"""Samples drawn again, with replacement: the one bootstrap behind every interval (Efron 1979, Ann. Statist. 7:1).

Samples are what is independent: cases, questions or, where several are about one picture, pictures. The same seed draws
the same samples for every figure, so that differences are paired.

The percentile interval is too narrow for few samples: of 10 it covers the truth 90 times in 100 where 95 are stated. So
its ends lie further out, as those of Student's t do (the expanded percentile interval; Hesterberg 2015, Am. Stat.
69:371, section 5.3).
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
"""How often samples are drawn again."""


def ends(n: int) -> tuple[float, float]:
    """The quantiles of the draws between which a 95 % interval from `n` samples lies; nan for fewer than two."""
    if n < 2:
        return math.nan, math.nan
    tail = float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975)))
    return tail, 1 - tail


def two_sided(tail: float, n: int) -> float:
    """The p of a difference beyond whose 0 so large a `tail` of the draws lies: below .05 where `ends` leave 0 out."""
    if n < 2:
        return math.nan
    return float(min(1.0, 2 * stdtr(n - 1, ndtri(min(tail, 0.5)) / math.sqrt(n / (n - 1)))))


def interval(value: float, drawn: NDArray[np.floating], n: int) -> Estimate:
    """A figure of `n` samples with the interval of what it is in the draws, (draw,), as far as that is a number."""
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, ends(n)) if drawn.size and n > 1 else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), n)


@dataclass(frozen=True, eq=False)
class Draws:
    """Samples drawn again: `weights` (draw, sample) sum to 1 in every draw."""

    weights: NDArray[np.float64]

    @property
    def n(self) -> int:
        """How many samples there are."""
        return len(self.weights.T)

    def mean(self, values: NDArray[np.floating] | Sequence[float]) -> Estimate:
        """The mean of (sample,), with its interval. Samples that are nan are left out, of the draws as well."""
        numbers = np.asarray(values, np.float64)
        known = np.isfinite(numbers)
        if not known.any():
            return Estimate(math.nan, math.nan, math.nan, 0)
        share = self.weights[:, known].sum(1)
        means = (self.weights[:, known] @ numbers[known])[share > 0] / share[share > 0]
        return interval(float(numbers[known].mean()), means, int(known.sum()))

    def means(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """The mean of (sample, ...) in every draw, (draw, ...)."""
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        return (self.weights @ flat).reshape(len(self.weights), *values.shape[1:])

    def bounds(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The intervals of the means of (sample, ...), (...) each; nan for fewer than two samples."""
        if self.n < 2:
            return (np.full(values.shape[1:], math.nan),) * 2
        low, high = np.quantile(self.means(values), ends(self.n), axis=0)
        return low, high


@lru_cache(maxsize=4)  # tables are full of means over the same samples
def draws(n: int, seed: int, count: int = DRAWS) -> Draws:
    """So many draws of `n` samples, at least one; the same for the same seed."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)
    return Draws(counts / n)


def mean(values: Sequence[float] | NDArray[Any], seed: int = 0) -> Estimate:
    """The mean of independent samples, with its interval; nan and n = 0 without any."""
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    return draws(len(values), seed).mean(values)


def resampled(statistic: Callable[[NDArray[np.intp]], float], n: int, seed: int = 0, count: int = 2_000) -> Estimate:
    """Any statistic of `n` independent samples, which is given the numbers of those drawn, and its interval.

    Draws for which it is nan, as a correlation of equal numbers, are left out.
    """
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, n, n)) for _ in range(count)])
    return interval(float(statistic(np.arange(n))), drawn, n)
