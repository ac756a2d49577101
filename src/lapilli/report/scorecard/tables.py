"""The page's tables as plain rows of cells. In a cell with a bar, a longer bar to the right is better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lapilli.report.kit.figures import percent, size
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import GAP, Card, Figure, Method, Metric, figure, number

_SIGNS = {"up": "▲", "down": "▼", "even": "≈", "": ""}


@dataclass(frozen=True)
class Scale:
    """A scale from the values `low` to `high` to percent of a cell's width; `flip` puts the low, better end right.

    A bar starts at `chance`, or at 1 where 1 is best, or else at the left end.
    """

    low: float
    high: float
    flip: bool = False
    chance: float | None = None

    def at(self, value: float) -> float:
        """Percent from the left."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(100 * min(1.0, max(0.0, 1 - share if self.flip else share)), 1)

    def marks(self, score: Figure) -> str:
        """The cell's custom properties: a bar from chance, or from the worse end, to the value; the interval."""
        ends = sorted((self.at(score.low), self.at(score.high)))
        start, value = 0.0 if self.chance is None else self.at(self.chance), self.at(score.value)
        return f"--l:{min(start, value):g};--w:{abs(value - start):.1f};--a:{ends[0]:g};--b:{ends[1]:g};--c:{start:g}"


@dataclass(frozen=True)
class Cell:
    """A figure in a table. `sort` orders a column, `under` is the index of its operator."""

    value: str = "–"
    spread: str = ""
    marks: str = ""
    sort: float | None = None
    sign: str = ""
    own: bool = False
    under: int | None = None
    tint: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its head, its block, and the better end (up or down; one, where 1 is best).

    chances    chance levels, each with the index of its operator, None for all operators
    """

    name: str
    title: str
    block: str
    better: str
    chances: tuple[tuple[int | None, str], ...] = ()
    says: str = ""


@dataclass(frozen=True)
class Row:
    """A method with its cells. There may be more cells than columns: one for each operator."""

    method: Method
    cells: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Table:
    """The whole table: columns and, by family, rows."""

    columns: tuple[Column, ...]
    families: tuple[tuple[str, tuple[Row, ...]], ...]

    @property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}

    @property
    def blocks(self) -> list[tuple[str, int]]:
        """The blocks in their order, each with the number of its columns."""
        names = [column.block for column in self.columns]
        return [(name, names.count(name)) for name in dict.fromkeys(names)]


GAPS, UNDER, PLAUSIBLE, COST = "gap under", "under", "plausibility", "cost"


def table(card: Card) -> Table:
    """Return the table of every method with every figure."""
    gaps = [metric for metric in card.metrics if metric.name == GAP]
    under = [metric for metric in card.block("faithfulness", "calibration") if metric.name != GAP]
    plausible = card.block("plausibility")
    columns = [_column(card, gap, GAPS, f"{GAP} {name}", name) for gap in gaps for name, _ in card.operators]
    columns += [_column(card, metric, UNDER) for metric in under]
    columns += [_column(card, metric, PLAUSIBLE) for metric in plausible]
    ends = {metric.name: _ends(card, metric) for metric in card.metrics}
    families = [
        (family, tuple(Row(m, _cells(card, m, (gaps, under, plausible), ends)) for m in methods))
        for family, methods in card.families()
    ]
    return Table((*columns, *_cost_columns(card)), tuple(families))


def _ends(card: Card, metric: Metric) -> tuple[float, float]:
    """The lowest and highest end of a metric's intervals under all operators; the start of its bars lies between."""
    scores = [score for (_, _, name), score in card.scores.items() if name == metric.name]
    ends = [end for score in scores for end in (score.low, score.high)]
    ends += [*metric.chances.values(), *([1.0] if metric.better == "one" else [])]
    return min(ends, default=0.0), max(ends, default=1.0)


def _scale(metric: Metric, ends: tuple[float, float], operator: str | None) -> Scale:
    """The scale of a metric, the same under all operators; its chance level may differ between them."""
    start = 1.0 if metric.better == "one" else metric.chance(operator)
    return Scale(*ends, metric.better == "down", start)


def _column(card: Card, metric: Metric, block: str, name: str = "", title: str = "") -> Column:
    order = {"": None} | {name: index for index, (name, _) in enumerate(card.operators)}
    levels = [(order[operator], level) for operator, level in metric.chances.items() if operator in order]
    chances = tuple((index, words.plain(level)) for index, level in levels)
    return Column(name or metric.name, title or metric.title, block, metric.better, chances=chances, says=metric.says)


def _cost_columns(card: Card) -> list[Column]:
    names = (("seconds", "Time a map"), ("forwards", "Forward"), ("backwards", "Backward"), ("memory", "Memory"))
    return [
        Column(name, title, COST, "down")
        for name, title in names
        if any(getattr(method, name) is not None for method in card.methods)
    ]


def _cells(
    card: Card, method: Method, metrics: tuple[Sequence[Metric], ...], ends: Mapping[str, tuple[float, float]]
) -> tuple[tuple[str, Cell], ...]:
    """The cells in the order of the columns; for a figure under the chosen operator one cell for each operator."""
    gaps, under, plausible = metrics
    names = [name for name, _ in card.operators]
    cells = [
        (f"{GAP} {name}", replace(scored(card, method, gap, ends[GAP], name), sign=_sign(card, method, name)))
        for gap in gaps
        for name in names
    ]
    for metric in under:
        by_operator = [scored(card, method, metric, ends[metric.name], name) for name in names]
        cells += [(metric.name, replace(cell, under=index)) for index, cell in enumerate(by_operator)]
    cells += [(metric.name, scored(card, method, metric, ends[metric.name], None)) for metric in plausible]
    return (*cells, *_costs(card, method))


