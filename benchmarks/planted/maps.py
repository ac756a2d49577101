"""Every method of the scorecard on answers whose right map is known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pictures import ANSWERS, Planted, asking, cells, draw
from proof import Ask, share

from lapilli.core.run import RunDir
from lapilli.core.statistics.bootstrap import mean
from lapilli.inspection.recording import answered
from lapilli.model.llava import Llava
from lapilli.studies.scorecard.case import Case, case_of
from lapilli.studies.scorecard.curves import Sets, curves_of, mean_curves, orders, removed_sets
from lapilli.studies.scorecard.halves import used
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.methods.registry import chosen
from lapilli.studies.scorecard.operators import OPERATORS, WordAfterRemoval
from lapilli.studies.scorecard.score import Place, plausibility

OPERATOR = "blur"
"""The way of removing patches under which the gap is measured."""

LEAST = 0.1
"""A patch is one of a plant's if the plant covers at least so much of it."""

_PLAUSIBLE = ("pointing", "energy", "precision")


@dataclass(frozen=True)
class Question:
    """A test row that a model answers by its plant, and the row whose picture stands for another one."""

    number: int
    row: Planted
    other: Planted


def questions(plant: str, rows: Sequence[Planted], ask: Ask, count: int) -> list[Question]:
    """The first `count` rows that are answered rightly."""
    given = ask(rows)
    right = [number for number, row in enumerate(rows) if given[number] == ANSWERS[plant](row)][:count]
    return [Question(number, rows[number], rows[(number + 1) % len(rows)]) for number in right]


def case(llava: Llava, plant: str, question: Question) -> Case:
    """The case of a question and its right answer."""
    sample = asking(question.row, str(question.number))
    encoded = answered(llava, sample, ANSWERS[plant](question.row))
    picture, other = draw(question.row)[0], draw(question.other)[0]
    return case_of(llava, sample, encoded, picture=picture, other=other, seed=question.number)


def known(plant: str, row: Planted) -> NDArray[np.intp]:
    """The patches that a plant touches in a row's picture, ascending."""
    return np.flatnonzero(cells(draw(row)[1][plant]) >= LEAST)


def measure(
    run: RunDir, llava: Llava, plant: str, asked: Sequence[Question], gaps: int, advance: Callable[[], None]
) -> dict[str, Any]:
    """Measure every method on every question, each but once, and return what they come to; gaps of the first `gaps`."""
    methods = chosen()
    for place, question in enumerate(asked):
        if not run.has(_name(question)):
            found = _scored(case(llava, plant, question), known(plant, question.row), methods, place < gaps)
            run.save_arrays(_name(question), found)
            run.save(_name(question), {"question": question.row.question})
        advance()
    found = [run.load_arrays(_name(question)) for question in asked]
    return {"methods": list(_rows(methods, found, gaps)), "chance": _chance(found), "removed": _removed(found)}


def _name(question: Question) -> str:
    return f"case-{question.number:04d}"


def _scored(one: Case, patches: NDArray[np.intp], methods: Sequence[Method], with_gap: bool) -> dict[str, NDArray[Any]]:
    """Every map's plausibility, the plant's patches being right and all others wrong; its gap; and `_without`.

    Of a method by layers there is a map for each.
    """
    right = np.zeros(len(one.patches))
    right[patches] = 1
    place = Place(right, right)
    maps = np.concatenate([method.maps(one) for method in methods])
    pointed = zip(_PLAUSIBLE, plausibility(maps, place), strict=False)
    chance = np.concatenate(plausibility(np.ones_like(maps[:1]), place)[:3])
    gap = {"gap": _gaps(one, maps)} if with_gap else {}
    visual = np.array(one.visual)
    return {"maps": maps, "visual": visual, "chance": chance, **dict(pointed), **gap, **dict(_without(one, patches))}


def _gaps(one: Case, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gap of every map, (map,), as `score` has it."""
    rng, sets = one.random(), Sets()
    ways = [
        [
            {"morf": sets.add(removed_sets(order)), "lerf": sets.add(removed_sets(order[::-1]))}
            for order in orders(some, rng)
        ]
        for some in maps
    ]
    left = OPERATORS[OPERATOR](one, sets.unique)
    return np.array([mean_curves(curves_of(way, left.log_prob) for way in some).gap for some in ways])


def _without(one: Case, patches: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Whether the answer changes without the plant's patches, and without all others, by each way of removing."""
    rest = np.setdiff1d(np.arange(len(one.patches)), patches)
    for name, operator in OPERATORS.items():
        left: WordAfterRemoval = operator(one, [patches, rest])
        yield f"without-{name}", left.changed


def _rows(methods: Sequence[Method], found: Sequence[dict[str, NDArray[Any]]], gaps: int) -> Iterator[dict[str, Any]]:
    """Of every method, ours first, its mean figures with their intervals over the questions.

    The layer of a method by layers is, for each half of the questions, the one with the largest gap on the other half.
    `inside` is the share of the positive map inside the plant: `energy` without its units of chance.
    """
    every = {name: np.stack([one[name] for one in found]) for name in _PLAUSIBLE}
    every["inside"] = every["energy"] * np.stack([one["chance"][[0]] for one in found])
    every["gap"] = np.stack([one["gap"] for one in found[:gaps]])
    chosen_maps = used(methods, every["gap"]).maps[np.arange(len(found)) % 2]  # the halves are every second case
    values = {name: np.take_along_axis(some, chosen_maps[: len(some)], 1) for name, some in every.items()}
    for number, method in sorted(enumerate(methods), key=lambda pair: not pair[1].ours):
        marks = {"method": method.name, "ours": method.ours, "held_out": OPERATOR not in method.operators}
        yield marks | {name: asdict(mean(column[:, number])) for name, column in values.items()}


def _chance(found: Sequence[dict[str, NDArray[Any]]]) -> dict[str, float]:
    """What a constant map scores; its pointing, and its share inside, is the plant's share of the patches."""
    return dict(zip(_PLAUSIBLE, np.mean([one["chance"] for one in found], axis=0).tolist(), strict=True))


def _removed(found: Sequence[dict[str, NDArray[Any]]]) -> dict[str, Any]:
    """By every way of removing patches: how often the answer changes without the plant's, and stays without the rest.

    And how often the word needs its picture, as the scorecard's filter has it: more than 1 nat lost under blur.
    """
    shares: dict[str, Any] = {
        name: {
            "changed_without_plant": share([bool(one[f"without-{name}"][0]) for one in found]),
            "stayed_without_rest": share([not one[f"without-{name}"][1] for one in found]),
        }
        for name in OPERATORS
    }
    return shares | {"visual": share([float(one["visual"]) > 1 for one in found])}
