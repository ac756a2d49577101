"""One case: every method's map, and what each is worth under every operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.inspection.intervention.patch_sets import in_pieces, pieces
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.curves import Sets, drawn, gone, mean_curves, orders
from lapilli.studies.scorecard.method import Method, Unit
from lapilli.studies.scorecard.metrics import GROUPS, SIZES, calibration, energy, pointing, precision, slope_terms
from lapilli.studies.scorecard.operators import Left, Operator

SHARE = 1 / 8
"""The share of the patches that a flip is tested with: 72 of 576."""

CONTROLS = 10
"""Random sets, in pieces of the same sizes, that a flip is held against."""

_PLAUSIBLE = ("pointing", "energy", "precision", "ties_hit", "crop_kept")

_TRIES = 8  # to draw pieces that do not come to touch each other


@dataclass(frozen=True, eq=False)
class Scored:
    """What one case says of every method.

    maps          (map, patch)  of every method, of a method by layers one for each
    morf, lerf    (operator, map, point)  log-probability of the key word as patches go, in nats
    flips         (operator, map)   whether the word changes without the strongest eighth, less how often it does
                  without random sets in pieces of the same sizes; -1 to 1
    calibration   (operator, map)   rank correlation within sizes; see metrics.py
    slopes        (operator, map, 2)  terms of the slope of measured on predicted, both in the map's own unit
    pointing, energy, precision        (map,)  nan where it is not known what the question is about
    ties_hit, crop_kept                (map,)  pointing as released codes count it
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
    by_method = [method.maps(case) for method in methods]
    maps = np.concatenate(by_method)
    units = [method.unit for method, some in zip(methods, by_method, strict=True) for _ in some]
    plan = _Plan(case, maps, units)
    found = [plan.measured(operator(case, plan.sets.unique)) for operator in operators.values()]
    curves, flips, ranks, slopes = (np.array(part) for part in zip(*found, strict=True))
    blind = np.concatenate(plausibility(np.ones_like(maps[:1]), place)[:3])
    pointed = dict(zip(_PLAUSIBLE, plausibility(maps, place), strict=True))
    return Scored(maps, curves[:, :, 0], curves[:, :, 1], flips, ranks, slopes=slopes, chance=blind, **pointed)


def plausibility(maps: NDArray[np.float64], place: Place | None) -> list[NDArray[np.float64]]:
    """Pointing, energy, precision, and pointing as released codes count it, (map,) each."""
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

    def __init__(self, case: Case, maps: NDArray[np.float64], units: Sequence[Unit]) -> None:
        rng, grid, count = case.random(), case.grid, len(case.patches)
        size = max(1, round(SHARE * count))
        self.sets = Sets()
        self._full = case.log_prob, case.logit
        self._maps, self._units = maps, units
        self._orders = [orders(one, rng) for one in maps]
        self._curves = [[self._both_ways(order) for order in some] for some in self._orders]
        self._tops = [self.sets.add(order[:size] for order in some) for some in self._orders]
        self._groups = [
            [in_pieces(rng, np.arange(count), [max(1, round(share * count))], grid) for _ in range(GROUPS)]
            for share in SIZES
        ]
        self._group_numbers = [self.sets.add(some) for some in self._groups]
        self._kinds = [[tuple(pieces(order[:size], grid)) for order in some] for some in self._orders]
        kinds = dict.fromkeys(kind for some in self._kinds for kind in some)
        self._controls = {kind: self.sets.add(apart(rng, list(kind), grid) for _ in range(CONTROLS)) for kind in kinds}

    def _both_ways(self, order: Positions) -> dict[str, list[int]]:
        return {"morf": self.sets.add(gone(order)), "lerf": self.sets.add(gone(order[::-1]))}

    def measured(
        self, left: Left
    ) -> tuple[list[list[NDArray[np.float64]]], list[float], list[float], list[tuple[float, float]]]:
        """Under one operator: curves, flips, rank correlations and terms of slopes of every map."""
        means = [mean_curves(drawn(one, left.log_prob) for one in some) for some in self._curves]
        groups = np.array(self._group_numbers)
        nats, logits = self._full[0] - left.log_prob[groups], self._full[1] - left.logit[groups]
        lost = [logits if unit == "logit" else nats for unit in self._units]
        sums = [np.array([[one[group].sum() for group in some] for some in self._groups]) for one in self._maps]
        return (
            [[one.morf, one.lerf] for one in means],
            [self._flip(number, left.changed) for number in range(len(self._maps))],
            [calibration(some, nats) for some in sums],
            [slope_terms(*pair) for pair in zip(sums, lost, strict=True)],
        )

    def _flip(self, number: int, changed: NDArray[np.bool_]) -> float:
        """Of the map's strongest patches, less the mean of as many at random in pieces of the same sizes."""
        pairs = zip(self._tops[number], self._kinds[number], strict=True)
        return float(np.mean([changed[top] - changed[self._controls[kind]].mean() for top, kind in pairs]))


def apart(rng: np.random.Generator, sizes: Sequence[int], grid: tuple[int, int]) -> Positions:
    """Random connected pieces of these sizes, none of which touches another where there is room; ascending."""
    for _ in range(_TRIES):
        found = np.empty(0, np.intp)
        for size in sizes:
            free = np.setdiff1d(np.arange(grid[0] * grid[1]), found)
            away = np.setdiff1d(free, _beside(found, grid))
            found = np.append(found, in_pieces(rng, away if len(away) >= size else free, [size], grid))
        if pieces(found, grid) == sorted(sizes, reverse=True):
            break
    return np.sort(found)


def _beside(patches: Positions, grid: tuple[int, int]) -> Positions:
    """What lies beside any of these patches, or is one of them."""
    within = np.zeros((grid[0] + 2, grid[1] + 2), bool)
    within[1:-1, 1:-1].flat[patches] = True
    near = np.any([within, *(np.roll(within, step, axis) for step in (1, -1) for axis in (0, 1))], axis=0)
    return np.flatnonzero(near[1:-1, 1:-1])
