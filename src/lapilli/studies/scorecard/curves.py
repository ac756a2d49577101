"""Deletion and insertion curves: the key word's log-probability as patches are removed in the order of a map.

Deletion removes the most relevant patches first (MoRF); insertion puts the most relevant ones into an empty picture,
which is removal of the least relevant first (LeRF), read backwards (Petsiuk et al. 2018, "RISE"; Samek et al. 2017,
IEEE TNNLS 28:11). The area between the two is the primary figure: both have the same numbers of removed patches, so
that much of the effect of removal itself cancels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions

POINTS = 25
"""The number of points of a curve, both ends included."""

FLOOR = 0.5
"""The least scale of a curve, in nats; above it the scale is the word's loss without the whole picture."""

HIGHEST = 1.2
"""The upper bound of a scaled curve: a word may be likelier without some patches."""


def orders(values: NDArray[np.float64], rng: np.random.Generator) -> list[Positions]:
    """The patches from the largest value to the smallest.

    With equal values there are two orders, a random one among the equal patches, and its reverse: their mean favours
    none of them, and a constant map scores as an uninformative one.
    """
    shuffled = rng.permutation(len(values))
    breakers = [shuffled] if len(np.unique(values)) == len(values) else [shuffled, shuffled[::-1]]
    return [tie_order[np.argsort(-values[tie_order], kind="stable")] for tie_order in breakers]


def steps(patches: int, points: int = POINTS) -> list[int]:
    """The number of removed patches at each point of a curve: from none to all, in even steps."""
    return [round(patches * point / (points - 1)) for point in range(points)]


def removed_sets(order: Positions, points: int = POINTS) -> list[Positions]:
    """The removed patches at each point of a curve, ascending."""
    return [np.sort(order[:count]) for count in steps(len(order), points)]


@dataclass(frozen=True, eq=False)
class Curves:
    """The key word's log-probabilities, in nats, (..., point), without the most, or the least, relevant patches."""

    morf: NDArray[np.float64]
    lerf: NDArray[np.float64]

    @property
    def scaled(self) -> "Curves":
        """The curves scaled to 1 with the whole picture and 0 with none of it; clipped to 0 and HIGHEST."""
        full, empty = self.morf[..., :1], self.morf[..., -1:]
        span = np.maximum(full - empty, FLOOR)
        return Curves(*(np.clip((curve - empty) / span, 0, HIGHEST) for curve in (self.morf, self.lerf)))

    @property
    def deletion(self) -> NDArray[np.float64]:
        """The area under the scaled curve, the most relevant first, (...,): the lower the better."""
        return area(self.scaled.morf)

    @property
    def insertion(self) -> NDArray[np.float64]:
        """The area under the scaled curve as the most relevant patches return first, (...,): the higher the better."""
        return area(self.scaled.lerf)

    @property
    def gap(self) -> NDArray[np.float64]:
        """Insertion less deletion; 0 on average for a random order."""
        return self.insertion - self.deletion

    @property
    def early(self) -> NDArray[np.float64]:
        """The mean of the deletion curve over the first quarter of the patches: the lower the better."""
        return area(self.scaled.morf[..., : (self.morf.shape[-1] - 1) // 4 + 1])


def area(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area under curves (..., point) by the trapezoid rule, over an axis from 0 to 1; (...,)."""
    areas: NDArray[np.float64] = np.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1)
    return areas


def mean_curves(curves: Iterable[Curves]) -> Curves:
    """The mean of several curves at each point."""
    several = list(curves)
    return Curves(
        np.mean([curve.morf for curve in several], axis=0), np.mean([curve.lerf for curve in several], axis=0)
    )


@final
class Sets:
    """Sets of patches to be removed, without duplicates."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.unique: list[Positions] = []

    def add(self, sets: Iterable[Positions]) -> list[int]:
        """Add sets, and return their numbers in `unique`."""
        numbers = []
        for some in sets:
            key = np.sort(some).astype(np.int64).tobytes()
            if key not in self._numbers:
                self._numbers[key] = len(self.unique)
                self.unique.append(np.sort(some))
            numbers.append(self._numbers[key])
        return numbers


def curves_of(numbers: Mapping[str, Sequence[int]], log_prob: NDArray[np.float64]) -> Curves:
    """The curves of an order, from the numbers of its sets in either direction."""
    return Curves(log_prob[list(numbers["morf"])], log_prob[list(numbers["lerf"])])
