"""Split halves: a choice by the cases' own numbers is made on one half of them and measured on the other.

Otherwise the best of several would owe its lead to luck in the cases that it is tested on. The halves are alternate
cases: cases come in a random order.
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
    """The best column of (case, column) for either half, chosen by the other half."""
    first, second = (int(gaps[half].mean(0).argmax()) for half in halves(len(gaps)))
    return second, first


@dataclass(frozen=True, eq=False)
class Used:
    """The map that stands for each method in each case: some methods have a map of every layer.

    starts   (method,)        the number of each method's first map
    chosen   (case, method)   the number of the map among the method's maps
    """

    starts: Positions
    chosen: Positions

    @property
    def maps(self) -> Positions:
        """The number of the map among all of a case's maps, (case, method)."""
        return self.starts + self.chosen


def used(methods: Sequence[Method], gaps: NDArray[np.float64]) -> Used:
    """Choose the layers of methods by layers from the gaps of all maps, (case, map), by the other half's best."""
    several = sum(method.by_layer for method in methods)
    layers = (gaps.shape[1] - (len(methods) - several)) // max(several, 1)
    counts = [layers if method.by_layer else 1 for method in methods]
    starts = np.cumsum([0, *counts[:-1]])
    chosen = np.zeros((len(gaps), len(methods)), np.intp)
    for number, (start, count) in enumerate(zip(starts, counts, strict=True)):
        for half, best in zip(halves(len(gaps)), crossed(gaps[:, start : start + count]), strict=True):
            chosen[half, number] = best
    return Used(starts, chosen)
