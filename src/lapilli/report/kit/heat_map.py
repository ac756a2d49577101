"""A matrix as a heat map, such as a figure of every head: layers by heads. Its style is heat_map.css."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lapilli.report.kit.figures import number
from lapilli.report.kit.svg import chart, element, group, text

_LEFT = 20.0  # before the first column
_BELOW = 18.0  # under the first row
_APART = 14  # between numbers of rows or columns, at least


@dataclass(frozen=True)
class Labels:
    """The words of a heat map: its title and summary, and what a row and a column of it are, such as layer and head."""

    title: str
    summary: str
    row: str
    column: str


def heat_map(
    table: Mapping[str, Any], labels: Labels, largest: float, framed: Collection[tuple[int, int]] = ()
) -> Markup:
    """A matrix of figures, its rows from the bottom up: vermillion raises, blue lowers, full color at `largest`.

    `table` has `value`, `low` and `high`, (row, column) each, and `n`. The cells of `framed`, (row, column) each, have
    a frame. Every cell has its value, interval and n as a title; where there is no value, there is no cell.
    """
    high, wide = len(table["value"]), len(table["value"][0])
    side = min(26.0, 150.0 / wide, 220.0 / high)
    cells = []
    for row, values in enumerate(table["value"]):
        for column, value in enumerate(values):
            if value is None:
                continue
            x, y = _LEFT + side * column, side * (high - 1 - row)
            parts = _cell(x, y, side, value=value, largest=largest, words=_words(table, labels, row, column))
            cells.append(group(*parts, *([_frame(x, y, side)] if (row, column) in framed else [])))
    return chart(
        *cells, *_numbers(high, wide, side), width=_LEFT + side * wide + 2, height=side * high + _BELOW,
        title=labels.title, summary=labels.summary,
    )  # fmt: skip


def _words(table: Mapping[str, Any], labels: Labels, row: int, column: int) -> str:
    value, low, high = (number(table[name][row][column]) for name in ("value", "low", "high"))
    return f"{labels.row} {row}, {labels.column} {column}: {value} [{low}, {high}], n = {table['n']}"


def _cell(x: float, y: float, side: float, *, value: float, largest: float, words: str) -> tuple[Markup, Markup]:
    """The ground of a cell, and its color over it."""
    gap = 1.0 if side > 6 else 0.0
    size, round_ = side - gap, 1.5 if gap else 0
    ground = element("rect", x=x, y=y, width=size, height=size, rx=round_, class_="empty")
    color = element(
        "rect", element("title", words), x=x, y=y, width=size, height=size, rx=round_,
        class_="raises" if value >= 0 else "lowers", fill_opacity=f"{min(1.0, abs(value) / (largest or 1.0)):.3f}",
    )  # fmt: skip
    return ground, color


def _frame(x: float, y: float, side: float) -> Markup:
    size = side - (3.0 if side > 6 else 2.0)
    return element("rect", x=x + 1, y=y + 1, width=size, height=size, rx=1, class_="framed")


def _numbers(high: int, wide: int, side: float) -> Iterator[Markup]:
    every = max(1, round(_APART / side))
    for row in range(0, high, every):
        yield text(_LEFT - 5, side * (high - row - 0.5) + 4, str(row), "tick", "end")
    for column in range(0, wide, every):
        yield text(_LEFT + side * (column + 0.5), side * high + 14, str(column), "tick", "middle")
