"""Figures of claims with intervals of any level: means, shares, the largest of several, and where it lies."""

import numpy as np

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate
from lapilli.studies.claims.evidence import Floats


def mean_of(values: Floats, seed: int, level: float) -> Estimate:
    """The mean over the samples, (sample,)."""
    values = values[np.isfinite(values)]
    return interval(float(values.mean()), draws(len(values), seed).means(values), len(values), level)


def share_of(changes: Floats, gains: Floats, seed: int, level: float) -> Estimate:
    """The share that a mean change has of a mean gain, of the same samples, (sample,) each; they are drawn together."""
    drawn = draws(len(gains), seed)
    return interval(float(changes.mean() / gains.mean()), drawn.means(changes) / drawn.means(gains), len(gains), level)


def largest_of(figures: list[Estimate]) -> Estimate:
    """The largest of several figures: between the largest of their low ends and the largest of their high ones.

    It misses the truth at most as often as all of them together, so each has to be of that part of the level.
    """
    return Estimate(
        max(one.value for one in figures),
        max(one.low for one in figures),
        max(one.high for one in figures),
        min(one.n for one in figures),
    )


def place_of_largest(values: Floats, places: Floats, seed: int, level: float) -> Estimate:
    """The place at which the mean of values (place, sample) is largest; `places` are their numbers, (place,)."""
    values = values[:, np.isfinite(values).all(0)]
    means = draws(values.shape[1], seed).means(values.T)
    return interval(float(places[values.mean(1).argmax()]), places[means.argmax(1)], values.shape[1], level)
