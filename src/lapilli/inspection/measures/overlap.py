"""How far the nearest neighbors of the same samples agree in two spaces: two models, layers, or a picture and its text.

These are local measures: they stay when far points move, and see changes that leave distances at large as they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.measures.nearest import Neighbors, nearest, neighbors, reach, rounding
from lapilli.inspection.measures.points import (
    BLOCK,
    Array,
    Measured,
    center,
    distinct,
    halving_error,
    halvings,
    paired,
)

KS = (1, 3, 10, 30, 100)
"""The numbers of neighbors at which the overlap is taken."""


def neighborhood_overlap(
    x: Array | Neighbors, y: Array | Neighbors, ks: Sequence[int] = KS, block: int = BLOCK
) -> tuple[Measured, ...]:
    """The share of the `k` nearest neighbors that is the same in both spaces, above chance, for every k; scale k.

    0 is what independent spaces have, 1 the same neighbors: (share - c) / (1 - c) with c = k / (n - 1). `samples` are
    those of every point. Samples that equal another one in either space are left out, but for the first; of neighbors
    none are. Where k is n - 1 or more, all points are neighbors: nan. The error comes from halves of the points, and is
    nan where k is not below half of n - 1. Source: Doimo, Glielmo, Ansuini & Laio 2020, NeurIPS 33. Raises ValueError
    as `nearest` does and for a k below 1, LapilliError as `paired` does.
    """
    if min(ks) < 1:
        raise ValueError(f"{min(ks)} neighbors; 1 are needed")
    known = _both(x, y, max(ks), block)
    if known is None:
        return tuple(Measured(math.nan, math.nan, k, 0) for k in ks)
    matches = _matches(*(_first(part, reach(max(ks))) for part in known))
    halves = [[_inside(matches, half) for half in (first, ~first)] for first in halvings(matches.known[0].n)]
    return tuple(_above_chance(matches, k, halves) for k in ks)


@dataclass(frozen=True, eq=False)
class _Matches:
    """The neighbors that are known in both spaces: `row` and ranks from 0, (match,) each; n points, k known of each."""

    row: NDArray[np.intp]
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    known: tuple[Neighbors, Neighbors]


def _both(x: Array | Neighbors, y: Array | Neighbors, k: int, block: int) -> tuple[Neighbors, Neighbors] | None:
    """The neighbors in both spaces; None of fewer than two distinct samples."""
    if isinstance(x, Neighbors) or isinstance(y, Neighbors):
        first, second = nearest(x, k, block), nearest(y, k, block)
        if first.n != second.n:
            raise ValueError(f"neighbors of {first.n} and of {second.n} points")
        return first, second
    both = paired(x, y)
    rows = distinct(*both)
    if len(rows) < 2:
        return None
    first, second = (nearest(part[rows], min(k, len(rows) - 1), block) for part in both)
    return first, second


def _first(known: Neighbors, width: int) -> Neighbors:
    """The first neighbors alone."""
    return replace(known, index=known.index[:, :width], distance=known.distance[:, :width])


def _matches(first: Neighbors, second: Neighbors) -> _Matches:
    parts = []
    step = max(1, BLOCK**2 // first.index.shape[1] ** 2)  # every neighbor is compared with every other
    for start in range(0, first.n, step):
        same = first.index[start : start + step, :, None] == second.index[start : start + step, None]
        rows, ranks, others = np.nonzero(same)
        parts.append((rows + start, ranks, others))
    row, rank, other = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Matches(row, rank, other, (first, second))


def _above_chance(matches: _Matches, k: int, halves: Sequence[Sequence["_Half"]]) -> Measured:
    n = matches.known[0].n
    if min(part.k for part in matches.known) < k or k >= n - 1:
        return Measured(math.nan, math.nan, k, n)
    shared = np.bincount(matches.row[np.maximum(matches.first, matches.second) < k], minlength=n)
    samples = _calibrated(shared / k, k, n)
    values = [[float(_calibrated(half.shares(k), k, half.points)) for half in pair] for pair in halves]
    return Measured(float(samples.mean()), halving_error(np.array(values)), k, n, samples=samples)


@dataclass(frozen=True, eq=False)
class _Half:
    """A half of the points: the higher of the two ranks in it of every neighbor that is known in both spaces."""

    points: int
    rank: NDArray[np.intp]

    def shares(self, k: int) -> NDArray[np.float64]:
        """The share of the first k neighbors that is the same."""
        return np.array(np.count_nonzero(self.rank < k) / (k * self.points))


def _inside(matches: _Matches, half: NDArray[np.bool_]) -> _Half:
    ranks = [half[part.index].cumsum(1, dtype=np.int32) - 1 for part in matches.known]
    inside = half[matches.row] & half[matches.known[0].index[matches.row, matches.first]]
    row, first, second = (part[inside] for part in (matches.row, matches.first, matches.second))
    return _Half(int(np.count_nonzero(half)), np.maximum(ranks[0][row, first], ranks[1][row, second]))


def _calibrated(share: NDArray[np.float64], k: int, n: int) -> NDArray[np.float64]:
    chance = k / (n - 1)
    return (share - chance) / (1 - chance) if chance < 1 else np.full_like(share, math.nan)  # all are neighbors


def information_imbalance(x: Array, y: Array, block: int = BLOCK) -> tuple[Measured, Measured]:
    """How badly nearness in one space predicts nearness in the other: from x to y, and from y to x; scale 1.

    2 / n times the mean rank in the other space of a point's nearest neighbor: 1 without information, 2 / n where the
    neighbor is the same. `samples` are those of every point. Samples are left out as by `neighborhood_overlap`. Source:
    Glielmo, Zeni, Cheng, Csanyi & Laio 2022, PNAS Nexus 1:pgac039. Raises LapilliError as `paired` does.
    """
    both = paired(x, y)
    rows = distinct(*both)
    if len(rows) < 4:
        nothing = Measured(math.nan, math.nan, 1, len(rows))
        return nothing, nothing
    first, second = (part[torch.from_numpy(rows).to(part.device)] for part in both)
    return _predicted(first, second, block), _predicted(second, first, block)


def _predicted(source: Tensor, target: Tensor, block: int) -> Measured:
    known, n = neighbors(source, 1, block), len(target)
    sets = np.concatenate([np.ones((1, n), np.bool_), halvings(n)])  # all points, then the halvings' first halves
    near = np.stack([_nearest_inside(known, half) for half in sets])
    ranks = _ranks(target, torch.from_numpy(near), torch.from_numpy(sets), block)
    halves = [
        [2 * ranks[number][half].mean() / np.count_nonzero(half) for half in (sets[number], ~sets[number])]
        for number in range(1, len(sets))
    ]
    samples = 2 * ranks[0] / n
    return Measured(float(samples.mean()), halving_error(np.array(halves)), 1, n, samples=samples)


def _nearest_inside(known: Neighbors, half: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The nearest neighbor of every point in its own half, (sample,); the last that is known where none is."""
    same = half[known.index] == half[:, None]
    chosen = np.where(same.any(1), same.argmax(1), same.shape[1] - 1)
    near: NDArray[np.intp] = known.index[np.arange(known.n), chosen]
    return near


