"""Density peak clusters: as many as the density has peaks that its own error does not explain.

Source: d'Errico, Facco, Laio & Rodriguez 2021, Inf. Sci. 560:476 (the automatic version of Rodriguez & Laio 2014,
Science 344:1492), with densities from the distance to the k-th neighbor.
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.measures.dimension import two_nn
from lapilli.inspection.measures.nearest import Neighbors, neighbors
from lapilli.inspection.measures.points import Array

Numbers: TypeAlias = NDArray[np.intp]
Densities: TypeAlias = NDArray[np.float64]
Saddles: TypeAlias = dict[tuple[int, int], float]
"""The log-density at the border of each two clusters that touch, (low number, high number)."""


def density_peaks(points: Array, k: int = 16, z: float = 1.65) -> Numbers:
    """The cluster of every point, (sample,), from 0 in the order of their peaks' densities.

    Two peaks are one where the lower does not stand above their border by `z` times the errors of both. Raises
    ValueError as `neighbors` does.
    """
    known = neighbors(points, k)
    radius = known.distance[:, k - 1]
    dimension = two_nn(points).value
    density = -(1.0 if math.isnan(dimension) else dimension) * np.log(np.maximum(radius, np.finfo(np.float64).tiny))
    order = np.argsort(-density, kind="stable")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    cluster = _by_peak(known, place, order)
    peaks = [float(density[cluster == number].max()) for number in range(int(cluster.max()) + 1)]
    joined = _joined(peaks, _saddles(known, density, cluster), 2 * z / math.sqrt(k))
    return np.unique(joined[cluster], return_inverse=True)[1].reshape(-1)


def _by_peak(known: Neighbors, place: Numbers, order: Numbers) -> Numbers:
    """The peak that is above every point, (sample,); `place` is a point's place by density, the densest first.

    A peak is the densest of its k neighbors, and of those points that it is a neighbor of.
    """
    near = known.index[:, : known.k]
    denser = place[near] < place[:, None]
    above = np.where(denser.any(1), near[np.arange(known.n), denser.argmax(1)], -1)
    around = np.arange(known.n)  # the densest of the points that have this one as a neighbor
    for point in order[::-1]:
        around[near[point]] = np.where(place[point] < place[around[near[point]]], point, around[near[point]])
    above = np.where((above < 0) & (place[around] < place), around, above)
    cluster, peaks = np.full(known.n, -1), 0
    for point in order:
        if above[point] < 0:
            cluster[point], peaks = peaks, peaks + 1
        else:
            cluster[point] = cluster[above[point]]
    return cluster


def _saddles(known: Neighbors, density: Densities, cluster: Numbers) -> Saddles:
    """The densest border point of each two clusters: one whose neighbor of the other has none of its own nearer."""
    foreign = cluster[known.index[:, : known.k]] != cluster[:, None]
    (border,) = np.nonzero(foreign.any(1))
    beyond = known.index[border, foreign[border].argmax(1)]
    own = cluster[known.index[beyond]] == cluster[border][:, None]
    nearest_own = np.where(own.any(1), known.index[beyond, own.argmax(1)], border)
    saddles: Saddles = {}
    for point, other in zip(border[nearest_own == border], beyond[nearest_own == border], strict=True):
        low, high = sorted((int(cluster[point]), int(cluster[other])))
        saddles[low, high] = max(saddles.get((low, high), -math.inf), float(density[point]))
    return saddles


def _joined(peaks: list[float], saddles: Saddles, least: float) -> Numbers:
    """The peak that each peak becomes part of, (peak,): the lower of two with less than `least` between it and both.

    The highest border goes first; a peak that grew has the higher of the borders of its two parts.
    """
    of = np.arange(len(peaks))
    while open_ := [pair for pair, height in saddles.items() if min(peaks[pair[0]], peaks[pair[1]]) - height < least]:
        pair = max(open_, key=lambda pair: (saddles[pair], pair))
        kept, gone = sorted(pair, key=lambda number: (-peaks[number], number))
        of[of == gone] = kept
        merged: Saddles = {}
        for (first, second), height in saddles.items():
            low, high = sorted(kept if number == gone else number for number in (first, second))
            if low != high:
                merged[low, high] = max(merged.get((low, high), -math.inf), height)
        saddles = merged
    return of
