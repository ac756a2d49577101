"""The nearest neighbors of every point, as float64 has them, at the price of float32.

|x - y|² = |x|² + |y|² - 2 xy, the form that matrix products are fast in, loses the small distances of points that lie
far from the origin. So: the mean is taken off first; float32 products choose candidates, more than are needed; their
distances are computed again as sums of squared differences; and where the rounding of the first step could have hidden
a neighbor, the row is done again in float64; where that could have hidden one too, by the differences to all points.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.measures.points import BLOCK, Array, as_points, center, full_precision

MARGIN = 16
"""Candidates beyond those that are asked for, whose distances are computed again."""

_CACHED = 1 << 19  # numbers of the differences that a processor computes at a time: they stay in its cache
_AT_ONCE = 1 << 26  # and that a GPU does
_SAFE = 2.0**-40, 2.0**40  # sizes of numbers whose squares float32 can sum
_TIED = 3e-6  # distances in float32 that differ by less, as a share, are computed again in float64


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest neighbors of points, nearest first; a point is none of its own, whatever else lies on it.

    index     int64    (sample, more than 2 k, or all): the first k columns are certain, the others serve errors alone
    distance  float64  (sample, as many): Euclidean; those of the first k columns are exact
    k         the neighbors that were asked for
    redone    the rows that float32 could not decide
    """

    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    k: int
    redone: int

    @property
    def n(self) -> int:
        """The number of points."""
        return len(self.index)


def neighbors(points: Array, k: int, block: int = BLOCK) -> Neighbors:
    """The `k` nearest neighbors of every point, equal to those of float64 arithmetic; equal distances by their index.

    Memory: a float32 copy of the points, the result, and `block` x `block` numbers. Raises ValueError unless
    1 <= k < number of points, and LapilliError as `as_points` does.
    """
    raw = as_points(points)
    if not 1 <= k < len(raw):
        raise ValueError(f"{k} neighbors of {len(raw)} points")
    exact, width = min(k + MARGIN, len(raw) - 1), min(reach(k), len(raw) - 1)
    mean = center(raw)
    scale = _scale(raw, mean)
    near = _near_origin(raw, mean, scale)
    with full_precision():
        squared, index = _candidates(near, width, block)
    bound = squared[:, exact - 1].clone()
    squared = squared.double()
    _compute_again(raw, torch.arange(len(raw), device=raw.device), (squared, index), (exact, scale))
    norms = (near * near).sum(1).double()
    unsure = _unsure(squared[:, k - 1], bound, norms + norms.max(), rounding(near))
    for rows in unsure.split(block) if exact < len(raw) - 1 else ():
        squared[rows], index[rows] = _again(raw, (mean, scale), rows, (k, exact, width, block))
    unsure = unsure if exact < len(raw) - 1 else unsure[:0]
    return Neighbors(index.cpu().numpy(), squared.clamp_min(0).sqrt().cpu().numpy() * scale, k, len(unsure))


def reach(k: int) -> int:
    """So many neighbors that of any half of the points `k` are among them, but for one row in thousands."""
    return max(k + MARGIN, 2 * k + 6 * math.isqrt(k) + 8)


def nearest(points: Array | Neighbors, k: int, block: int = BLOCK) -> Neighbors:
    """Neighbors as they are, or those of points. Raises ValueError for neighbors that are fewer than `k`."""
    if not isinstance(points, Neighbors):
        return neighbors(points, k, block)
    if points.k < k:
        raise ValueError(f"{points.k} neighbors where {k} are needed")
    return points


def _scale(raw: Tensor, mean: Tensor) -> float:
    """A power of 2, by which dividing is exact, that makes the largest number about 1: squares stay in range."""
    largest = max(
        float((raw[start : start + BLOCK].double() - mean).abs().max()) for start in range(0, len(raw), BLOCK)
    )
    return 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0


def _near_origin(raw: Tensor, mean: Tensor, scale: float) -> Tensor:
    """The points less their mean, / scale, float32."""
    near = torch.empty(raw.shape, device=raw.device)
    for start in range(0, len(raw), BLOCK):
        near[start : start + BLOCK] = (raw[start : start + BLOCK].double() - mean) / scale
    return near


def _candidates(near: Tensor, width: int, block: int) -> tuple[Tensor, Tensor]:
    """The `width` nearest of every point by float32 products: squared distances and indices, (sample, width) each.

    Every product of two blocks serves the rows of both.
    """
    n, norms = len(near), (near * near).sum(1)
    best = torch.full((n, width), torch.inf, device=near.device)
    index = torch.full((n, width), -1, dtype=torch.long, device=near.device)
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        for other in range(start, n, block):
            columns = slice(other, min(other + block, n))
            squared = torch.addmm(norms[None, columns], near[rows], near[columns].T, alpha=-2)
            squared += norms[rows, None]
            if other == start:
                squared.fill_diagonal_(torch.inf)
            else:
                _merge(best[columns], index[columns], squared.T, start)
            _merge(best[rows], index[rows], squared, other)
    return best, index


