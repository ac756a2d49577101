"""One case: every method's map, and what each is worth under every operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.inspection.regions import in_pieces, pieces, scattered
from lapilli.inspection.scorecard.case import Case
from lapilli.inspection.scorecard.curves import Sets, drawn, gone, mean_curves, orders
from lapilli.inspection.scorecard.methods.method import Method
from lapilli.inspection.scorecard.metrics import GROUPS, SIZES, calibration, energy, pointing, precision, slope_terms
from lapilli.inspection.scorecard.operators import Left, Operator

SHARE = 1 / 8
"""The share of the patches that a flip is tested with: 72 of 576."""

CONTROLS = 10
"""Random sets, in as many pieces, that a flip is held against."""

_MOST_PIECES = 4  # of the random connected sets: of more pieces they are as good as scattered


@dataclass(frozen=True, eq=False)
class Scored:
    """What one case says of every method.

    maps          (method, patch)
    morf, lerf    (operator, method, point)  log-probability of the key word as patches go, in nats
    flips         (operator, method)   whether the word changes without the strongest eighth, less how often it does
                  without random sets in as many pieces; -1 to 1
    calibration   (operator, method)   rank correlation within sizes; see metrics.py
    slopes        (operator, method, 2)  terms of the slope of measured on predicted
    pointing, energy, precision        (method,)  nan where it is not known what the question is about
    ties_hit, crop_kept                (method,)  pointing as released codes count it
    chance        (3,)  pointing, energy and precision of a constant map: what random ones score on average
    """

    maps: NDArray[np.float64]
    morf: NDArray[np.float64]
    lerf: NDArray[np.float64]
    flips: NDArray[np.float64]
    calibration: NDArray[np.float64]
    slopes: NDArray[np.float64]
    pointing: NDArray[np.float64]
    energy: NDArray[np.float64]
    precision: NDArray[np.float64]
    ties_hit: NDArray[np.float64]
    crop_kept: NDArray[np.float64]
    chance: NDArray[np.float64]

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """By their names, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, eq=False)
class Place:
    """Where what is asked about lies: the covered share of each patch, (patch,).

    stretched   the same when the map is stretched over the whole picture, its crop not undone
    """

    covered: NDArray[np.float64]
    stretched: NDArray[np.float64]


def score(case: Case, methods: Sequence[Method], operators: Mapping[str, Operator], place: Place | None) -> Scored:
    """Make every map of a case, and measure it. What is drawn at random is the same for all methods."""
    maps = np.stack([method(case) for method in methods])
    plan = _Plan(case, maps)
    found = [plan.measured(case.log_prob, operator(case, plan.sets.unique)) for operator in operators.values()]
    curves, flips, ranks, slopes = (np.array(part) for part in zip(*found, strict=True))
    blind = np.concatenate(plausibility(np.ones_like(maps[:1]), place)[:3])
    pointed = [*plausibility(maps, place), blind]
    return Scored(maps, curves[:, :, 0], curves[:, :, 1], flips, ranks, slopes, *pointed)


def plausibility(maps: NDArray[np.float64], place: Place | None) -> list[NDArray[np.float64]]:
    """Pointing, energy, precision, and pointing as released codes count it, (method,) each."""
    if place is None or not place.covered.any():  # of what the crop left out, nothing can be said
        return [np.full(len(maps), np.nan)] * 5
    covered, stretched = place.covered, place.stretched
    found = [
        [pointing(one, covered), energy(one, covered), precision(one, covered), pointing(one, covered, ties_hit=True),
         pointing(one, stretched)]
        for one in maps
    ]  # fmt: skip
    return list(np.array(found).T)


@final
class _Plan:
    """Which sets of patches are to be taken away for all maps together, and what follows from what is left."""

    def __init__(self, case: Case, maps: NDArray[np.float64]) -> None:
        rng, grid, count = case.random(), case.grid, len(case.patches)
        size = max(1, round(SHARE * count))
        self.sets = Sets()
        self._maps = maps
        self._orders = [orders(one, rng) for one in maps]
        self._curves = [[self._both_ways(order) for order in some] for some in self._orders]
        self._tops = [self.sets.add(order[:size] for order in some) for some in self._orders]
        self._groups = [
            [in_pieces(rng, np.arange(count), [max(1, round(share * count))], grid) for _ in range(GROUPS)]
            for share in SIZES
        ]
        self._group_numbers = [self.sets.add(some) for some in self._groups]
        self._controls = [self.sets.add(some) for some in _controls(rng, count, size, grid)]
        self._kinds = [[_kind(np.sort(order[:size]), grid) for order in some] for some in self._orders]

    def _both_ways(self, order: Positions) -> dict[str, list[int]]:
        return {"morf": self.sets.add(gone(order)), "lerf": self.sets.add(gone(order[::-1]))}

    def measured(
        self, full: float, left: Left
    ) -> tuple[list[list[NDArray[np.float64]]], list[float], list[float], list[tuple[float, float]]]:
        """Under one operator: curves, flips, rank correlations and terms of slopes of every map."""
        means = [mean_curves(drawn(one, left.log_prob) for one in some) for some in self._curves]
        lost = full - left.log_prob[np.array(self._group_numbers)]
        sums = [np.array([[one[group].sum() for group in some] for some in self._groups]) for one in self._maps]
        return (
            [[one.morf, one.lerf] for one in means],
            [self._flip(number, left.changed) for number in range(len(self._maps))],
            [calibration(some, lost) for some in sums],
            [slope_terms(some, lost) for some in sums],
        )

    def _flip(self, number: int, changed: NDArray[np.bool_]) -> float:
        """Of the map's strongest patches, less the mean of as many at random in as many pieces."""
        pairs = zip(self._tops[number], self._kinds[number], strict=True)
        return float(np.mean([changed[top] - changed[self._controls[kind]].mean() for top, kind in pairs]))


def _controls(rng: np.random.Generator, count: int, size: int, grid: tuple[int, int]) -> list[list[Positions]]:
    """Random sets of as many patches: in one piece, in two, ...; the last ones scattered."""
    free, found = np.arange(count), []
    for parts in range(1, min(_MOST_PIECES, size) + 1):
        sizes = [size // parts + (part < size % parts) for part in range(parts)]
        found.append([in_pieces(rng, free, sizes, grid) for _ in range(CONTROLS)])
    return [*found, [scattered(rng, free, size) for _ in range(CONTROLS)]]


def _kind(top: Positions, grid: tuple[int, int]) -> int:
    """Which of the random sets come in as many pieces as these patches."""
    return min(len(pieces(top, grid)) - 1, _MOST_PIECES)
