"""Means and other statistics of samples, with intervals that come from drawing the samples again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
"""How often samples are drawn again."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of samples it rests on; nan where there are none."""

    value: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float] | NDArray[Any], seed: int = 0, draws: int = DRAWS) -> Estimate:
    """The mean of independent samples, with the percentile bootstrap's interval (Efron 1979, Ann. Statist. 7:1)."""
    found = np.asarray(values, np.float64)
    if not found.size:
        return Estimate(np.nan, np.nan, np.nan, 0)
    means = _weights(len(found), seed, draws) @ found / len(found)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(found.mean()), float(low), float(high), len(found))


def resampled(statistic: Callable[[NDArray[np.intp]], float], n: int, seed: int = 0, draws: int = 2_000) -> Estimate:
    """Any statistic of `n` independent samples, which is given the numbers of those drawn, and its interval.

    Draws for which it is nan, as a correlation of equal numbers, are left out.
    """
    rng = np.random.default_rng(seed)
    found = np.array([statistic(rng.integers(0, n, n)) for _ in range(draws if n else 0)])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if found.size else (np.nan, np.nan)
    return Estimate(float(statistic(np.arange(n))) if n else np.nan, float(low), float(high), n)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values made to hold for all their tests together (Holm 1979, Scand. J. Statist. 6:65), in their order."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = reached
    return [float(p) for p in adjusted]


@lru_cache(maxsize=2)  # tables are full of means over the same samples
def _weights(n: int, seed: int, draws: int) -> NDArray[np.float64]:
    """How often each of n samples is drawn in each of so many draws with replacement, (draw, n)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
