"""Adjustment of p values for many tests at once."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for all their tests together (Holm 1979, Scand. J. Statist. 6:65), in their order.

    One that is nan, of a test with too few samples, stays nan, and is none of those that the others are adjusted for.
    """
    adjusted = np.full(len(p_values), np.nan)
    count = int(np.isfinite(p_values).sum())
    reached = 0.0
    for rank, index in enumerate(np.argsort(p_values)[:count]):  # nan is sorted to the end
        reached = max(reached, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = reached
    return [float(p) for p in adjusted]
