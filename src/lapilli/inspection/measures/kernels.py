"""Global similarity of the same samples in two spaces: HSIC of their kernels, in blocks, with an exact jackknife.

Kernels are made block by block and never kept: memory is a few block x sample float64 numbers. Everything follows from
sums over pairs, and leaving a sample out from the sums of its row.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.measures.points import Array, Measured, as_points, center, jackknife_error, paired

ROWS = 512
"""Rows of a kernel that are made at a time."""

_MEDIAN_OF = 1_000  # points whose distances to all others give the width of the radial kernel

Kernel: TypeAlias = Callable[[int, int], Tensor]
"""A function of a first and a last row: these rows of a kernel matrix, (row, sample) float64."""


@dataclass(frozen=True, eq=False)
class PairSums:
    """What HSIC needs of two kernels K and L, without the diagonals for the unbiased estimator.

    first, second       (sample,) the sums of the rows of K and L
    product             (sample,) the sums of the rows of K * L
    first_by_second     (sample,) K times `second`
    second_by_first     (sample,) L times `first`
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    product: NDArray[np.float64]
    first_by_second: NDArray[np.float64]
    second_by_first: NDArray[np.float64]

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.product)


def linear_cka(x: Array, y: Array, debiased: bool = True, rows: int = ROWS) -> Measured:
    """Linear centered kernel alignment: 1 for spaces alike up to rotation, shift and scale.

    Debiased, 0 is expected of independent spaces, and a little less than 0 is possible. Biased, as usually printed,
    independent spaces of many dimensions come near 1, and no error is known. Sources: Kornblith, Norouzi, Lee & Hinton
    2019, ICML 97:3519; Song et al. 2012, JMLR 13:1393. Raises LapilliError as `paired` does; nan for fewer than five
    samples.
    """
    first, second = paired(x, y)
    return _alignment((first, second), _linear, rows, debiased)


def rbf_cka(x: Array, y: Array, debiased: bool = True, width: float = 1.0, rows: int = ROWS) -> Measured:
    """As `linear_cka` with kernels exp(-|x - x'|² / (2 s²)), s being `width` times the median distance.

    The median is that of the distances from at most 1,000 points, evenly spread over the rows.
    """
    first, second = paired(x, y)
    return _alignment((first, second), partial(_radial, width=width), rows, debiased)


def distance_correlation(x: Array, y: Array, rows: int = ROWS) -> Measured:
    """The bias-corrected squared distance correlation: 0 is expected of independent spaces only, 1 as for `linear_cka`.

    Source: Szekely & Rizzo 2013, J. Multivar. Anal. 117:193; 2014, Ann. Stat. 42:2382. Raises as `linear_cka` does.
    """
    first, second = paired(x, y)
    return _alignment((first, second), _distances, rows, debiased=True)


def participation_ratio(points: Array, rows: int = ROWS) -> Measured:
    """The number of dimensions over which the variance is spread: (tr C)² / tr C², both estimated without bias.

    1 to the number of dimensions; d for d equal variances, also where there are fewer samples than dimensions: what few
    samples say may lie beyond. Source: Chun, Canatar, Chung & Lee 2025, arXiv 2509.26560. Raises LapilliError as
    `as_points` does; nan for fewer than six samples and without variance.
    """
    one = as_points(points)
    if len(one) < 6:
        return Measured(math.nan, math.nan, len(one), len(one))
    sums = pair_sums(_distances(one, squared=True), None, len(one), rows, diagonal=False)
    below = _unbiased(sums)
    return _with_jackknife(_squared_trace(sums) / np.where(below > 0, below, np.nan), len(one))


def pair_sums(first: Kernel, second: Kernel | None, n: int, rows: int, diagonal: bool) -> PairSums:
    """The sums of two kernels of `n` samples; without a second, of the first with itself."""

    def blocks(kernel: Kernel) -> list[NDArray[np.float64]]:
        return [_block(kernel, start, rows, n, diagonal).sum(1).cpu().numpy() for start in range(0, n, rows)]

    own = np.concatenate(blocks(first))
    other = own if second is None else np.concatenate(blocks(second))
    parts = []
    for start in range(0, n, rows):
        k = _block(first, start, rows, n, diagonal)
        l = k if second is None else _block(second, start, rows, n, diagonal)  # noqa: E741 - as in the paper
        sums = torch.from_numpy(np.stack([own, other])).to(k.device)
        parts.append(torch.stack([(k * l).sum(1), k @ sums[1], l @ sums[0]]).cpu().numpy())
    return PairSums(own, other, *np.concatenate(parts, 1))