def _sign(card: Card, method: Method, operator: str) -> str:
    """Whether the method is above or below the random map."""
    return _SIGNS[words.verdict(words.against_random(card).get((method.name, operator)))]


def scored(card: Card, method: Method, metric: Metric, ends: tuple[float, float], operator: str | None) -> Cell:
    """The cell of a score; empty where there is none."""
    score = card.scores.get((method.name, operator, metric.name))
    own = operator is not None and operator in method.operators
    if score is None:
        return Cell(own=own)
    note = f"n {score.n}" if score.n is not None else ""
    marks = _scale(metric, ends, operator).marks(score)
    sort = abs(score.value - 1) if metric.better == "one" else score.value
    return Cell(words.plain(score.value), words.interval(score), marks, sort, own=own, note=note)


def _costs(card: Card, method: Method) -> list[tuple[str, Cell]]:
    names = {column.name for column in _cost_columns(card)}
    seconds, memory = method.seconds, method.memory
    cells = {
        "seconds": _time(card, seconds) if seconds else Cell(),
        "forwards": Cell(words.passes(method.forwards), sort=method.forwards),
        "backwards": Cell(words.passes(method.backwards), sort=method.backwards),
        "memory": Cell("–" if memory is None else size(memory), sort=memory),
    }
    return [(name, cell) for name, cell in cells.items() if name in names]


def _time(card: Card, seconds: Figure) -> Cell:
    """The cell of a time on a logarithmic scale, the fastest at the right end."""
    slowest = max(method.seconds.value for method in card.methods if method.seconds)
    scale = Scale(math.log(1e-3), math.log(max(slowest, 2e-3)), flip=True)
    low, high, value = (math.log(max(end, 1e-3)) for end in (seconds.low, seconds.high, seconds.value))
    spread = f"{words.span(seconds.low)} to {words.span(seconds.high)}"
    return Cell(words.span(seconds.value), spread, scale.marks(Figure(value, low, high)), seconds.value)


@dataclass(frozen=True)
class Pairs:
    """Our methods against every method under one operator: rows of (other, cells), one cell for each of ours."""

    ours: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def pairs(card: Card, operator: str) -> Pairs | None:
    """The paired tests of the gap under an operator; None without any."""
    mine = [method.name for method in card.ranked() if method.ours]
    tests = {
        (str(row["one"]), str(row["other"])): row
        for row in card.rows("tests")
        if row.get("operator") == operator and row.get("metric", GAP) == GAP
    }
    ours = tuple(name for name in mine if any(own == name for own, _ in tests))
    others = [m.name for m in card.ranked(operator) if any((own, m.name) in tests for own in ours)]
    rows = tuple((other, tuple(_pair(tests.get((own, other))) for own in ours)) for other in others)
    return Pairs(ours, rows) if rows else None


def _pair(row: Mapping[str, Any] | None) -> Cell:
    difference = number(row.get("difference")) if row else None
    if row is None or difference is None:
        return Cell()
    low, high, wins = (number(row.get(key)) for key in ("low", "high", "wins"))
    spread = words.spread(low, high) if low is not None and high is not None else ""
    note = f"wins {percent(wins, 0)}" if wins is not None else ""
    return Cell(words.signed(difference), spread, sort=difference, sign=_SIGNS[words.verdict(row)], note=note)


@dataclass(frozen=True)
class Sanity:
    """The sanity checks of the maps: rows of (method, cells), one cell for each test."""

    tests: tuple[Mapping[str, Any], ...]
    rows: tuple[tuple[Method, tuple[Cell, ...]], ...]


def sanity(card: Card) -> Sanity | None:
    """Return the sanity checks, ours first, then the others by family; None where nothing was tested."""
    figures = {(row["method"], row["test"]): figure(row) for row in card.rows("sanity")}
    described = {row["name"]: row for row in card.rows("sanity_tests")}
    names = [*described, *dict.fromkeys(test for _, test in figures if test not in described)]
    tests = tuple({"says": "", "good": "", **described.get(name, {}), "name": name} for name in names)
    order = sorted((m for _, methods in card.families() for m in methods), key=lambda method: not method.ours)
    tested = [method for method in order if any((method.name, name) in figures for name in names)]
    lows = {name: min([0.0, *(f.low for (_, t), f in figures.items() if t == name and f)]) for name in names}
    highs = {name: max([1.0, *(f.high for (_, t), f in figures.items() if t == name and f)]) for name in names}
    rows = tuple(
        (
            m,
            tuple(
                _checked(figures.get((m.name, t["name"])), t["good"], lows[t["name"]], highs[t["name"]]) for t in tests
            ),
        )
        for m in tested
    )
    return Sanity(tests, rows) if rows else None


def _checked(score: Figure | None, good: str, low: float, high: float) -> Cell:
    """The cell of a check. Its tint goes from -1, the bad end, to 1; it is 0 for a test without a good end."""
    if score is None:
        return Cell()
    share = min(1.0, max(0.0, score.value))
    tint = {"high": 2 * share - 1, "low": 1 - 2 * share}.get(good, 0.0)
    marks = Scale(low, high, good == "low").marks(score)
    note = f"n {score.n}" if score.n is not None else ""
    return Cell(words.plain(score.value), words.interval(score), marks, score.value, tint=tint, note=note)
