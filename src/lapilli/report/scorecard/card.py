"""A scorecard as the page reads it: whatever a key leaves out is empty, and nothing else is made up."""

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
"""The families in the order of their cost; a family that is not here comes after them under its own name."""

GAP = "gap"


@dataclass(frozen=True)
class Figure:
    """A finite number with its 95 % interval, as far as there is one, and what it rests on."""

    value: float
    low: float
    high: float
    n: int | None = None


@dataclass(frozen=True)
class Method:
    """A way to make a map. `operators` are the removals that it uses itself, under which it is not held out.

    released   whether it repeats a known fault of a released code: it is neither ranked nor tested
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
    """What a score says; `better` is up, down, or one where 1 is best.

    chances    what a map that knows nothing reaches, by operator; by "" where it is the same under all
    """

    name: str
    title: str
    says: str
    better: str
    chances: Mapping[str, float]
    block: str

    def chance(self, operator: str | None = None) -> float | None:
        """What a map that knows nothing reaches under an operator; None where that is not one number."""
        return self.chances.get(operator or "", self.chances.get(""))


@dataclass(frozen=True)
class Best:
    """The best of our methods, with its gap on the questions that it was not chosen on, and on how many it was."""

    method: Method
    gap: Figure
    chosen_on: int


@dataclass(frozen=True)
class Card:
    """One model's scorecard. `index` tells the parts of several on one page apart."""

    index: int
    told: Mapping[str, Any]
    methods: tuple[Method, ...]
    metrics: tuple[Metric, ...]
    operators: tuple[tuple[str, str], ...]
    primary: str
    scores: Mapping[tuple[str, str | None, str], Figure]

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.told.get("model") or f"model {self.index + 1}")

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it was measured."""
        return self.told.get("settings") or {}

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of cells."""
        grid = self.settings.get("grid")
        return (int(grid[0]), int(grid[1])) if grid else None

    def rows(self, key: str) -> Sequence[Mapping[str, Any]]:
        """A list of the scorecard, empty where it is missing."""
        return self.told.get(key) or []

    def score(self, method: str, metric: str = GAP, operator: str | None = None) -> Figure | None:
        """A method's figure; the operator of the gap is the primary one unless another is given."""
        return self.scores.get((method, operator or (self.primary if metric == GAP else None), metric))

    def block(self, *names: str) -> list[Metric]:
        """The metrics of these blocks that any method was scored on."""
        scored = {metric for _, _, metric in self.scores}
        return [metric for metric in self.metrics if metric.block in names and metric.name in scored]

    def families(self) -> list[tuple[str, list[Method]]]:
        """The methods by family, best first by the primary gap."""
        order = [*FAMILIES, *(method.family for method in self.methods)]
        found = sorted(dict.fromkeys(method.family for method in self.methods), key=order.index)
        return [(family, [m for m in self.ranked() if m.family == family]) for family in found]

    def ranked(self, operator: str | None = None) -> list[Method]:
        """The methods, best first by their gap; those without one come last, in their order."""
        return sorted(self.methods, key=lambda method: -_known(self.score(method.name, GAP, operator)))

    @property
    def best(self) -> "Best | None":
        """Our best under the primary operator, as the scorecard chose it."""
        row = next((row for row in self.rows("best") if row.get("operator") == self.primary), None)
        method = next((method for method in self.methods if row and method.name == row.get("method")), None)
        gap = figure(row)
        return Best(method, gap, int(row.get("chosen_on") or 0)) if row and method and gap else None


def read_card(told: Mapping[str, Any], index: int = 0) -> Card:
    """The scorecard with its scores found by name. Numbers that are not finite count as missing."""
    scores = {}
    for row in told.get("scores") or []:
        found = figure(row)
        if found is not None:
            scores[(str(row["method"]), row.get("operator"), str(row["metric"]))] = found
    operators = _operators(told, scores)
    primary = (told.get("settings") or {}).get("primary") or (operators[0][0] if operators else "")
    return Card(index, told, _methods(told, scores), _metrics(told, scores), operators, str(primary), scores)


def figure(row: Mapping[str, Any] | None) -> Figure | None:
    """A value with its interval; the value itself where the interval is missing, None without a finite value."""
    value = number(row.get("value")) if row else None
    if row is None or value is None:
        return None
    low, high = number(row.get("low")), number(row.get("high"))
    return Figure(value, value if low is None else low, value if high is None else high, row.get("n"))


def number(given: Any) -> float | None:
    """A finite number, or None."""
    finite = isinstance(given, int | float) and math.isfinite(given)
    return float(given) if finite else None


def _known(found: Figure | None) -> float:
    return found.value if found else -math.inf


def _methods(told: Mapping[str, Any], scores: Mapping[tuple[str, str | None, str], Figure]) -> tuple[Method, ...]:
    rows = told.get("methods") or [{"name": name} for name in dict.fromkeys(name for name, _, _ in scores)]
    return tuple(_method(row) for row in rows)


def _method(row: Mapping[str, Any]) -> Method:
    return Method(
        str(row["name"]), str(row.get("family") or "other"), str(row.get("says") or ""), str(row.get("paper") or ""),
        bool(row.get("ours")), tuple(map(str, row.get("operators") or ())), bool(row.get("released")),
        figure(row.get("seconds")), *(number(row.get(key)) for key in ("forwards", "backwards", "memory")),
    )  # fmt: skip


def _metrics(told: Mapping[str, Any], scores: Mapping[tuple[str, str | None, str], Figure]) -> tuple[Metric, ...]:
    rows = list(told.get("metrics") or [])
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
    return Metric(name, title, says, better, _chances(row.get("chance")), block)


def _chances(told: Any) -> dict[str, float]:
    given = told if isinstance(told, Mapping) else {"": told}
    return {str(name): found for name, value in given.items() if (found := number(value)) is not None}


def _operators(
    told: Mapping[str, Any], scores: Mapping[tuple[str, str | None, str], Figure]
) -> tuple[tuple[str, str], ...]:
    """Those described, as far as anything was scored under them, then those that were scored only."""
    said = {str(row["name"]): str(row.get("says") or "") for row in (told.get("settings") or {}).get("operators") or []}
    scored = dict.fromkeys(operator for _, operator, _ in scores if operator)
    return tuple((name, said.get(name, "")) for name in [*said, *(name for name in scored if name not in said)])