def _block(kernel: Kernel, start: int, rows: int, n: int, diagonal: bool) -> Tensor:
    block = kernel(start, min(start + rows, n))
    if not diagonal:
        at = torch.arange(len(block), device=block.device)
        block[at, at + start] = 0
    return block


def _alignment(
    spaces: tuple[Tensor, Tensor], kernel: Callable[[Tensor], Kernel], rows: int, debiased: bool
) -> Measured:
    n = len(spaces[0])
    if n < 5:
        return Measured(math.nan, math.nan, n, n)
    first, second = map(kernel, spaces)
    estimate = _unbiased if debiased else _biased
    crossed, own, other = (
        estimate(pair_sums(one, another, n, rows, diagonal=not debiased))
        for one, another in ((first, second), (first, None), (second, None))
    )
    below = np.maximum(own, 0) * np.maximum(other, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _with_jackknife(np.where(below > 0, crossed / np.sqrt(below), np.nan), n)


def _with_jackknife(values: NDArray[np.float64], n: int) -> Measured:
    """A statistic of all samples, followed by those without one of them each, if any."""
    return Measured(float(values[0]), jackknife_error(values[1:]), n, n)


def _unbiased(sums: PairSums) -> NDArray[np.float64]:
    """HSIC without bias (Song et al. 2012), of kernels without diagonals: of all samples and without each."""
    n, product, first, second, crossed = _left_out(sums)
    return (product + first * second / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))


def _biased(sums: PairSums) -> NDArray[np.float64]:
    """HSIC of centered kernels (Gretton et al. 2005, ALT), with their diagonals: of all samples alone, (1,)."""
    first, second, n = sums.first, sums.second, sums.n
    total = sums.product.sum() + first.sum() * second.sum() / n**2 - 2 * (first @ second) / n
    return np.array([total / n**2])


def _squared_trace(sums: PairSums) -> NDArray[np.float64]:
    """(tr C)² times 4 without bias, from the squared distances of pairs that share no sample."""
    n, squares, total, _, crossed = _left_out(sums)
    return (total**2 - 4 * crossed + 2 * squares) / (n * (n - 1) * (n - 2) * (n - 3))


def _left_out(sums: PairSums) -> tuple[NDArray[np.float64], ...]:
    """n, and the totals of K * L, K, L and K L, without diagonals: of all samples, then without each, (1 + sample,)."""
    n = np.concatenate([[sums.n], np.full(sums.n, sums.n - 1)]).astype(np.float64)
    total = sums.first @ sums.second
    crossed = total - sums.first * sums.second - sums.first_by_second - sums.second_by_first + sums.product
    each = (_without_each(rows) for rows in (sums.product, sums.first, sums.second))
    return n, *each, np.concatenate([[total], crossed])


def _without_each(row_sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of a symmetric matrix without diagonal, and that without each of its rows and columns, (1 + sample,)."""
    total = row_sums.sum()
    return np.concatenate([[total], total - 2 * row_sums])


def _linear(points: Tensor) -> Kernel:
    mean = center(points)

    def kernel(start: int, stop: int) -> Tensor:
        own = points[start:stop].double() - mean
        return torch.cat([own @ (part.double() - mean).T for part in points.split(ROWS)], 1)

    return kernel


def _distances(points: Tensor, squared: bool = False) -> Kernel:
    mean = center(points)

    def kernel(start: int, stop: int) -> Tensor:
        own = points[start:stop].double() - mean
        blocks = torch.cat([_squares(own, part.double() - mean) for part in points.split(ROWS)], 1)
        at = torch.arange(len(own), device=own.device)
        blocks[at, at + start] = 0  # which rounding leaves a little above
        return blocks if squared else blocks.sqrt()

    return kernel


def _radial(points: Tensor, width: float) -> Kernel:
    distances, n = _distances(points, squared=True), len(points)
    apart = torch.cat([distances(row, row + 1)[0] for row in range(0, n, -(-n // _MEDIAN_OF))])
    if not apart.any():  # all points are the same
        return distances
    scale = 2 * (width * float(np.median(apart[apart > 0].sqrt().cpu().numpy()))) ** 2

    def kernel(start: int, stop: int) -> Tensor:
        return torch.exp(-distances(start, stop) / scale)

    return kernel


def _squares(own: Tensor, others: Tensor) -> Tensor:
    """Squared distances by float64 products, none below 0."""
    squared = torch.addmm((others * others).sum(1)[None], own, others.T, alpha=-2) + (own * own).sum(1)[:, None]
    return squared.clamp_min_(0)
