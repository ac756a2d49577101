"""The scores of one case: every method's map, and its metrics under every operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.inspection.intervention.patch_sets import in_pieces, pieces
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.curves import Sets, curves_of, mean_curves, orders, removed_sets
from lapilli.studies.scorecard.method import Method, Unit
from lapilli.studies.scorecard.metrics import GROUPS, SIZES, calibration, energy, pointing, precision, slope_terms
from lapilli.studies.scorecard.operators import Operator, WordAfterRemoval

SHARE = 1 / 8
"""The share of the patches that a flip is tested with: 72 of 576."""

CONTROLS = 10
"""Random sets, in pieces of the same sizes, that a flip is compared with."""

_TRIES = 8  # to draw pieces that do not touch each other


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of all methods in one case.

    maps          (map, patch)  one of every method, and one of each layer for a method by layers
    morf, lerf    (operator, map, point)  log-probability of the key word as patches are removed, in nats
    flips         (operator, map)   whether the word changes without the strongest eighth, less how often it does
                  without random sets in pieces of the same sizes; -1 to 1
    calibration   (operator, map)   rank correlation within sizes; see metrics.py
    slopes        (operator, map, 2)  terms of the slope of measured on predicted, both in the map's own unit
    pointing, energy, precision        (map,)  nan where the region that the question is about is unknown
    ties_hit, crop_kept                (map,)  pointing as released codes count it
    chance        (3,)  pointing, energy and precision of a constant map: the mean score of random ones
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
        """The arrays by their names, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, eq=False)
class Place:
    """The region that a question is about: the covered share of each patch, (patch,).

    stretched   the covered shares when the map is stretched over the whole picture, its crop not undone
    """

    covered: NDArray[np.float64]
    stretched: NDArray[np.float64]


def score(case: Case, methods: Sequence[Method], operators: Mapping[str, Operator], place: Place | None) -> Scored:
    """Make every map of a case, and score it. Random draws are the same for all methods."""
    by_method = [method.maps(case) for method in methods]
    maps = np.concatenate(by_method)
    units = [method.unit for method, some in zip(methods, by_method, strict=True) for _ in some]
    plan = _Plan(case, maps, units)
    measured = [plan.measured(operator(case, plan.sets.unique)) for operator in operators.values()]
    curves, flips, ranks, slopes = (np.array(part) for part in zip(*measured, strict=True))
    points, energies, precisions, ties_hit, crop_kept = plausibility(maps, place)
    return Scored(
        maps=maps,
        morf=curves[:, :, 0],
        lerf=curves[:, :, 1],
        flips=flips,
        calibration=ranks,
        slopes=slopes,
        pointing=points,
        energy=energies,
        precision=precisions,
        ties_hit=ties_hit,
        crop_kept=crop_kept,
        chance=np.concatenate(plausibility(np.ones_like(maps[:1]), place)[:3]),
    )


def plausibility(maps: NDArray[np.float64], place: Place | None) -> list[NDArray[np.float64]]:
    """Pointing, energy, precision, and pointing as released codes count it, (map,) each."""
    if place is None or not place.covered.any():  # the crop may leave the whole region out
        return [np.full(len(maps), np.nan)] * 5
    covered, stretched = place.covered, place.stretched
    measures = [
        (
            pointing(values, covered),
            energy(values, covered),
            precision(values, covered),
            pointing(values, covered, ties_hit=True),
            pointing(values, stretched),
        )
        for values in maps
    ]
    return list(np.array(measures).T)


@final
class _Plan:
    """The sets of patches to be removed for all maps together, and the scores from the word after removal."""

    def __init__(self, case: Case, maps: NDArray[np.float64], units: Sequence[Unit]) -> None:
        rng, grid, count = case.random(), case.grid, len(case.patches)
        size = max(1, round(SHARE * count))
        self.sets = Sets()
        self._full = case.log_prob, case.logit
        self._maps, self._units = maps, units
        self._orders = [orders(values, rng) for values in maps]
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
        return {"morf": self.sets.add(removed_sets(order)), "lerf": self.sets.add(removed_sets(order[::-1]))}

    def measured(
        self, word_after: WordAfterRemoval
    ) -> tuple[list[list[NDArray[np.float64]]], list[float], list[float], list[tuple[float, float]]]:
        """The curves, flips, rank correlations and slope terms of every map under one operator."""
        means = [mean_curves(curves_of(curves, word_after.log_prob) for curves in some) for some in self._curves]
        groups = np.array(self._group_numbers)
        nats, logits = self._full[0] - word_after.log_prob[groups], self._full[1] - word_after.logit[groups]
        lost = [logits if unit == "logit" else nats for unit in self._units]
        sums = [np.array([[curves[group].sum() for group in some] for some in self._groups]) for curves in self._maps]
        return (
            [[curves.morf, curves.lerf] for curves in means],
            [self._flip(number, word_after.changed) for number in range(len(self._maps))],
            [calibration(some, nats) for some in sums],
            [slope_terms(*pair) for pair in zip(sums, lost, strict=True)],
        )

    def _flip(self, number: int, changed: NDArray[np.bool_]) -> float:
        """Whether the word flips without the map's strongest patches, less the mean over random pieces."""
        pairs = zip(self._tops[number], self._kinds[number], strict=True)
        return float(np.mean([changed[top] - changed[self._controls[kind]].mean() for top, kind in pairs]))


def apart(rng: np.random.Generator, sizes: Sequence[int], grid: tuple[int, int]) -> Positions:
    """Draw random connected pieces of these sizes that do not touch each other if there is room; ascending."""
    for _ in range(_TRIES):
        patches = np.empty(0, np.intp)
        for size in sizes:
            free = np.setdiff1d(np.arange(grid[0] * grid[1]), patches)
            away = np.setdiff1d(free, _beside(patches, grid))
            patches = np.append(patches, in_pieces(rng, away if len(away) >= size else free, [size], grid))
        if pieces(patches, grid) == sorted(sizes, reverse=True):
            break
    return np.sort(patches)


def _beside(patches: Positions, grid: tuple[int, int]) -> Positions:
    """The patches and their neighbours."""
    within = np.zeros((grid[0] + 2, grid[1] + 2), bool)
    within[1:-1, 1:-1].flat[patches] = True
    near = np.any([within, *(np.roll(within, step, axis) for step in (1, -1) for axis in (0, 1))], axis=0)
    return np.flatnonzero(near[1:-1, 1:-1])
