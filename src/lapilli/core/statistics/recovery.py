"""What hybrids of a base and a tuned model have of the gain between the two, over depth."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def recovered(scores: Sequence[float] | NDArray[np.floating], base: float, tuned: float) -> NDArray[np.float64]:
    """The share of the gain that each hybrid has: 0 as the base, 1 as the tuned model; nan without a gain.

    The share of a gain that is not clearly above its error is no number: test the gain first.
    """
    gain = tuned - base
    values: NDArray[np.float64] = np.asarray(scores, np.float64) - base
    return values / gain if gain else np.full(values.shape, math.nan)


def half_recovery(layers: Sequence[int], shares: NDArray[np.floating]) -> int | None:
    """The first of the layers, ascending, from which on every share is at least a half; None where the last is less.

    `shares` are those of cumulative hybrids, each with all layers up to its own. Raises ValueError unless every layer
    has a share.
    """
    if len(layers) != len(shares):
        raise ValueError(f"{len(layers)} layers and {len(shares)} shares")
    below = np.flatnonzero(~(np.asarray(shares) >= 0.5))
    first = int(below[-1]) + 1 if below.size else 0
    return layers[first] if first < len(layers) else None


def interference(scores: Sequence[float] | NDArray[np.floating], base: float, tuned: float) -> NDArray[np.float64]:
    """How far each hybrid is below the worse of both models, 0 where it is not: parts that do not fit each other.

    The largest of many is above 0 by chance: correct for their number.
    """
    below: NDArray[np.float64] = np.maximum(min(base, tuned) - np.asarray(scores, np.float64), 0)
    return below
