"""The charts of studies: figures with intervals in rows, and in columns of layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lapilli.report.color.numbers import with_interval
from lapilli.report.kit.svg import WIDTH, Axis, chart, element, group, legend, line, shape, text

_LANE = 13.0
_PAD = 9.0
_TOP = 6.0
_BOTTOM = 26.0
_RIGHT = 12.0
_PANEL = 66.0  # of a way, in a chart of layers


@dataclass(frozen=True)
class Mark:
    """A figure to draw. `kind` is its shape: dot, ring, wedge; stick, for chance; speck, one of many."""

    kind: str
    words: str
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> list[float]:
        """All numbers that must fit on the axis."""
        return [value for value in (self.value, self.low, self.high) if value is not None]


def mark(kind: str, words: str, figure: Mapping[str, Any], digits: int = 2) -> Mark:
    """A mark of a figure with `value`, `low`, `high` and `n`."""
    text = f"{words}: {with_interval(figure, digits)}, n = {figure['n']}"
    return Mark(kind, text, figure["value"], figure.get("low"), figure.get("high"))


@dataclass(frozen=True)
class Row:
    """A line of a chart: a label, and the marks of each model on a lane of their own, from the top."""

    label: str
    lanes: tuple[tuple[Mark, ...], ...]


def rows_chart(
    rows: Sequence[Row], title: str, summary: str, left: float = 96.0, ends: tuple[float, float] | None = None
) -> Markup:
    """Figures as marks with whiskers, in rows of lanes, on one axis that includes 0 and all figures, or has `ends`."""
    marks = [mark for row in rows for lane in row.lanes for mark in lane]
    axis = _axis([value for mark in marks for value in mark.reach], left, ends)
    tops = [_TOP]
    for row in rows:
        tops.append(tops[-1] + max(1, len(row.lanes)) * _LANE + 2 * _PAD)
    bands = [_band(tops[at], tops[at + 1] - tops[at]) for at in range(0, len(rows), 2)]
    lines = [_row(row, axis, top) for row, top in zip(rows, tops, strict=False)]
    children = (*bands, _grid(axis, tops[-1]), *lines)
    return chart(*children, width=WIDTH, height=tops[-1] + _BOTTOM, title=title, summary=summary)


def _axis(values: Sequence[float], left: float, ends: tuple[float, float] | None) -> Axis:
    low, high = ends or (min([0.0, *values]), max([0.0, *values]))
    room = 0.0 if ends else 0.04 * (high - low or 1.0)
    return Axis(low - (room if low < 0 else 0), high + (room if high > 0 else 0), left, WIDTH - _RIGHT)


def _band(top: float, height: float) -> Markup:
    return element("rect", x=0, y=top, width=WIDTH, height=height, rx=3, class_="band")


def _grid(axis: Axis, floor: float) -> Markup:
    ticks = axis.ticks(4)
    lines = [line(axis.at(v), _TOP, axis.at(v), floor, "grid" if v else "base") for v in ticks]
    words = [text(axis.at(v), floor + 17, _tick(v), "tick", "middle") for v in ticks]
    return group(*lines, *words)


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _row(row: Row, axis: Axis, top: float) -> Markup:
    middle = top + _PAD + _LANE * max(1, len(row.lanes)) / 2
    parts = [text(6, middle + 4.5, row.label, "label")]
    for number_, lane in enumerate(row.lanes):
        y = top + _PAD + _LANE * (number_ + 0.5)
        parts += [_draw_mark(mark, axis.at(mark.value), y, axis) for mark in lane if mark.value is not None]
    return group(*parts)


def _draw_mark(mark: Mark, x: float, y: float, axis: Axis) -> Markup:
    parts = [element("title", mark.words)]
    if mark.low is not None and mark.high is not None:
        parts.append(line(axis.at(mark.low), y, axis.at(mark.high), y, "whisker"))
    return group(*parts, glyph(mark.kind, x, y), class_=mark.kind)


def glyph(kind: str, x: float, y: float) -> Markup:
    """The shape of a kind of mark, centred on a point."""
    if kind in ("stick", "speck"):
        reach = 6.0 if kind == "stick" else 3.5
        return line(x, y - reach, x, y + reach, kind)
    if kind == "wedge":
        return shape(x, y, ((0, -4.2), (4.2, 3.2), (-4.2, 3.2)), "mark")
    return element("circle", cx=x, cy=y, r=3.9, class_="mark")


def key(kind: str) -> Markup:
    """The shape alone, for a legend."""
    return legend(18, group(glyph(kind, 9, 9), class_=kind))


@dataclass(frozen=True)
class Panel:
    """The chart of one route: for every column the marks of each model."""

    label: str
    columns: tuple[tuple[tuple[Mark, ...], ...], ...]


def layers_chart(panels: Sequence[Panel], columns: Sequence[str], title: str, summary: str) -> Markup:
    """Panels one below the other, with the same upright axis and the same columns: layers, halves, all."""
    left, step = 34.0, (WIDTH - 34.0 - _RIGHT) / max(1, len(columns))
    marks = [mark for panel in panels for column in panel.columns for lane in column for mark in lane]
    values = [value for mark in marks for value in mark.reach]
    low, high = min([0.0, *values]), max([0.0, *values])
    floor = _TOP + _PANEL * len(panels)
    parts = []
    for at, panel in enumerate(panels):
        top = _TOP + _PANEL * at
        up = Axis(low, high or 1.0, top + _PANEL - 8, top + 20)
        parts += [_band(top, _PANEL)] * (at % 2 == 0)
        parts += [*_panel_frame(panel.label, up, top), *_panel_marks(panel, up, left, step)]
    names = [text(left + step * (n + 0.5), floor + 17, name, "tick", "middle") for n, name in enumerate(columns)]
    return chart(*parts, *names, width=WIDTH, height=floor + _BOTTOM, title=title, summary=summary)


def _panel_frame(label: str, up: Axis, top: float) -> Iterator[Markup]:
    for value in up.ticks(2):
        yield line(30, up.at(value), WIDTH - _RIGHT, up.at(value), "grid" if value else "base")
        yield text(26, up.at(value) + 4, _tick(value), "tick", "end")
    yield text(30, top + 13, label, "label")


def _panel_marks(panel: Panel, up: Axis, left: float, step: float) -> Iterator[Markup]:
    for at, column in enumerate(panel.columns):
        for lane, marks in enumerate(column):
            x = left + step * (at + (lane + 1) / (len(column) + 1))
            for mark in marks:
                if mark.value is not None:
                    yield _upright(mark, x, up)


def _upright(mark: Mark, x: float, up: Axis) -> Markup:
    y, parts = up.at(mark.value or 0.0), [element("title", mark.words)]
    if mark.kind == "stick":
        return group(*parts, line(x - 5, y, x + 5, y, "stick"), class_="stick")
    if mark.low is not None and mark.high is not None:
        parts.append(line(x, up.at(mark.low), x, up.at(mark.high), "whisker"))
    return group(*parts, element("circle", cx=x, cy=y, r=2.9, class_="mark"), class_=mark.kind)
