"""A scorecard as the page reads it: a missing key is empty, and nothing else is filled in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FAMILIES = {
    "floor": "Floors: they do not ask what this picture did for the answer",
    "zero-pass": "Read from the forward pass",
    "one-backward": "One backward pass",
    "many-pass": "Many passes",
}
"""The families in the order of their cost; any other family comes after them under its own name."""

GAP = "gap"


@dataclass(frozen=True)
class Figure:
    """A finite number with its 95 % interval and its number of samples.

    Without `has_interval`, as of too few samples, both ends are the number.
    """

    value: float
    low: float
    high: float
    n: int | None = None
    has_interval: bool = True


@dataclass(frozen=True)
class Method:
    """A method that makes a map.

    operators  the removals that it uses itself, under which it is not held out
    released   whether it repeats a known fault of released code: it is neither ranked nor tested
    """

    name: str
    family: str
    says: str
    paper: str
    ours: bool
    operators: tuple[str, ...]
    released: bool
    seconds: Figure | None
    forwards: float | None
    backwards: float | None
    memory: float | None


@dataclass(frozen=True)
class Metric:
    """The description of a score.

    better     the better end: up, down, or one where 1 is best
    chances    the score of a map without knowledge, by operator; by "" where it is the same under all
    """

    name: str
    title: str
    says: str
    better: str
    chances: Mapping[str, float]
    block: str

    def chance(self, operator: str | None = None) -> float | None:
        """The score of a map without knowledge under an operator; None where that is not one number."""
        return self.chances.get(operator or "", self.chances.get(""))


@dataclass(frozen=True)
class Best:
    """The best of our methods, with its gap on other questions than the `chosen_on` that it was chosen on."""

    method: Method
    gap: Figure
    chosen_on: int


@dataclass(frozen=True)
class Card:
    """One model's scorecard, `raw` as read from JSON. `index` is its place among several on one page."""

    index: int
    raw: Mapping[str, Any]
    methods: tuple[Method, ...]
    metrics: tuple[Metric, ...]
    operators: tuple[tuple[str, str], ...]
    primary: str
    scores: Mapping[tuple[str, str | None, str], Figure]

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.raw.get("model") or f"model {self.index + 1}")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the measurement."""
        return self.raw.get("settings") or {}

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of cells."""
        grid = self.settings.get("grid")
        return (int(grid[0]), int(grid[1])) if grid else None

    def rows(self, key: str) -> Sequence[Mapping[str, Any]]:
        """The list under a key of the scorecard, empty where it is missing."""
        return self.raw.get(key) or []

    def score(self, method: str, metric: str = GAP, operator: str | None = None) -> Figure | None:
        """A method's figure; the gap is under the primary operator by default."""
        return self.scores.get((method, operator or (self.primary if metric == GAP else None), metric))

    def block(self, *names: str) -> list[Metric]:
        """The metrics of these blocks that any method was scored on."""
        scored = {metric for _, _, metric in self.scores}
        return [metric for metric in self.metrics if metric.block in names and metric.name in scored]

    def families(self) -> list[tuple[str, list[Method]]]:
        """The methods by family, best first by the primary gap."""
        order = [*FAMILIES, *(method.family for method in self.methods)]
        names = sorted(dict.fromkeys(method.family for method in self.methods), key=order.index)
        return [(family, [m for m in self.ranked() if m.family == family]) for family in names]

    def ranked(self, operator: str | None = None) -> list[Method]:
        """The methods, best first by their gap; those without one come last, in their order."""
        return sorted(self.methods, key=lambda method: -_sort_value(self.score(method.name, GAP, operator)))

    @property
    def best(self) -> "Best | None":
        """Our best under the primary operator, as the scorecard chose it."""
        row = next((row for row in self.rows("best") if row.get("operator") == self.primary), None)
        method = next((method for method in self.methods if row and method.name == row.get("method")), None)
        gap = figure(row)
        return Best(method, gap, int(row.get("chosen_on") or 0)) if row and method and gap else None


