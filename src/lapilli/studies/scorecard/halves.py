"""What is chosen by the cases' own numbers is chosen on one half of them and measured on the other.

Else the best of several would be ahead by its luck in the very cases that it is tested on. The halves are every second
case: cases come in a random order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.studies.scorecard.method import Method


def halves(cases: int) -> tuple[Positions, Positions]:
    """The numbers of the cases of either half, the first at least as many."""
    return np.arange(0, cases, 2), np.arange(1, cases, 2)


def crossed(gaps: NDArray[np.float64]) -> tuple[int, int]:
    """Of (case, column), the best column: for the first half by the second, for the second by the first."""
    first, second = (int(gaps[half].mean(0).argmax()) for half in halves(len(gaps)))
    return second, first


@dataclass(frozen=True, eq=False)
class Used:
    """Which of a case's maps stands for each method: there are more than methods, where one has a map of every layer.

    starts   (method,)        the number of each method's first map
    chosen   (case, method)   which of the method's maps it is in each case
    """

    starts: Positions
    chosen: Positions

    @property
    def maps(self) -> Positions:
        """The number among all of a case's maps, (case, method)."""
        return self.starts + self.chosen


def used(methods: Sequence[Method], gaps: NDArray[np.float64]) -> Used:
    """What the gaps of all maps, (case, map), say of methods by layers: each half's layer is the best of the other."""
    several = sum(method.by_layer for method in methods)
    layers = (gaps.shape[1] - (len(methods) - several)) // max(several, 1)
    counts = [layers if method.by_layer else 1 for method in methods]
    starts = np.cumsum([0, *counts[:-1]])
    chosen = np.zeros((len(gaps), len(methods)), np.intp)
    for number, (start, count) in enumerate(zip(starts, counts, strict=True)):
        for half, best in zip(halves(len(gaps)), crossed(gaps[:, start : start + count]), strict=True):
            chosen[half, number] = best
    return Used(starts, chosen)
