"""Figures over steps or layers, several curves in the same axes. Its style is line_chart.css."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

from markupsafe import Markup

from lapilli.report.kit import figures
from lapilli.report.kit.curves import half_life, smoothed, thinned, upright_axis
from lapilli.report.kit.svg import WIDTH, Axis, chart, element, group, line, polyline, text

COLORS = 8
"""Curves that can be told apart."""

_FEW = 24  # points of a curve that are marked one by one
_LEFT, _RIGHT, _TOP, _FLOOR, _HEIGHT = 52.0, 72.0, 12.0, 200.0, 240.0
_LEAST = 13.0  # pixels between the heights of two numbers

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A curve: its points (step, value), the steps ascending, and an interval of each, if there are any.

    `color` is from 0 to COLORS - 1. A `noisy` one is drawn as its smoothed mean, with the points faint behind it.
    """

    name: str
    color: int
    points: Sequence[tuple[float, float]]
    intervals: Sequence[Interval] = ()
    noisy: bool = False
    dashed: bool = False

    @cached_property
    def line(self) -> list[tuple[float, float]]:
        """The points of the line that is drawn."""
        if not self.noisy:
            return thinned(self.points)
        return thinned(smoothed(self.points, half_life([step for step, _ in self.points])))


def line_chart(
    curves: Sequence[Curve], title: str, words: Callable[[float], str], top: float | None = None, unit: str = "step"
) -> Markup:
    """Curves over the steps from 0; those without points are left out. `words` writes a value.

    The upright axis ends at `top` and begins at 0, where that is given, or else it is one that suits the values. `unit`
    is what the curves are over, if it is not steps.
    """
    curves = [curve for curve in curves if curve.points]
    across = Axis(0.0, max((curve.points[-1][0] for curve in curves), default=1.0) or 1.0, _LEFT, WIDTH - _RIGHT)
    values = [value for curve in curves for _, value in curve.points]
    bounds = [end for curve in curves for interval in curve.intervals for end in interval]
    up = Axis(0.0, top, _FLOOR, _TOP) if top else upright_axis(values + bounds, _FLOOR, _TOP)
    few = max((len(curve.points) for curve in curves), default=0) <= _FEW
    drawn = [_drawn(curve, across, up, words, few=few, unit=unit) for curve in curves]
    summary = " ".join(_summary(curve, words, unit) for curve in curves) or "Nothing was logged."
    children = (_grid(across, up, words, unit), *drawn, *_last_values(curves, across, up, words))
    return chart(*children, width=WIDTH, height=_HEIGHT, title=title, summary=summary)


def key(color: int, dashed: bool = False) -> Markup:
    """A piece of a curve, for a legend."""
    piece = group(line(1, 9, 17, 9, "curve"), class_=_classes(color, dashed))
    return element("svg", piece, viewBox="0 0 18 18", class_="key", aria_hidden="true")


def _classes(color: int, dashed: bool) -> str:
    return f"series c{color}{' dashed' if dashed else ''}"


def _grid(across: Axis, up: Axis, words: Callable[[float], str], unit: str) -> Markup:
    parts = []
    for value in up.ticks(4):
        parts.append(line(across.start, up.at(value), across.end, up.at(value), "grid"))
        parts.append(text(across.start - 8, up.at(value) + 4.5, words(value), "tick", "end"))
    for value in across.ticks(4):
        if value.is_integer():
            parts.append(text(across.at(value), up.start + 18, figures.whole(value), "tick", "middle"))
    parts.append(text(across.end, up.start + 34, f"{unit}s", "tick", "end"))
    return group(*parts, line(across.start, up.start, across.end, up.start, "base"))


def _drawn(curve: Curve, across: Axis, up: Axis, words: Callable[[float], str], *, few: bool, unit: str) -> Markup:
    """A curve with its intervals behind it, and its points where they are faint or few."""
    parts = list(_intervals(curve, across, up, few))
    if curve.noisy:
        faint = [element("circle", cx=across.at(x), cy=up.at(y), r=1.6, class_="raw") for x, y in thinned(curve.points)]
        parts.append(group(*faint))
    parts.append(polyline([(across.at(x), up.at(y)) for x, y in curve.line], "curve"))
    if not curve.noisy and few:
        parts += [_point(curve, index, across, up, words=words, unit=unit) for index in range(len(curve.points))]
    return group(*parts, class_=_classes(curve.color, curve.dashed))


def _intervals(curve: Curve, across: Axis, up: Axis, few: bool) -> Iterator[Markup]:
    if not curve.intervals:
        return
    ends = [
        (across.at(x), up.at(low), up.at(high))
        for (x, _), (low, high) in zip(curve.points, curve.intervals, strict=True)
    ]
    if few:
        for x, low, high in ends:
            yield line(x, low, x, high, "whisker")
        return
    corners = [(x, low) for x, low, _ in ends] + [(x, high) for x, _, high in reversed(ends)]
    yield element("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in corners), class_="span")


def _point(curve: Curve, index: int, across: Axis, up: Axis, *, words: Callable[[float], str], unit: str) -> Markup:
    step, value = curve.points[index]
    about = f"{curve.name}, {unit} {figures.whole(step)}: {words(value)}"
    if curve.intervals:
        low, high = curve.intervals[index]
        about += f" [{words(low)}, {words(high)}]"
    return element("circle", element("title", about), cx=across.at(step), cy=up.at(value), r=3, class_="point")


def _last_values(curves: Sequence[Curve], across: Axis, up: Axis, words: Callable[[float], str]) -> Iterator[Markup]:
    """The last value of every curve beside its end, moved apart where they would lie upon each other."""
    ends = sorted(((up.at(curve.line[-1][1]), curve) for curve in curves), key=lambda end: end[0])
    for y, (_, curve) in zip(_apart([y for y, _ in ends]), ends, strict=True):
        x, value = curve.line[-1]
        label = text(max(across.at(x), across.end) + 8, y + 4.5, words(value), "value", "start")
        yield group(label, class_=_classes(curve.color, curve.dashed))


def _apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights, moved so that no two are nearer than `_LEAST`, and none lies under the floor of the chart."""
    moved = list(heights)
    for before, index in pairwise(range(len(moved))):
        moved[index] = max(moved[index], moved[before] + _LEAST)
    limit = _FLOOR
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - _LEAST
    return moved


def _summary(curve: Curve, words: Callable[[float], str], unit: str) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    if first == last:
        return f"{curve.name}: {words(start)} at {unit} {figures.whole(first)}."
    steps = f"{unit}s {figures.whole(first)} to {figures.whole(last)}"
    return f"{curve.name}: {words(start)} to {words(end)}, {steps}."
