"""The tables of a scorecard from the cases' numbers: estimates, paired tests, ranks, fronts, examples."""

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
"""The chance level, one for each operator, or None where it is not the same in all cases."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numbers of all cases.

    metrics     (operator, case, method) by their names
    plausible   (case, method) by their names
    chance      (case, 3) of the plausibility metrics
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
        """The names of the methods."""
        return [method.name for method in self.methods]

    @property
    def ours(self) -> list[int]:
        """The numbers of the package's own methods."""
        return [number for number, method in enumerate(self.methods) if method.ours]

    @property
    def rivals(self) -> list[int]:
        """The numbers of the methods that are ranked and tested: all except released codes with known faults."""
        return [number for number, method in enumerate(self.methods) if not method.released]

    def under(self, metric: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Yield a metric's values under every operator, (case, method) each."""
        yield from zip(self.operators, self.metrics[metric], strict=True)

    def gaps(self, operator: int) -> NDArray[np.float64]:
        """The gaps under one operator, (case, method)."""
        values: NDArray[np.float64] = self.metrics[PRIMARY][operator]
        return values


def read(run: RunDir, methods: Sequence[Method], operators: Sequence[str], cases: int) -> Numbers:
    """Read the numbers of a run's cases; a method's layer is chosen by the gap under the first operator."""
    arrays = [run.load_arrays(f"case-{number:04d}") for number in range(cases)]
    which = used(methods, np.stack([Curves(case["morf"][0], case["lerf"][0]).gap for case in arrays]))

    def stacked(name: str) -> NDArray[np.float64]:
        axis = 1 if name in _BY_OPERATOR else 0
        return np.stack([case[name].take(some, axis) for case, some in zip(arrays, which.maps, strict=True)])

    curves = Curves(stacked("morf"), stacked("lerf"))
    by_operator = {
        "gap": curves.gap, "insertion": curves.insertion, "deletion": curves.deletion, "early": curves.early,
        "flip": stacked("flips"), "calibration": stacked("calibration"),
    }  # fmt: skip
    released = ("ties_hit", "crop_kept") if any(method.released for method in methods) else ()
    return Numbers(
        methods=tuple(methods),
        operators=tuple(operators),
        maps=list(stacked("maps")),
        curves=curves,
        metrics={name: values.transpose(1, 0, 2) for name, values in by_operator.items()},
        slopes=stacked("slopes").transpose(1, 0, 2, 3),
        plausible={name: stacked(name) for name in (*_PLAUSIBLE, *released)},
        chance=np.stack([case["chance"] for case in arrays]),
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
        scored = np.isfinite(plausible).all(1)
        for method, column in zip(numbers.names, plausible[scored].T, strict=True):
            rows += [_row(method, None, metric, mean(column, seed))] if scored.any() else []
    return rows + list(_slopes(numbers, seed))


def _slopes(numbers: Numbers, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the slopes of methods that predict a change: measured over predicted, in their unit; 1 if exact."""
    for operator, terms in zip(numbers.operators, numbers.slopes, strict=True):
        for method, of_method in zip(numbers.methods, terms.transpose(1, 0, 2), strict=True):
            if method.unit != "rank":
                slope = _slope_of(of_method)
                yield _row(method.name, operator, "slope", resampled(slope, len(of_method), seed))


def _slope_of(terms: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], float]:
    def slope(cases: NDArray[np.intp]) -> float:
        product, square = terms[cases].sum(0)
        return float(product / square) if square else np.nan

    return slope


def _row(method: str, operator: str | None, metric: str, estimate: Estimate) -> dict[str, Any]:
    return {"method": method, "operator": operator, "metric": metric, **asdict(estimate)}


def chances(numbers: Numbers) -> dict[str, Chance]:
    """The scores of an uninformative map: by construction, or else by random orders and their reverses."""
    random, scored = numbers.names.index("random"), np.isfinite(numbers.chance).all(1)
    by_chance = {name: _either_way(numbers, random, name) for name in ("insertion", "deletion", "early")}
    place = zip(_PLAUSIBLE, numbers.chance[scored].mean(0).tolist() if scored.any() else [None] * 3, strict=True)
    return {"gap": 0.0, "calibration": 0.0, "flip": 0.0, "slope": None, **by_chance, **dict(place)}


def _either_way(numbers: Numbers, method: int, name: str) -> dict[str, float]:
    """An area under a method's curves, by operator: the mean over its orders and their reverses."""
    morf, lerf = numbers.curves.morf[:, :, method], numbers.curves.lerf[:, :, method]
    areas = np.mean([getattr(curves, name) for curves in (Curves(morf, lerf), Curves(lerf, morf))], axis=(0, 1))
    return dict(zip(numbers.operators, areas.tolist(), strict=True))


def tests(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """Paired comparisons of the gap: ours against every other rival, and every rival against the random map.

    Wilcoxon's signed-rank test over the cases; `holm` is its p value for all comparisons under one operator together.
    `wins` is the share of cases in which `first` is better, ties counting half.
    """
    random = numbers.names.index("random")
    ours, rivals = numbers.ours, numbers.rivals
    pairs = {(first, second) for first in ours for second in rivals if second not in ours or first < second}
    pairs |= {(first, random) for first in rivals if first != random}
    rows = []
    for number in range(len(numbers.operators)):
        rows += _compared(numbers, number, sorted(pairs), np.arange(len(numbers.gaps(number))), seed)
    return rows


def _compared(
    numbers: Numbers, operator: int, pairs: Sequence[tuple[int, int]], cases: Positions, seed: int
) -> list[dict[str, Any]]:
    """Paired comparisons on some of the cases, with p values that hold for all of them together."""
    comparisons = [_pair(numbers, operator, *pair, cases=cases, seed=seed) for pair in pairs]
    head = {"operator": numbers.operators[operator], "metric": PRIMARY}
    return [
        head | row | {"holm": p} for row, p in zip(comparisons, holm([row["p"] for row in comparisons]), strict=True)
    ]


def _pair(numbers: Numbers, operator: int, first: int, second: int, *, cases: Positions, seed: int) -> dict[str, Any]:
    gaps = numbers.gaps(operator)[cases]
    by_case = gaps[:, first] - gaps[:, second]
    difference = mean(by_case, seed)
    p = float(wilcoxon(by_case).pvalue) if by_case.any() else 1.0
    wins = float((by_case > 0).mean() + (by_case == 0).mean() / 2)
    names = numbers.names
    return {
        "one": names[first], "other": names[second], "difference": difference.value, "low": difference.low,
        "high": difference.high, "n": difference.n, "p": p, "wins": wins,
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Best:
    """Our best method under an operator: held out there, with the largest mean in the first half of the cases.

    compared   the cases that it was not chosen on; all cases, where only one of ours is held out
    """

    method: int
    compared: Positions


def best(numbers: Numbers, operator: int) -> Best | None:
    """Our best method under an operator; None where none of ours is held out."""
    gaps = numbers.gaps(operator)
    held_out = [
        method for method in numbers.ours if numbers.operators[operator] not in numbers.methods[method].operators
    ]
    if len(held_out) < 2:
        return Best(held_out[0], np.arange(len(gaps))) if held_out else None
    first, second = halves(len(gaps))
    return Best(max(held_out, key=lambda method: gaps[first, method].mean()), second)


def bests(numbers: Numbers, seed: int) -> list[dict[str, Any]]:
    """Our best method under each operator, its gap in the cases that did not choose it, and how many chose it."""
    rows = []
    for number, operator in enumerate(numbers.operators):
        if mine := best(numbers, number):
            gaps = numbers.gaps(number)
            estimate = asdict(mean(gaps[mine.compared, mine.method], seed))
            chosen_on = len(gaps) - len(mine.compared)
            rows.append(
                {"operator": operator, "method": numbers.names[mine.method], "chosen_on": chosen_on, **estimate}
            )
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
    """The comparisons that our best method loses: the interval of the other's lead lies above 0.

    They are ordered by operator, the largest first. A loss counts even where Wilcoxon's test with Holm's correction
    (`holm`) is not significant. `wins` is the share of cases in which ours is better.
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
    """The layers of a method by layers, from 0, in the first half of the cases and in the second; else nothing."""
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
        {"one": first, "other": second, **_tau(rankings[first], rankings[second], seed)}
        for first, second in combinations(rankings, 2)
        if first in numbers.operators  # they come first
    ]


def _tau(values: NDArray[np.float64], other_values: NDArray[np.float64], seed: int) -> dict[str, Any]:
    scored = np.isfinite(values).all(1) & np.isfinite(other_values).all(1)
    first, second = values[scored], other_values[scored]

    def tau(cases: NDArray[np.intp]) -> float:
        return float(kendalltau(first[cases].mean(0), second[cases].mean(0)).statistic)

    estimate = resampled(tau, len(first), seed, count=500)
    return {"tau": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def front(numbers: Numbers, operator: int, seconds: dict[str, float]) -> list[str]:
    """The rivals that no other beats in both speed and gap, the fastest first."""
    means = {numbers.names[method]: numbers.gaps(operator)[:, method].mean() for method in numbers.rivals}
    names: list[str] = []
    for name in sorted(means, key=lambda name: (seconds[name], -means[name])):
        if not names or means[name] > means[names[-1]]:
            names.append(name)
    return names


def sanity(numbers: Numbers, run: RunDir, seed: int) -> list[dict[str, Any]]:
    """Every sanity test of every method, ours first: the mean over its cases, with its interval."""
    order = [*numbers.ours, *(method for method in range(len(numbers.methods)) if method not in numbers.ours)]
    rows = []
    for test in TESTS:
        file = file_of(test.name)
        changed = run.load_arrays(file)["maps"] if run.has(file) else np.empty((0,))
        for method in order if len(changed) else ():
            which = numbers.used.maps[: len(changed), method]
            pairs = [(numbers.maps[case][method], changed[case][number]) for case, number in enumerate(which)]
            likenesses = [likeness(test.name, *pair) for pair in pairs if np.isfinite(pair[1]).all()]
            rows.append({"method": numbers.names[method], "test": test.name, **asdict(mean(likenesses, seed))})
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
    """Examples under the primary operator, with reasons: the best and the worst case of our best method, and so on."""
    gaps, mine = numbers.gaps(0), best(numbers, 0)
    own = mine.method if mine else max(numbers.ours or numbers.rivals, key=lambda method: gaps[:, method].mean())
    others = [
        method for method in numbers.rivals if method not in numbers.ours and numbers.methods[method].family != "floor"
    ]
    ahead = gaps[:, own] - gaps[:, others].max(1) if others else np.zeros(len(gaps))
    name = numbers.names[own]
    wanted = (
        (-gaps[:, own], f"{name} at its best"),
        (gaps[:, own], f"{name} at its worst"),
        (np.where(ahead > 0, -ahead, np.nan), f"{name} furthest ahead of the others"),
        (np.abs(gaps[:, own] - np.median(gaps[:, own])), f"a usual case of {name}"),
    )
    reasons: dict[int, str] = {}
    for order, why in wanted:
        serving = [case for case in np.argsort(order, kind="stable") if np.isfinite(order[case])]
        some = [case for case in serving if int(case) not in reasons][:count]
        for number, case in enumerate(some, 1):
            reasons[int(case)] = why if number == 1 else f"{why}, another one"
    return list(reasons.items())
