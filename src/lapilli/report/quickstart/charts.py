"""The page's charts. Each takes plain numbers and returns one SVG; colors are classes of the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapilli.report.kit import curves, figures
from lapilli.report.kit.curves import smoothed, thinned, upright_axis
from lapilli.report.kit.svg import WIDTH, Axis, chart, element, group, legend, line, polyline, shape, text
from lapilli.report.quickstart.schema import Metric

MARKS = ("instruct", "align", "swapped", "blank", "language_only")
"""The kinds of marks, in the order of their lanes within a row. Each has its own shape and color."""

LANE = 9.0
_RIGHT = 66.0
_TOP = 8.0
_BOTTOM = 24.0


@dataclass(frozen=True)
class Mark:
    """A share with its 95 % interval; `kind` is one of `MARKS` and `words` describe it."""

    kind: str
    estimate: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Row:
    """A line of a dot chart. `constant` is the share of the best constant answer, drawn as an upright tick."""

    label: str
    marks: tuple[Mark, ...]
    constant: float | None = None


def share_axis(left: float, width: float = WIDTH) -> Axis:
    """The axis from 0 to 100 % of a dot chart whose labels take `left` pixels."""
    return Axis(0.0, 1.0, left, width - _RIGHT)


def dot_chart(
    rows: Sequence[Row], title: str, summary: str, left: float = 96.0, lanes: Sequence[str] = MARKS
) -> Markup:
    """Shares as dots with interval whiskers, a row each, on an axis from 0 to 100 %.

    `lanes` names the kinds that have a line of their own within the row, from its top; other kinds lie on the first.
    The label and the first mark's share in figures stand on the first line too.
    """
    axis = share_axis(left)
    height = max(30.0, LANE * (len(lanes) + 1.5))
    floor = _TOP + height * len(rows)
    lines = [_row(row, axis, _TOP + height * index, height, lanes) for index, row in enumerate(rows)]
    bands = [_band(_TOP + height * index, height) for index in range(0, len(rows), 2)]
    children = (*bands, _share_grid(axis, floor), *lines)
    return chart(*children, width=WIDTH, height=floor + _BOTTOM, title=title, summary=summary)


def _band(top: float, height: float) -> Markup:
    return element("rect", x=0, y=top, width=WIDTH, height=height, rx=3, class_="band")


def _share_grid(axis: Axis, floor: float) -> Markup:
    lines = [line(axis.at(value), _TOP, axis.at(value), floor, "grid") for value in axis.ticks(4)]
    words = [text(axis.at(v), floor + 17, figures.percent(v, 0), "tick", "middle") for v in axis.ticks(4)]
    return group(*lines, *words)


def _row(row: Row, axis: Axis, top: float, height: float, lanes: Sequence[str]) -> Markup:
    first = top + (height - LANE * max(0, len(lanes) - 1)) / 2
    parts = [text(10, first + 4.5, row.label, "label")]
    if row.constant is not None:
        parts.append(_constant(axis.at(row.constant), top, height, row.constant))
    for mark in reversed(row.marks):
        parts.append(_mark(mark, axis, first + LANE * (lanes.index(mark.kind) if mark.kind in lanes else 0)))
    if row.marks:
        main = row.marks[0]
        parts.append(text(WIDTH - 8, first + 4.5, figures.percent(main.estimate), f"value {main.kind}", "end"))
    return group(*parts)


def _mark(mark: Mark, axis: Axis, y: float) -> Markup:
    words = f"{mark.words}: {mark_words(mark)}"
    whisker = line(axis.at(mark.low), y, axis.at(mark.high), y, "whisker")
    return group(element("title", words), whisker, glyph(mark.kind, axis.at(mark.estimate), y), class_=mark.kind)


def mark_words(mark: Mark) -> str:
    """The share and its interval in words."""
    return f"{figures.percent(mark.estimate)} ({figures.interval(mark.low, mark.high)})"


def _constant(x: float, top: float, height: float, share: float) -> Markup:
    words = f"Best constant answer: {figures.percent(share)}"
    return group(element("title", words), line(x, top + 5, x, top + height - 5, "stick"), class_="constant")


def glyph(kind: str, x: float, y: float) -> Markup:
    """The shape that stands for a kind of mark, centred on a point."""
    if kind == "constant":
        return line(x, y - 7, x, y + 7, "stick")
    if kind in ("instruct", "align"):
        return element("circle", cx=x, cy=y, r=5 if kind == "instruct" else 3.7, class_="dot")
    corners = {
        "blank": ((-2.8, -2.8), (2.8, -2.8), (2.8, 2.8), (-2.8, 2.8)),
        "swapped": ((0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0)),
        "language_only": ((0, -3.7), (3.7, 2.8), (-3.7, 2.8)),
    }[kind]
    return shape(x, y, corners, "dot")


def key(kind: str) -> Markup:
    """The shape alone, for a legend."""
    return legend(18, group(glyph(kind, 9, 9), class_=kind))


def half_life(metrics: Sequence[Metric]) -> int:
    """The half-life of the smoothed loss in steps: a fiftieth of the run, at least one log line."""
    return curves.half_life([metric["step"] for metric in metrics])


def loss_chart(metrics: Sequence[Metric], title: str) -> Markup:
    """The loss of one stage against its steps: every logged value faint, the smoothed line over it.

    The axis is logarithmic when the losses span more than a factor of 15, and starts at 0 otherwise. A loss that is not
    finite is a cross at the top of its step.
    """
    points = [(float(m["step"]), m["loss"]) for m in metrics]
    real = [(step, loss) for step, loss in points if loss is not None and math.isfinite(loss)]
    bad = [step for step, loss in points if loss is None or not math.isfinite(loss)]
    across = Axis(0.0, max(step for step, _ in points), 38.0, WIDTH - 52.0)
    up = upright_axis([loss for _, loss in real], 200.0, 12.0)
    parts = [_loss_grid(across, up), *(_not_finite(across.at(step), up.end, step) for step in bad)]
    parts += _loss_lines(real, across, up, metrics)
    return chart(*parts, width=WIDTH, height=240.0, title=title, summary=_loss_words(real, len(bad)))


def _loss_grid(across: Axis, up: Axis) -> Markup:
    parts = []
    for value in up.ticks(4):
        parts.append(line(across.start, up.at(value), across.end, up.at(value), "grid"))
        parts.append(text(across.start - 8, up.at(value) + 4.5, f"{value:g}", "tick", "end"))
    for value in across.ticks(4):
        parts.append(text(across.at(value), up.start + 18, figures.whole(value), "tick", "middle"))
    parts.append(text(across.end, up.start + 32, "training steps", "tick", "end"))
    return group(*parts, line(across.start, up.start, across.end, up.start, "base"))


def _loss_lines(points: list[tuple[float, float]], across: Axis, up: Axis, metrics: Sequence[Metric]) -> list[Markup]:
    if not points:
        return []
    raw = [
        element("circle", cx=across.at(step), cy=up.at(max(loss, up.low)), r=1.7, class_="raw")
        for step, loss in thinned(points)
    ]
    means = smoothed(points, half_life(metrics))
    smooth = [(across.at(step), up.at(max(loss, up.low))) for step, loss in thinned(means)]
    x, y = smooth[-1]
    end = text(x + 8, y + 4.5, figures.loss(means[-1][1]), "value learns")
    return [group(*raw), polyline(smooth, "curve"), element("circle", cx=x, cy=y, r=3.5, class_="end"), end]


def _not_finite(x: float, y: float, step: float) -> Markup:
    cross = element("path", d=f"M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8", class_="cross")
    return group(element("title", f"The loss of step {step:g} was not finite"), cross)


def _loss_words(points: list[tuple[float, float]], bad: int) -> str:
    if not points:
        return "No loss was finite."
    first, last = points[0], points[-1]
    words = f"From {figures.loss(first[1])} at step {first[0]:g} to {figures.loss(last[1])} at step {last[0]:g}."
    return words + (f" {bad} losses were not finite." if bad else "")