def _merge(best: Tensor, index: Tensor, squared: Tensor, first: int) -> None:
    """Put the points from number `first` on, at these squared distances, among the best of the rows, in place."""
    values, chosen = squared.topk(min(best.shape[1], squared.shape[1]), largest=False, sorted=False)
    values, indices = torch.cat([best, values], 1), torch.cat([index, chosen + first], 1)
    best[:], order = values.topk(best.shape[1], largest=False)
    index[:] = indices.gather(1, order)


def _compute_again(raw: Tensor, rows: Tensor, best: tuple[Tensor, Tensor], sizes: tuple[int, float]) -> None:
    """Put the first candidates of these rows in the order of their true distances, in place.

    `best` are squared distances / scale² and indices, (row, width) each; `sizes` how many are first, and the scale.
    """
    exact, scale = sizes
    index = best[1][:, :exact].sort(1).values
    squared = _summed(raw, rows, index, scale)
    if raw.dtype == torch.float32:
        ordered = squared.sort(1).values
        tied = (ordered.diff(dim=1) <= _TIED * ordered[:, 1:]).any(1).nonzero()[:, 0]
        squared[tied] = _summed(raw, rows[tied], index[tied], scale, torch.float64)
    best[0][:, :exact], order = squared.sort(dim=1, stable=True)
    best[1][:, :exact] = index.gather(1, order)


def _summed(raw: Tensor, rows: Tensor, index: Tensor, scale: float, dtype: torch.dtype | None = None) -> Tensor:
    """Sums of squared differences / scale², (row, width) float64, computed in `dtype`, or in the points' own."""
    width = index.shape[1]
    step = max(1, (_CACHED if raw.device.type == "cpu" else _AT_ONCE) // max(width * raw.shape[1], 1))
    squared = torch.empty(index.shape, dtype=torch.float64, device=raw.device)
    buffer = raw.new_empty((step * width, raw.shape[1]))  # in one place, or half of the time goes into its allocation
    for start in range(0, len(rows), step):
        own = raw[rows[start : start + step], None].to(dtype or raw.dtype)
        gathered = buffer[: len(own) * width]
        torch.index_select(raw, 0, index[start : start + step].reshape(-1), out=gathered)
        differences = gathered.to(own.dtype).unflatten(0, (-1, width)).sub_(own)
        if not _SAFE[0] < scale < _SAFE[1]:
            differences.div_(scale)
        squared[start : start + step] = torch.linalg.vector_norm(differences, dim=-1)
    return squared**2 if not _SAFE[0] < scale < _SAFE[1] else (squared / scale) ** 2


def rounding(points: Tensor) -> float:
    """What a squared distance of these by products may be off, as a share of the sum of both squared lengths."""
    unit = torch.finfo(points.dtype).eps / 2
    return 2 * unit * (math.sqrt(points.shape[1]) + 4)


def _unsure(last: Tensor, bound: Tensor, norms: Tensor, off: float) -> Tensor:
    """The rows whose k-th true distance is not below what the last candidate's may be by rounding, (row,)."""
    return (~(last < bound.double() - off * norms)).nonzero()[:, 0]


def _again(
    raw: Tensor, origin: tuple[Tensor, float], rows: Tensor, sizes: tuple[int, int, int, int]
) -> tuple[Tensor, Tensor]:
    """Squared distances / scale² and indices of these rows, (row, width) each, without the rounding of float32.

    `origin` are the mean and the scale; `sizes` are k, how many candidates' distances are exact, width and block.
    """
    (mean, scale), (k, exact, width, block) = origin, sizes
    best = _in_float64(raw, mean, rows, (width, block))
    best[0].div_(scale**2)
    bound = best[0][:, exact - 1].clone()
    _compute_again(raw, rows, best, (exact, scale))
    norms = torch.cat([((part.double() - mean) / scale).square().sum(1) for part in raw.split(block)])
    for row in _unsure(best[0][:, k - 1], bound, norms[rows] + norms.max(), rounding(mean[None])).tolist():
        own = raw[rows[row]].double()
        squared = torch.cat([((part.double() - own) / scale).square().sum(1) for part in raw.split(block)])
        squared[rows[row]] = torch.inf
        ordered, index = squared.sort(stable=True)
        best[0][row], best[1][row] = ordered[:width], index[:width]
    return best


def _in_float64(raw: Tensor, mean: Tensor, rows: Tensor, sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """As `_candidates`, of these rows alone and by float64 products; `sizes` are width and block."""
    width, block = sizes
    own = raw[rows].double() - mean
    best = torch.full((len(rows), width), torch.inf, dtype=torch.float64, device=raw.device)
    index = torch.full((len(rows), width), -1, dtype=torch.long, device=raw.device)
    for start in range(0, len(raw), block):
        others = raw[start : start + block].double() - mean
        squared = torch.addmm((others * others).sum(1)[None], own, others.T, alpha=-2) + (own * own).sum(1)[:, None]
        squared[rows[:, None] == torch.arange(start, start + len(others), device=raw.device)] = torch.inf
        _merge(best, index, squared, start)
    return best, index
