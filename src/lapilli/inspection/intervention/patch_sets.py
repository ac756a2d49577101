"""Sets of patches of a grid: the strongest of a map, and random ones to compare with."""

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions


def strongest(values: NDArray[np.float64], count: int) -> Positions:
    """The `count` patches with the largest values, ascending; of equal ones the first."""
    return np.sort(np.argsort(-values, kind="stable")[:count])


def scattered(rng: np.random.Generator, free: Positions, count: int) -> Positions:
    """`count` of the patches in `free`, drawn at random, ascending."""
    return np.sort(rng.choice(free, count, replace=False))


def in_pieces(rng: np.random.Generator, free: Positions, sizes: list[int], grid: tuple[int, int]) -> Positions:
    """Connected pieces of the given sizes, grown at random among the patches in `free`; ascending.

    A piece without room to grow continues elsewhere: the number of patches is always sum(sizes).
    Raises ValueError for more patches than are free.
    """
    remaining = {int(patch) for patch in free}
    if sum(sizes) > len(remaining):
        raise ValueError(f"{sum(sizes)} patches of {len(remaining)}")
    chosen: list[int] = []
    for size in sizes:
        edge: set[int] = set()
        for _ in range(size):
            patch = int(rng.choice(sorted(edge or remaining)))
            chosen.append(patch)
            remaining.discard(patch)
            edge = (edge | set(_neighbours(patch, grid))) & remaining
    return np.sort(np.array(chosen, np.intp))


def pieces(patches: Positions, grid: tuple[int, int]) -> list[int]:
    """The sizes of the connected pieces of a set of patches, largest first; diagonal neighbours are apart."""
    remaining = {int(patch) for patch in patches}
    sizes = []
    while remaining:
        reached = [remaining.pop()]
        for patch in reached:  # grows during the loop
            new = remaining & set(_neighbours(patch, grid))
            remaining -= new
            reached += sorted(new)
        sizes.append(len(reached))
    return sorted(sizes, reverse=True)


def _neighbours(patch: int, grid: tuple[int, int]) -> list[int]:
    rows, columns = grid
    row, column = divmod(patch, columns)
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [r * columns + c for r, c in around if 0 <= r < rows and 0 <= c < columns]