def _ranks(points: Tensor, others: Tensor, sets: Tensor, block: int) -> NDArray[np.float64]:
    """The rank of point `others[s, i]` among the neighbors of point i in its half of set s, from 1; (set, sample).

    Of equal distances the lower index goes first.
    """
    mean, n, device = center(points), len(points), points.device
    others, sets = others.to(device), sets.to(device)
    ranks = torch.ones(others.shape, dtype=torch.float64, device=device)
    for start in range(0, n, block):
        rows = torch.arange(start, min(start + block, n), device=device)
        own = points[rows].double() - mean
        limits = [_distance(own, points[near[rows]].double() - mean)[:, None] for near in others]
        for other in range(0, n, block):
            part = points[other : other + block].double() - mean
            squared = torch.addmm((part * part).sum(1)[None], own, part.T, alpha=-2) + (own * own).sum(1)[:, None]
            column = torch.arange(other, other + len(part), device=device)
            squared[column == rows[:, None]] = torch.inf
            _settle(squared, limits, (own, part))
            for number, limit in enumerate(limits):
                best, half = others[number, rows, None], sets[number]
                nearer = (squared < limit) | ((squared == limit) & (column < best))
                nearer &= (column != best) & (half[column] == half[rows, None])
                ranks[number, rows] += nearer.sum(1)
    return ranks.cpu().numpy()


def _settle(squared: Tensor, limits: Sequence[Tensor], vectors: tuple[Tensor, Tensor]) -> None:
    """Compute squared distances again, in place, where the rounding of products could put them beyond a limit.

    `squared` is (row, column) of the two `vectors`, less the mean; limits are (row, 1) each.
    """
    own, part = vectors
    off = rounding(own) * ((own * own).sum(1)[:, None] + (part * part).sum(1))
    near = torch.zeros_like(squared, dtype=torch.bool)
    for limit in limits:
        near |= (squared - limit).abs() <= off
    for pairs in near.nonzero().split(max(1, BLOCK**2 // max(own.shape[1], 1))):
        row, column = pairs.T
        squared[row, column] = _distance(own[row], part[column])


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return ((x - y) ** 2).sum(1)
