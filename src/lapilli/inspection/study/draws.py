"""Bootstrap over questions: the same questions drawn again for every figure, so that differences are paired."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lapilli.core.resampling import Estimate

DRAWS = 2_000
"""How often the questions are drawn again, with replacement."""

_ENDS = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class Draws:
    """Questions drawn again: `weights` (draw, question) sum to 1 in every draw."""

    weights: NDArray[np.float64]

    @property
    def n(self) -> int:
        """How many questions there are."""
        return len(self.weights.T)

    def mean(self, values: NDArray[np.floating] | list[float]) -> Estimate:
        """The mean of (question,), with its interval. Questions that are nan are left out, of draws as well."""
        found = np.asarray(values, np.float64)
        there = np.isfinite(found)
        if not there.any():
            return Estimate(np.nan, np.nan, np.nan, 0)
        share = self.weights[:, there].sum(1)
        means = (self.weights[:, there] @ found[there])[share > 0] / share[share > 0]
        return self.of(float(found[there].mean()), means, int(there.sum()))

    def of(self, value: float, drawn: NDArray[np.floating], n: int | None = None) -> Estimate:
        """A figure with the interval of what it is in the draws, (draw,), as far as that is a number."""
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, _ENDS) if drawn.size else (np.nan, np.nan)
        return Estimate(value, float(low), float(high), self.n if n is None else n)

    def means(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of (question, ...) the mean in every draw, (draw, ...)."""
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        return (self.weights @ flat).reshape(len(self.weights), *values.shape[1:])

    def bounds(self, values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The intervals of the means of (question, ...), (...) each."""
        low, high = np.quantile(self.means(values), _ENDS, axis=0)
        return low, high


@lru_cache(maxsize=8)
def draws(n: int, seed: int) -> Draws:
    """Draws of `n` questions, at least one; the same for the same seed (Efron 1979, Ann. Statist. 7:1)."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS)
    return Draws(counts / n)
