"""Adjustment of p values for many tests at once."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for all their tests together (Holm 1979, Scand. J. Statist. 6:65), in their order."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(order))
    reached = 0.0
    for rank, index in enumerate(order):
        reached = max(reached, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = reached
    return [float(p) for p in adjusted]
