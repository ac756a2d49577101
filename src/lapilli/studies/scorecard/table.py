"""From the cases' numbers to what a reader asks for: estimates, paired tests, ranks, fronts, examples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, wilcoxon

from lapilli.core.layout import Positions
from lapilli.core.run import RunDir
from lapilli.core.statistics.bootstrap import mean, resampled
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.multiple import holm
from lapilli.studies.scorecard.curves import Curves
from lapilli.studies.scorecard.halves import Used, halves, used
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.sanity import TESTS, file_of, likeness

PRIMARY = "gap"

_PLAUSIBLE = ("pointing", "energy", "precision")

_BY_OPERATOR = ("morf", "lerf", "flips", "calibration", "slopes")

Chance: TypeAlias = float | dict[str, float] | None
"""A level, one for each operator, or none that is the same in all cases."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """All cases' numbers.

    `metrics` are (operator, case, method), plausibility's (case, method), by their names, and its `chance` (case, 3).
    """

    methods: tuple[Method, ...]
    operators: tuple[str, ...]
    maps: list[NDArray[np.float64]]
    curves: Curves
    metrics: dict[str, NDArray[np.float64]]
    slopes: NDArray[np.float64]
    plausible: dict[str, NDArray[np.float64]]
    chance: NDArray[np.float64]
    used: Used

    @property
    def names(self) -> list[str]:
        """Of the methods."""
        return [method.name for method in self.methods]

    @property
    def ours(self) -> list[int]:
        """The numbers of the package's own methods."""
        return [number for number, method in enumerate(self.methods) if method.ours]

    @property
    def rivals(self) -> list[int]:
        """The numbers of the methods that are ranked and tested: all but those that repeat a released code's faults."""
        return [number for number, method in enumerate(self.methods) if not method.released]

    def under(self, metric: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """A metric's values under every operator, (case, method) each."""
        yield from zip(self.operators, self.metrics[metric], strict=True)

    def gaps(self, operator: int) -> NDArray[np.float64]:
        """Of one operator, (case, method)."""
        found: NDArray[np.float64] = self.metrics[PRIMARY][operator]
        return found


def read(run: RunDir, methods: Sequence[Method], operators: Sequence[str], cases: int) -> Numbers:
    """What a run's cases say (as many as were kept); a method's layer is chosen by the gap under the first operator."""
    found = [run.load_arrays(f"case-{number:04d}") for number in range(cases)]
    which = used(methods, np.stack([Curves(one["morf"][0], one["lerf"][0]).gap for one in found]))

    def stacked(name: str) -> NDArray[np.float64]:
        axis = 1 if name in _BY_OPERATOR else 0
        return np.stack([one[name].take(some, axis) for one, some in zip(found, which.maps, strict=True)])

    curves = Curves(stacked("morf"), stacked("lerf"))
    by_operator = {
        "gap": curves.gap, "insertion": curves.insertion, "deletion": curves.deletion, "early": curves.early,
        "flip": stacked("flips"), "calibration": stacked("calibration"),
    }  # fmt: skip
    released = ("ties_hit", "crop_kept") if any(method.released for method in methods) else ()
    return Numbers(
        tuple(methods),
        tuple(operators),
        list(stacked("maps")),
        curves,
        metrics={name: values.transpose(1, 0, 2) for name, values in by_operator.items()},
        slopes=stacked("slopes").transpose(1, 0, 2, 3),
        plausible={name: stacked(name) for name in (*_PLAUSIBLE, *released)},
        chance=np.stack([one["chance"] for one in found]),
        used=which,
    )


def scores(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """The mean of every metric for every method, by operator, with intervals over the cases."""
    rows = []
    for metric in numbers.metrics:
        for operator, of_operator in numbers.under(metric):
            for method, column in zip(numbers.names, of_operator.T, strict=True):
                rows.append(_row(method, operator, metric, mean(column, seed)))
    for metric, plausible in numbers.plausible.items():
        known = np.isfinite(plausible).all(1)
        for method, column in zip(numbers.names, plausible[known].T, strict=True):
            rows += [_row(method, None, metric, mean(column, seed))] if known.any() else []
    return rows + list(_slopes(numbers, seed))


def _slopes(numbers: Numbers, seed: int) -> Iterator[dict[str, Any]]:
    """Of methods that foretell a change, in logits or nats: measured in that unit over predicted, 1 if true."""
    for operator, terms in zip(numbers.operators, numbers.slopes, strict=True):
        for method, found in zip(numbers.methods, terms.transpose(1, 0, 2), strict=True):
            if method.unit != "rank":
                slope = _slope_of(found)
                yield _row(method.name, operator, "slope", resampled(slope, len(found), seed))


def _slope_of(terms: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], float]:
    def slope(drawn: NDArray[np.intp]) -> float:
        product, square = terms[drawn].sum(0)
        return float(product / square) if square else np.nan

    return slope


def _row(method: str, operator: str | None, metric: str, found: Estimate) -> dict[str, Any]:
    return {"method": method, "operator": operator, "metric": metric, **asdict(found)}


def chances(numbers: Numbers) -> dict[str, Chance]:
    """What a map that says nothing scores: by construction, or for want of that what random orders and reverses do."""
    random, known = numbers.names.index("random"), np.isfinite(numbers.chance).all(1)
    by_chance = {name: _either_way(numbers, random, name) for name in ("insertion", "deletion", "early")}
    place = zip(_PLAUSIBLE, numbers.chance[known].mean(0).tolist() if known.any() else [None] * 3, strict=True)
    return {"gap": 0.0, "calibration": 0.0, "flip": 0.0, "slope": None, **by_chance, **dict(place)}


def _either_way(numbers: Numbers, method: int, name: str) -> dict[str, float]:
    """An area under a method's curves, by operator: the mean over its orders and their reverses."""
    morf, lerf = numbers.curves.morf[:, :, method], numbers.curves.lerf[:, :, method]
    areas = np.mean([getattr(one, name) for one in (Curves(morf, lerf), Curves(lerf, morf))], axis=(0, 1))
    return dict(zip(numbers.operators, areas.tolist(), strict=True))


def tests(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """Paired comparisons of the gap: ours against every other rival, and every rival against the random map.

    Wilcoxon's signed-rank test over the cases; `holm` is its p value for all comparisons under one operator together.
    `wins` is the share of cases in which `one` is better, ties counting half.
    """
    random = numbers.names.index("random")
    ours, rivals = numbers.ours, numbers.rivals
    pairs = {(one, other) for one in ours for other in rivals if other not in ours or one < other}
    pairs |= {(one, random) for one in rivals if one != random}
    rows = []
    for number in range(len(numbers.operators)):
        rows += _compared(numbers, number, sorted(pairs), np.arange(len(numbers.gaps(number))), seed)
    return rows


def _compared(
    numbers: Numbers, operator: int, pairs: Sequence[tuple[int, int]], cases: Positions, seed: int
) -> list[dict[str, Any]]:
    """Paired comparisons on some of the cases, with p values that hold for all of them together."""
    found = [_pair(numbers, operator, pair, cases, seed) for pair in pairs]
    head = {"operator": numbers.operators[operator], "metric": PRIMARY}
    return [head | row | {"holm": p} for row, p in zip(found, holm([row["p"] for row in found]), strict=True)]


def _pair(numbers: Numbers, operator: int, pair: tuple[int, int], cases: Positions, seed: int) -> dict[str, Any]:
    one, other = pair
    gaps = numbers.gaps(operator)[cases]
    differences = gaps[:, one] - gaps[:, other]
    found = mean(differences, seed)
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    wins = float((differences > 0).mean() + (differences == 0).mean() / 2)
    names = numbers.names
    return {
        "one": names[one], "other": names[other], "difference": found.value, "low": found.low, "high": found.high,
        "n": found.n, "p": p, "wins": wins,
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Best:
    """Our best under an operator: the one of ours that is held out there whose mean is largest in the first half.

    compared   the cases that it was not chosen on; all, where only one of ours is held out
    """

    method: int
    compared: Positions


def best(numbers: Numbers, operator: int) -> Best | None:
    """Our best under an operator; None where none of ours is held out."""
    gaps = numbers.gaps(operator)
    held_out = [one for one in numbers.ours if numbers.operators[operator] not in numbers.methods[one].operators]
    if len(held_out) < 2:
        return Best(held_out[0], np.arange(len(gaps))) if held_out else None
    first, second = halves(len(gaps))
    return Best(max(held_out, key=lambda one: gaps[first, one].mean()), second)


def bests(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """Our best under each operator, its gap in the cases that it was not chosen on, and how many it was chosen on."""
    rows = []
    for number, operator in enumerate(numbers.operators):
        if mine := best(numbers, number):
            gaps = numbers.gaps(number)
            found = asdict(mean(gaps[mine.compared, mine.method], seed))
            chosen_on = len(gaps) - len(mine.compared)
            rows.append({"operator": operator, "method": numbers.names[mine.method], "chosen_on": chosen_on, **found})
    return rows


def best_tests(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """Paired comparisons, as `tests` has them, of our best with every rival, in the cases that it was not chosen on."""
    rows = []
    for number in range(len(numbers.operators)):
        if mine := best(numbers, number):
            pairs = [(mine.method, other) for other in numbers.rivals if other not in numbers.ours]
            rows += _compared(numbers, number, pairs, mine.compared, seed)
    return rows


def losses(compared: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the comparisons of our best, those in which the other's mean is above ours, with the interval above 0.

    By operator, the largest first. So a loss is one even where Wilcoxon's test, with Holm's correction (`holm`), does
    not tell the two apart. `wins` is the share of cases in which ours is better.
    """
    order = list(dict.fromkeys(row["operator"] for row in compared))
    rows = [
        {"ours": row["one"], **{key: row[key] for key in ("operator", "other", "n", "holm", "wins")}}
        | {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
        for row in compared
        if row["high"] < 0
    ]
    return sorted(rows, key=lambda row: (order.index(row["operator"]), -row["difference"]))


def layers(numbers: Numbers, method: Method) -> dict[str, list[int]]:
    """Of a method by layers, which one counts in the first half of the cases and in the second, from 0."""
    column = numbers.used.chosen[:, numbers.methods.index(method)]
    return {"layers": [int(column[half[0]]) for half in halves(len(column))]} if method.by_layer else {}


def agreement(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """Kendall's tau between rankings of the rivals: by the gap under two operators, and by gap and plausibility.

    The ranking by the gap under an operator has the operator's name. Intervals are of drawing the cases again; the
    methods are these and no others.
    """
    rankings = {name: values[:, numbers.rivals] for name, values in numbers.under(PRIMARY)}
    plausible = {name: numbers.plausible[name][:, numbers.rivals] for name in _PLAUSIBLE}
    rankings |= {name: values for name, values in plausible.items() if np.isfinite(values).all(1).any()}
    return [
        {"one": one, "other": other, **_tau(rankings[one], rankings[other], seed)}
        for one, other in combinations(rankings, 2)
        if one in numbers.operators  # they come first
    ]


def _tau(one: NDArray[np.float64], other: NDArray[np.float64], seed: int) -> dict[str, Any]:
    known = np.isfinite(one).all(1) & np.isfinite(other).all(1)
    first, second = one[known], other[known]

    def tau(drawn: NDArray[np.intp]) -> float:
        return float(kendalltau(first[drawn].mean(0), second[drawn].mean(0)).statistic)

    found = resampled(tau, len(first), seed, count=500)
    return {"tau": found.value, "low": found.low, "high": found.high, "n": found.n}


def front(numbers: Numbers, operator: int, seconds: dict[str, float]) -> list[str]:
    """The rivals of which none is both faster and better, the fastest first."""
    means = {numbers.names[one]: numbers.gaps(operator)[:, one].mean() for one in numbers.rivals}
    found: list[str] = []
    for name in sorted(means, key=lambda name: (seconds[name], -means[name])):
        if not found or means[name] > means[found[-1]]:
            found.append(name)
    return found


def sanity(numbers: Numbers, run: RunDir, seed: int) -> list[dict[str, Any]]:
    """Every sanity test of every method, ours first: the mean over its cases, with its interval."""
    order = [*numbers.ours, *(number for number in range(len(numbers.methods)) if number not in numbers.ours)]
    rows = []
    for test in TESTS:
        file = file_of(test.name)
        changed = run.load_arrays(file)["maps"] if run.has(file) else np.empty((0,))
        for number in order if len(changed) else ():
            which = numbers.used.maps[: len(changed), number]
            pairs = [(numbers.maps[case][number], changed[case][one]) for case, one in enumerate(which)]
            found = [likeness(test.name, *pair) for pair in pairs if np.isfinite(pair[1]).all()]
            rows.append({"method": numbers.names[number], "test": test.name, **asdict(mean(found, seed))})
    return rows


def curves(numbers: Numbers) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The mean scaled curves, by operator and method."""
    scaled = numbers.curves.scaled
    morf, lerf = scaled.morf.mean(0), scaled.lerf.mean(0)
    return {
        operator: {
            name: {"morf": morf[number, method].round(4).tolist(), "lerf": lerf[number, method].round(4).tolist()}
            for method, name in enumerate(numbers.names)
        }
        for number, operator in enumerate(numbers.operators)
    }


def examples(numbers: Numbers, count: int = 2) -> list[tuple[int, str]]:
    """Cases worth a look, under the primary operator, and why: the best and the worst of our best method, and so on."""
    gaps, mine = numbers.gaps(0), best(numbers, 0)
    own = mine.method if mine else max(numbers.ours or numbers.rivals, key=lambda one: gaps[:, one].mean())
    others = [one for one in numbers.rivals if one not in numbers.ours and numbers.methods[one].family != "floor"]
    ahead = gaps[:, own] - gaps[:, others].max(1) if others else np.zeros(len(gaps))
    name = numbers.names[own]
    wanted = (
        (-gaps[:, own], f"{name} at its best"),
        (gaps[:, own], f"{name} at its worst"),
        (np.where(ahead > 0, -ahead, np.nan), f"{name} furthest ahead of the others"),
        (np.abs(gaps[:, own] - np.median(gaps[:, own])), f"a usual case of {name}"),
    )
    found: dict[int, str] = {}
    for order, why in wanted:
        serving = [case for case in np.argsort(order, kind="stable") if np.isfinite(order[case])]
        some = [case for case in serving if int(case) not in found][:count]
        for number, case in enumerate(some, 1):
            found[int(case)] = why if number == 1 else f"{why}, another one"
    return list(found.items())