def read_card(scorecard: Mapping[str, Any], index: int = 0) -> Card:
    """Read a scorecard, with its scores by name. Numbers that are not finite count as missing."""
    scores = {}
    for row in scorecard.get("scores") or []:
        score = figure(row)
        if score is not None:
            scores[(str(row["method"]), row.get("operator"), str(row["metric"]))] = score
    operators = _operators(scorecard, scores)
    primary = (scorecard.get("settings") or {}).get("primary") or (operators[0][0] if operators else "")
    return Card(
        index=index, raw=scorecard, methods=_methods(scorecard, scores), metrics=_metrics(scorecard, scores),
        operators=operators, primary=str(primary), scores=scores,
    )  # fmt: skip


def figure(row: Mapping[str, Any] | None) -> Figure | None:
    """A value with its interval; the value itself where the interval is missing, None without a finite value."""
    value = number(row.get("value")) if row else None
    if row is None or value is None:
        return None
    low, high = number(row.get("low")), number(row.get("high"))
    return bounded(value, low, high, row.get("n"))


def bounded(value: float, low: float | None, high: float | None, n: int | None) -> Figure:
    """The figure of a value and the ends of its interval, where it has them."""
    known = low is not None and high is not None
    return Figure(value, value if low is None else low, value if high is None else high, n, has_interval=known)


def number(value: Any) -> float | None:
    """The value as a float where it is a finite number, else None."""
    finite = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if finite else None


def _sort_value(score: Figure | None) -> float:
    return score.value if score else -math.inf


def _methods(scorecard: Mapping[str, Any], scores: Mapping[tuple[str, str | None, str], Figure]) -> tuple[Method, ...]:
    rows = scorecard.get("methods") or [{"name": name} for name in dict.fromkeys(name for name, _, _ in scores)]
    return tuple(_method(row) for row in rows)


def _method(row: Mapping[str, Any]) -> Method:
    return Method(
        name=str(row["name"]), family=str(row.get("family") or "other"), says=str(row.get("says") or ""),
        paper=str(row.get("paper") or ""), ours=bool(row.get("ours")), released=bool(row.get("released")),
        operators=tuple(map(str, row.get("operators") or ())), seconds=figure(row.get("seconds")),
        forwards=number(row.get("forwards")), backwards=number(row.get("backwards")), memory=number(row.get("memory")),
    )  # fmt: skip


def _metrics(scorecard: Mapping[str, Any], scores: Mapping[tuple[str, str | None, str], Figure]) -> tuple[Metric, ...]:
    rows = list(scorecard.get("metrics") or [])
    described = {row["name"] for row in rows}
    for _, operator, name in scores:
        if name not in described:
            described.add(name)
            rows.append({"name": name, "block": "faithfulness" if operator else "plausibility"})
    return tuple(_metric(row) for row in rows)


def _metric(row: Mapping[str, Any]) -> Metric:
    name = str(row["name"])
    title, says = str(row.get("title") or name.capitalize()), str(row.get("says") or "")
    better, block = str(row.get("better") or "up"), str(row.get("block") or "faithfulness")
    return Metric(name, title, says, better, chances=_chances(row.get("chance")), block=block)


def _chances(chance: Any) -> dict[str, float]:
    by_operator = chance if isinstance(chance, Mapping) else {"": chance}
    return {str(name): level for name, value in by_operator.items() if (level := number(value)) is not None}


def _operators(
    scorecard: Mapping[str, Any], scores: Mapping[tuple[str, str | None, str], Figure]
) -> tuple[tuple[str, str], ...]:
    """The operators with their descriptions: first those in the settings, then others that have scores."""
    rows = (scorecard.get("settings") or {}).get("operators") or []
    described = {str(row["name"]): str(row.get("says") or "") for row in rows}
    names = dict.fromkeys((*described, *(operator for _, operator, _ in scores if operator)))
    return tuple((name, described.get(name, "")) for name in names)
