"""Points: the arrays that measures take, checked once, and the values that measures return."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError

Array: TypeAlias = NDArray[Any] | Tensor
"""Points (sample, dimension), of numpy or torch, on any device, of any type of numbers."""

BLOCK = 2048
"""Points that are compared at a time: BLOCK x BLOCK float32 or float64 numbers are what a measure needs beside them."""

HALVINGS = 16
"""The random halvings of the points from which an error is computed."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A measured value.

    value     nan where there are too few distinct points
    error     its standard error, nan where none is known; docs/measures.md says how often value ± 2 errors holds
    scale     the rank of the farthest neighbor that it is about; of a measure of all points their number
    n         the points that it was measured on, without duplicates where these count for nothing
    distance  the mean distance to the neighbors that it is about, nan for what is no distance's function
    samples   (sample,) what each point contributes, where the value is their mean
    """

    value: float
    error: float
    scale: float
    n: int
    distance: float = math.nan
    samples: NDArray[np.float64] | None = None


def as_points(array: Array) -> Tensor:
    """Points (sample, dimension) as a float32 or float64 tensor on their device, with equal values.

    Raises LapilliError for another number of axes, and for a number that is not finite, with its place.
    """
    points = array.detach() if isinstance(array, Tensor) else torch.tensor(np.asarray(array))
    if points.ndim != 2:
        raise LapilliError(f"points of shape {tuple(points.shape)}: two axes are needed, sample and dimension")
    exact = points.dtype in (torch.float16, torch.bfloat16, torch.float32)
    points = points.to(torch.float32 if exact else torch.float64)
    for start in range(0, len(points), BLOCK):
        wrong = (~torch.isfinite(points[start : start + BLOCK])).nonzero()
        if len(wrong):
            row, column = start + int(wrong[0, 0]), int(wrong[0, 1])
            raise LapilliError(f"row {row}, column {column}: {float(points[row, column])} is no number; leave it out")
    return points


def paired(x: Array, y: Array) -> tuple[Tensor, Tensor]:
    """Both arrays as points. Raises LapilliError as `as_points` does, and unless they have equally many rows."""
    first, second = as_points(x), as_points(y)
    if len(first) != len(second):
        raise LapilliError(f"{len(first)} and {len(second)} rows: row i of both must be of the same sample")
    return first, second.to(first.device)


def in_one_space(x: Array, y: Array) -> tuple[Tensor, Tensor]:
    """As `paired`; raises LapilliError also unless both have equally many dimensions."""
    first, second = paired(x, y)
    if first.shape[1] != second.shape[1]:
        raise LapilliError(f"{first.shape[1]} and {second.shape[1]} dimensions: both must be states of one space")
    return first, second


def mean_of(samples: NDArray[np.float64], scale: float | None = None) -> Measured:
    """The mean of independent samples (sample,), with its standard error; nan without any."""
    n = len(samples)
    value = float(samples.mean()) if n else math.nan
    error = float(samples.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Measured(value, error, n if scale is None else scale, n, samples=samples)


def jackknife_error(left_out: NDArray[np.float64]) -> float:
    """The standard error of a statistic from its values without each of the samples, (sample,); nan for none.

    Source: Efron & Stein 1981, Ann. Stat. 9:586.
    """
    n = len(left_out)
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum())) if n > 1 else math.nan


def halvings(n: int) -> NDArray[np.bool_]:
    """Which of `n` points are in the first half, (HALVINGS, n): at random, alike for every measure of n points."""
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(n) < n // 2 for _ in range(HALVINGS)])


def halving_error(halves: NDArray[np.float64]) -> float:
    """The standard error of a statistic from its values on both halves of several halvings, (halving, 2).

    The halves of independent points are independent, and the variance of each is twice that of the whole: so it is a
    quarter of the mean squared difference. Points are drawn without replacement (Politis, Romano & Wolf 1999,
    Subsampling): drawn twice, they would be each other's neighbors. To leave out groups of points instead gives errors
    that are up to twice too large, as the neighbors of those that stay change.
    """
    return math.sqrt(float(((halves[:, 0] - halves[:, 1]) ** 2).mean()) / 4)


def distinct(*arrays: Array) -> NDArray[np.intp]:
    """The rows, ascending, that equal no earlier row in any of the arrays."""
    points = [as_points(array).cpu() for array in arrays]
    known: list[set[bytes]] = [set() for _ in points]
    kept = []
    for row in range(len(points[0])):
        contents = [(part[row] + 0.0).numpy().tobytes() for part in points]  # + 0: there are two zeros
        if not any(content in before for content, before in zip(contents, known, strict=True)):
            kept.append(row)
        for content, before in zip(contents, known, strict=True):
            before.add(content)
    return np.array(kept, np.intp)


def center(points: Tensor) -> Tensor:
    """The mean (dimension,), float64."""
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    first = points[:1].double().sum(0)  # what all points share is taken off before the sum: a constant stays itself
    for start in range(0, len(points), BLOCK):
        total += (points[start : start + BLOCK].double() - first).sum(0)
    return first + total / max(len(points), 1)


def centered(points: Tensor, start: int = 0, stop: int | None = None, mean: Tensor | None = None) -> Tensor:
    """Rows `start` to `stop` less the mean of all rows, float64."""
    return points[start:stop].double() - (center(points) if mean is None else mean)


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32 within the block, whatever the program has set (TF32, bfloat16)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def standardized(points: Array) -> Tensor:
    """The points with mean 0 and variance 1 in every dimension, float64; a dimension that does not vary becomes 0.

    A measure of these sees all dimensions alike: one outlying dimension no longer decides. Raises as `as_points` does.
    """
    near = centered(as_points(points))
    spread = near.std(0, correction=0)
    return near / torch.where(spread > 1e-12 * spread.max(), spread, torch.inf)
