"""What is left of the key word as patches go, in the order of a map and in its reverse.

Deletion takes the most relevant patches first (MoRF); insertion puts the most relevant ones into an empty picture,
which is the least relevant first (LeRF) read backwards (Petsiuk et al. 2018, "RISE"; Samek et al. 2017, IEEE TNNLS
28:11). The area between the two is the primary figure: both see the same numbers of patches gone, so that much of what
removal itself does cancels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions

POINTS = 25
"""Of a curve, both its ends included."""

FLOOR = 0.5
"""Nats that a word must lose with the whole picture for its curve to be scaled by them; by so many if it loses less."""

HIGHEST = 1.2
"""Where a scaled curve is cut: a word may be likelier without some patches."""


def orders(values: NDArray[np.float64], rng: np.random.Generator) -> list[Positions]:
    """The patches from the largest value to the smallest.

    Equal values come in a random order, and in a second one in its reverse: the mean over both favours none of them,
    and a constant map is ranked as if it said nothing.
    """
    shuffled = rng.permutation(len(values))
    breakers = [shuffled] if len(np.unique(values)) == len(values) else [shuffled, shuffled[::-1]]
    return [one[np.argsort(-values[one], kind="stable")] for one in breakers]


def steps(patches: int, points: int = POINTS) -> list[int]:
    """How many of the patches are gone at each point of a curve: from none to all, in even steps."""
    return [round(patches * point / (points - 1)) for point in range(points)]


def gone(order: Positions, points: int = POINTS) -> list[Positions]:
    """The patches that are gone at each point of a curve, ascending."""
    return [np.sort(order[:count]) for count in steps(len(order), points)]


@dataclass(frozen=True, eq=False)
class Curves:
    """Log-probabilities of the key word as patches go, (..., point), the most and the least relevant first; in nats."""

    morf: NDArray[np.float64]
    lerf: NDArray[np.float64]

    @property
    def scaled(self) -> "Curves":
        """1 with the whole picture, 0 with none of it; cut below 0 and above HIGHEST."""
        full, empty = self.morf[..., :1], self.morf[..., -1:]
        span = np.maximum(full - empty, FLOOR)
        return Curves(*(np.clip((curve - empty) / span, 0, HIGHEST) for curve in (self.morf, self.lerf)))

    @property
    def deletion(self) -> NDArray[np.float64]:
        """The area under the scaled curve, the most relevant first, (...,): the lower the better."""
        return area(self.scaled.morf)

    @property
    def insertion(self) -> NDArray[np.float64]:
        """The same as the most relevant patches come back into an empty picture: the higher the better."""
        return area(self.scaled.lerf)

    @property
    def gap(self) -> NDArray[np.float64]:
        """Insertion less deletion; 0 for an order that knows nothing."""
        return self.insertion - self.deletion

    @property
    def early(self) -> NDArray[np.float64]:
        """The mean of the deletion curve over the first quarter of the patches: the lower the better."""
        return area(self.scaled.morf[..., : (self.morf.shape[-1] - 1) // 4 + 1])


def area(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of curves (..., point) by the trapezoid rule, over an axis from 0 to 1; (...,)."""
    found: NDArray[np.float64] = np.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1)
    return found


def mean_curves(some: Iterable[Curves]) -> Curves:
    """The mean at each point."""
    found = list(some)
    return Curves(np.mean([one.morf for one in found], axis=0), np.mean([one.lerf for one in found], axis=0))


@final
class Sets:
    """Sets of patches that are to be taken away, each but once however often it is asked for."""

    def __init__(self) -> None:
        self._found: dict[bytes, int] = {}
        self.unique: list[Positions] = []

    def add(self, sets: Iterable[Positions]) -> list[int]:
        """The numbers of these sets in `unique`."""
        numbers = []
        for some in sets:
            key = np.sort(some).astype(np.int64).tobytes()
            if key not in self._found:
                self._found[key] = len(self.unique)
                self.unique.append(np.sort(some))
            numbers.append(self._found[key])
        return numbers


def drawn(numbers: Mapping[str, Sequence[int]], log_prob: NDArray[np.float64]) -> Curves:
    """The curves of an order whose sets of either direction have these numbers."""
    return Curves(log_prob[list(numbers["morf"])], log_prob[list(numbers["lerf"])])
