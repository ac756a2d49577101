"""What hybrids of a base and a tuned model have of the gain between the two, over depth."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.bootstrap import draws, ends, interval
from lapilli.core.statistics.crossed import with_error_of_draws
from lapilli.core.statistics.estimate import Estimate

ROUNDING = 1e-9
"""What an interval's end is off 0 by at least: sums of as many gains as losses may come out as 1e-18."""


def recovered(scores: Sequence[float] | NDArray[np.floating], base: float, tuned: float) -> NDArray[np.float64]:
    """The share of the gain that each hybrid has: 0 as the base, 1 as the tuned model; nan without a gain.

    The share of a gain that is not clearly above its error is no number: test the gain first.
    """
    gain = tuned - base
    values: NDArray[np.float64] = np.asarray(scores, np.float64) - base
    return values / gain if gain else np.full(values.shape, math.nan)


def shares_of_gain(changes: NDArray[np.floating], gains: NDArray[np.floating], seed: int = 0) -> list[Estimate]:
    """The share that each of several mean changes, (hybrid, sample), has of the mean gain, (sample,), with intervals.

    Samples are independent, and drawn for both alike. All are nan where the gain's own interval holds 0: a share of
    nothing is no number, and the interval of a ratio has no ends there (Fieller 1954, JRSS B 16:175).
    """
    n, count = len(gains), len(changes)
    if not has_gain(gains, seed):
        return [Estimate(math.nan, math.nan, math.nan, n)] * count
    replicates = _share_replicates(changes, gains, seed)
    values = np.mean(changes, 1) / np.mean(gains)
    return [interval(float(value), replicates[:, number], n) for number, value in enumerate(values)]


def shares_over_draws(changes: NDArray[np.floating], gains: NDArray[np.floating], seed: int = 0) -> list[Estimate]:
    """`shares_of_gain` of mean changes over several draws of hybrids, (draw, hybrid, sample), with their spread."""
    n, count = len(gains), changes.shape[1]
    if not has_gain(gains, seed):
        return [Estimate(math.nan, math.nan, math.nan, n)] * count
    figures = changes.mean(2) / np.mean(gains)
    replicates = with_error_of_draws(_share_replicates(changes.mean(0), gains, seed), figures, seed)
    return [interval(float(value), replicates[:, at], n) for at, value in enumerate(figures.mean(0))]


def has_gain(gains: NDArray[np.floating], seed: int = 0) -> bool:
    """Whether the 95 % interval of a mean gain or loss, (sample,), leaves out 0."""
    low, high = draws(len(gains), seed).bounds(np.asarray(gains))
    return bool(low > ROUNDING or high < -ROUNDING)


def half_recovery_depth(changes: NDArray[np.floating], gains: NDArray[np.floating], seed: int = 0) -> Estimate:
    """`half_recovery` of cumulative hybrids, (layer, sample), with its interval over draws of the samples.

    Where a half is not reached the depth counts as the number of layers. nan without a gain, as `shares_of_gain`.
    """
    n, layers = len(gains), range(len(changes))
    if not has_gain(gains, seed):
        return Estimate(math.nan, math.nan, math.nan, n)
    value, *replicates = (
        len(layers) if (half := half_recovery(layers, shares)) is None else half
        for shares in (np.mean(changes, 1) / np.mean(gains), *_share_replicates(changes, gains, seed))
    )
    low, high = np.quantile(replicates, ends(n), method="nearest")
    return Estimate(float(value), float(low), float(high), n)


def _share_replicates(changes: NDArray[np.floating], gains: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """The shares in every draw of the samples, (draw, hybrid)."""
    drawn = draws(len(gains), seed)
    shares: NDArray[np.float64] = drawn.means(np.asarray(changes).T) / drawn.means(np.asarray(gains))[:, None]
    return shares


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
