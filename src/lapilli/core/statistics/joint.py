"""Figures whose intervals may miss the truth at any level, such as a part of 5 %: claims that hold together need them.

A figure without spread, whose samples are all alike, has no interval here: it says nothing of other samples.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri, stdtrit

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.crossed import with_error_of_draws
from lapilli.core.statistics.estimate import Estimate

_NO_SPREAD = 1e-12  # of a figure beside its size


def mean_at(values: NDArray[np.floating], seed: int, level: float) -> Estimate:
    """The mean over the samples, (sample,), without those that are nan."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    return spread_only(interval(float(values.mean()), draws(len(values), seed).means(values), len(values), level))


def share_at(changes: NDArray[np.floating], gains: NDArray[np.floating], seed: int, level: float) -> Estimate:
    """The share that a mean change has of a mean gain, of the same samples, (sample,) each; they are drawn together."""
    drawn = draws(len(gains), seed)
    replicates = drawn.means(changes) / drawn.means(gains)
    return spread_only(interval(float(changes.mean() / gains.mean()), replicates, len(gains), level))


def share_over_draws_at(
    changes: NDArray[np.floating], gains: NDArray[np.floating], seed: int, level: float
) -> Estimate:
    """`share_at` of a mean change over several draws, (draw, sample), with their spread in its interval."""
    drawn, figures = draws(len(gains), seed), changes.mean(1) / gains.mean()
    replicates = (drawn.means(changes.mean(0)) / drawn.means(gains))[:, None]
    replicates = with_error_of_draws(replicates, figures[:, None], seed)[:, 0]
    return spread_only(interval(float(figures.mean()), replicates, len(gains), level))


def spread_only(figure: Estimate) -> Estimate:
    """The figure, without its interval where that has no width: samples that are all alike say nothing of others."""
    if figure.high - figure.low > _NO_SPREAD * max(1.0, abs(figure.value)):
        return figure
    return Estimate(figure.value, math.nan, math.nan, figure.n)


def largest_mean_at(values: NDArray[np.floating], seed: int, level: float) -> Estimate:
    """The largest of the means of values (item, sample); `largest_at` says how."""
    return largest_at(values.mean(1), draws(values.shape[1], seed).means(values.T), values.shape[1], level)


def largest_at(values: NDArray[np.floating], replicates: NDArray[np.floating], n: int, level: float) -> Estimate:
    """The largest of several figures, (item,), with replicates (draw, item).

    Its interval reaches from the largest low end to the largest high one of intervals that hold for all items together:
    value -+ q spread, with q the quantile of the largest |replicate - value| / spread of a draw (max-T; Westfall &
    Young 1993, Resampling-Based Multiple Testing, 2.3), widened as Student's t is. Items without spread are left out.
    """
    spread = replicates.std(0) * math.sqrt(n / (n - 1))
    usable = np.isfinite(values) & (spread > _NO_SPREAD)
    if not usable.any():
        return Estimate(math.nan, math.nan, math.nan, n)
    values, replicates, spread = values[usable], replicates[:, usable], spread[usable]
    farthest = (np.abs(replicates - values) / spread).max(1)
    student = float(stdtrit(n - 1, 1 - level / 2) / ndtri(1 - level / 2))
    half = student * float(np.quantile(farthest, 1 - level)) * spread
    return Estimate(float(values.max()), float((values - half).max()), float((values + half).max()), n)


def largest_change_at(changes: NDArray[np.floating], level: float) -> Estimate:
    """The largest of several mean changes of answers, (item, sample): each is 1, -1, or 0 where nothing changed.

    A change is the share of ones less that of minus ones. Its ends are those of exact intervals of both (Clopper &
    Pearson 1934, Biometrika 26:404), which hold together for all items (Bonferroni): they miss no more than stated for
    few changes either, where a normal interval at a small level misses several times as often.
    """
    n, tail = changes.shape[1], level / 4 / len(changes)
    (low, high), (low_of_other, high_of_other) = (
        _exact_bounds((sign * changes > 0).sum(1), n, tail) for sign in (1, -1)
    )
    most = float((high - low_of_other).max())
    return Estimate(float(changes.mean(1).max()), float((low - high_of_other).max()), most, n)


def _exact_bounds(counts: NDArray[np.integer], n: int, tail: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of exact intervals of shares of n, (item,) each; either is passed with a probability of `tail`."""
    low = np.where(counts > 0, betaincinv(np.maximum(counts, 1), n - counts + 1, tail), 0.0)
    high = np.where(counts < n, betaincinv(counts + 1, np.maximum(n - counts, 1), 1 - tail), 1.0)
    return low, high


def place_of_largest_at(
    values: NDArray[np.floating], places: NDArray[np.floating], seed: int, level: float
) -> Estimate:
    """The place at which the mean of values (place, sample) is largest; `places` are their numbers, (place,).

    Places where every sample is nan are left out, then samples that are nan anywhere. Its interval may have no width.
    """
    measured = np.isfinite(values).any(1)
    values, places = values[measured], places[measured]
    values = values[:, np.isfinite(values).all(0)]
    if not values.size or np.ptp(values.mean(1)) <= _NO_SPREAD:
        return Estimate(math.nan, math.nan, math.nan, values.shape[1])
    means = draws(values.shape[1], seed).means(values.T)
    return interval(float(places[values.mean(1).argmax()]), places[means.argmax(1)], values.shape[1], level)
