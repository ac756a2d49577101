"""The charts of the whole field: faithfulness against time, how far others are ahead, and two models' gaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from markupsafe import Markup

from lapilli.report.kit.svg import Axis, chart, element, group, legend, line, polyline, shape, text
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import GAP, Card, Figure, Method
from lapilli.report.scorecard.placing import Box, Line, placed
from lapilli.report.scorecard.words import Loss

_FASTEST = 1e-3  # seconds: what is faster is drawn here, or the floors alone would take half of the axis


@dataclass(frozen=True)
class Size:
    """The size of a chart in pixels, of its letters, and its margins."""

    width: float
    height: float
    letters: float
    left: float
    right: float = 14.0
    top: float = 26.0
    bottom: float = 46.0


WIDE = Size(1104.0, 560.0, 13.5, 46.0)
SQUARE = Size(640.0, 560.0, 13.5, 46.0)
NARROW = Size(360.0, 690.0, 11.0, 34.0, right=6.0, top=24.0, bottom=44.0)


@dataclass(frozen=True)
class Point:
    """A method with its gap, its seconds and its place in a chart."""

    method: Method
    gap: Figure
    seconds: Figure
    x: float
    y: float
    own: bool = False

    @property
    def name(self) -> str:
        """The method's name, with a mark where it is judged by its own operator."""
        return f"{self.method.name} †" if self.own else self.method.name


def glyph(family: str, x: float, y: float, ours: bool = False) -> Markup:
    """The shape of a family, centred on a point; ours is filled and has a ring."""
    shapes = {
        "floor": ((-4.2, -4.2), (0, -1.6), (4.2, -4.2), (1.6, 0), (4.2, 4.2), (0, 1.6), (-4.2, 4.2), (-1.6, 0)),
        "one-backward": ((0, -5.2), (4.9, 3.6), (-4.9, 3.6)),
        "many-pass": ((-3.9, -3.9), (3.9, -3.9), (3.9, 3.9), (-3.9, 3.9)),
        "zero-pass": (),
    }
    ring = [element("circle", cx=x, cy=y, r=9, class_="ring")] if ours else []
    corners = shapes.get(family, ((0, -5.2), (4.6, 0), (0, 5.2), (-4.6, 0)))
    if not corners:
        return group(*ring, element("circle", cx=x, cy=y, r=4.3, class_="dot"))
    return group(*ring, shape(x, y, corners, "dot"))


def key(family: str, ours: bool = False) -> Markup:
    """The shape of a family alone, for a legend or a row's head."""
    return legend(22, group(glyph(family, 11, 11, ours), class_="ours" if ours else None))


def points_of(card: Card, operator: str) -> list[tuple[Method, Figure, Figure]]:
    """The methods with a gap under this operator and a time."""
    methods = ((method, card.score(method.name, GAP, operator), method.seconds) for method in card.methods)
    return [(method, gap, seconds) for method, gap, seconds in methods if gap and seconds]


def pareto(card: Card, operator: str, size: Size) -> Markup | None:
    """Gap against seconds per map, with the front as steps and every method's name; None with nothing to draw."""
    scored = points_of(card, operator)
    if not scored:
        return None
    across = _time_axis([seconds for _, _, seconds in scored], size)
    up = _gap_axis([gap for _, gap, _ in scored], size.height - size.bottom, size.top)
    points = [
        Point(m, g, s, across.at(max(s.value, _FASTEST)), up.at(g.value), own=operator in m.operators)
        for m, g, s in scored
    ]
    front = _front(card, operator, points)
    title = f"Gap under {operator} against seconds per map"
    parts = [
        _pareto_grid(across, up, size, points),
        polyline(_corners(front, across), "front"),
        *(_whisker(p, across, up) for p in points),
    ]
    corners = _corners(front, across)
    zero = (across.start, up.at(0.0)), (across.end, up.at(0.0))
    lines = [zero, *pairwise(corners), *(span for point in points for span in _spans(point, across, up))]
    parts += [*_names(points, {p.method.name for p in front}, size, lines), *(_mark(point) for point in points)]
    return chart(*parts, width=size.width, height=size.height, title=title, summary=_front_words(front))


def _time_axis(seconds: Sequence[Figure], size: Size) -> Axis:
    low, high = max(min(figure.low for figure in seconds), _FASTEST), max(figure.value for figure in seconds)
    end = max(high * 1.9, 3.8 * _FASTEST, *(figure.high for figure in seconds))  # room for a name beside the last point
    return Axis(low / 1.7, end, size.left, size.width - size.right, log=True)


def _gap_axis(gaps: Sequence[Figure], start: float, end: float) -> Axis:
    low, high = min(0.0, *(gap.low for gap in gaps)), max(0.0, *(gap.high for gap in gaps))
    room = 0.06 * (high - low) or 0.1
    return Axis(low - room, high + room, start, end)


def _front(card: Card, operator: str, points: Sequence[Point]) -> list[Point]:
    """The points of the front as the scorecard names them, fastest first."""
    names = (card.raw.get("front") or {}).get(operator) or []
    return sorted((point for point in points if point.method.name in names), key=lambda point: point.seconds.value)


def _front_words(front: Sequence[Point]) -> str:
    texts = [f"{p.method.name}: {words.with_interval(p.gap)} in {words.span(p.seconds.value)}" for p in front]
    return f"On the front, fastest first: {'; '.join(texts)}." if texts else "The table below has the figures."


def _pareto_grid(across: Axis, up: Axis, size: Size, points: Sequence[Point]) -> Markup:
    floor, parts = up.start, []
    for value, label in zip(up.ticks(6), words.ticks(up.ticks(6)), strict=True):
        parts.append(line(across.start, up.at(value), across.end, up.at(value), "grid" if value else "base"))
        parts.append(text(across.start - 7, up.at(value) + 4, label, "tick", "end"))
    for value in across.ticks(6):
        parts.append(line(across.at(value), floor, across.at(value), floor + 5, "base"))
        parts.append(text(across.at(value), floor + 19, words.span(value, True), "tick", "middle"))
    parts.append(text(across.start - size.left + 4, 12, "↑ gap: more faithful", "axis"))
    clamped = any(point.seconds.value < _FASTEST for point in points)
    faster = f"; below {words.span(_FASTEST, True)} at the edge" if clamped else ""
    parts.append(text(across.end, floor + 37, f"seconds per map, log{faster} →", "axis", "end"))
    return group(*parts)


def _corners(front: Sequence[Point], across: Axis) -> list[tuple[float, float]]:
    """The corners of the line of the best gap by time: it rises at each point of the front and runs to the end."""
    if not front:
        return []
    corners = [(front[0].x, front[0].y)]
    for point in front[1:]:
        corners += [(point.x, corners[-1][1]), (point.x, point.y)]
    return [*corners, (across.end, corners[-1][1])]


def _spans(point: Point, across: Axis, up: Axis) -> list[Line]:
    """The whiskers of a point: the interval of its gap, and that of its seconds where it is long enough to see."""
    spans = [((point.x, up.at(point.gap.low)), (point.x, up.at(point.gap.high)))]
    low, high = (across.at(max(end, _FASTEST)) for end in (point.seconds.low, point.seconds.high))
    return [*spans, ((low, point.y), (high, point.y))] if high - low > 4 else spans


def _whisker(point: Point, across: Axis, up: Axis) -> Markup:
    parts = [line(*start, *end, "whisker") for start, end in _spans(point, across, up)]
    return group(*parts, class_="ours" if point.method.ours else None)


def _mark(point: Point) -> Markup:
    label = f"{point.method.name}: gap {words.with_interval(point.gap)}, {words.span(point.seconds.value)} per map"
    marker = glyph(point.method.family, point.x, point.y, point.method.ours)
    return group(element("title", label), marker, class_="ours" if point.method.ours else None)


def _names(points: Sequence[Point], front: set[str], size: Size, lines: Sequence[Line] = ()) -> list[Markup]:
    within = Box(size.left + 2, size.top - 8, size.width - 2, size.height - size.bottom + 2)
    boxes = placed([(point.x, point.y) for point in points], [p.name for p in points], size.letters, within, lines)
    return [
        _name(point, box, point.method.name in front, size.letters) for point, box in zip(points, boxes, strict=True)
    ]


def _name(point: Point, box: Box, on_front: bool, letters: float) -> Markup:
    """The name in the middle of its box, with a thin line to its point if that is further off."""
    near = box.nearest(point.x, point.y)
    parts = []
    if math.dist(near, (point.x, point.y)) > 14:
        parts.append(line(point.x, point.y, *near, "leader"))
    classes = ["name", *(["on-front"] if on_front else [])]
    words_at = text((box.left + box.right) / 2, box.bottom - letters * 0.27, point.name, " ".join(classes), "middle")
    return group(*parts, words_at, class_="ours" if point.method.ours else None)


def lead_chart(card: Card, lost: Sequence[Loss]) -> Markup:
    """The chart of the methods ahead of our best under each operator: a dot with its interval each."""
    left = max(152.0, 7.2 * max(len(loss.other) + 2 for loss in lost))
    width = left + 228
    axis = Axis(
        min(0.0, *(loss.ahead.low for loss in lost)), max(loss.ahead.high for loss in lost) * 1.05, left, width - 48
    )
    y, rows = 4.0, []
    for operator, losses in groupby(lost, key=lambda loss: loss.operator):
        some = list(losses)
        rows.append(text(0, y + 17, f"{f'under {operator}, ' if operator else ''}of {some[0].ours}", "tick"))
        y += 23
        for loss in some:
            rows.append(_lead_row(card, loss, axis, y + 12, width))
            y += 24
        y += 7
    grid = [line(axis.at(v), 6, axis.at(v), y, "grid" if v else "base") for v in axis.ticks(3)]
    labels = zip(axis.ticks(3), words.ticks(axis.ticks(3), sign=True), strict=True)
    ticks = [text(axis.at(v), y + 17, label, "tick", "middle") for v, label in labels]
    summary = "; ".join(f"{loss.other} under {loss.operator}: {words.with_interval(loss.ahead)}" for loss in lost)
    title = "How far others are ahead of our best"
    return chart(*grid, *ticks, *rows, width=width, height=y + 24, title=title, summary=summary)


def _lead_row(card: Card, loss: Loss, axis: Axis, y: float, width: float) -> Markup:
    family = next((method.family for method in card.methods if method.name == loss.other), "other")
    x = axis.at(loss.ahead.value)
    return group(
        element("title", f"{loss.other}: ahead by {words.with_interval(loss.ahead)}"),
        text(0, y + 4.5, f"{loss.other}{' †' if loss.own else ''}{'' if loss.significant else ' ‡'}", "label"),
        line(axis.at(loss.ahead.low), y, axis.at(loss.ahead.high), y, "whisker"),
        glyph(family, x, y), text(width, y + 4.5, words.signed(loss.ahead.value), "value", "end"),
        class_="ahead",
    )  # fmt: skip


def between_models(first: Card, second: Card, size: Size) -> Markup | None:
    """The chart of the gaps on two models, each under its primary operator; on the diagonal they are equal."""
    pairs = [(m, first.score(m.name), second.score(m.name)) for m in first.methods]
    scored = [(method, gap_x, gap_y) for method, gap_x, gap_y in pairs if gap_x and gap_y]
    if len(scored) < 2:
        return None
    across = _gap_axis([gap_x for _, gap_x, _ in scored], size.left, size.width - size.right)
    up = _gap_axis([gap_y for _, _, gap_y in scored], size.height - size.bottom, size.top)
    points = [Point(m, gap_y, gap_x, across.at(gap_x.value), up.at(gap_y.value)) for m, gap_x, gap_y in scored]
    parts = [_between_grid(across, up, first.model, second.model)]
    parts += [_diagonal(across, up)] if first.primary == second.primary else []
    parts += _names(points, set(), size)
    parts += [_between_mark(point) for point in points]
    title = f"Gap on {second.model} against gap on {first.model}"
    summary = f"{len(scored)} methods; the table of each model has the figures."
    return chart(*parts, width=size.width, height=size.height, title=title, summary=summary)


def _between_grid(across: Axis, up: Axis, first: str, second: str) -> Markup:
    parts = []
    for value, label in zip(up.ticks(5), words.ticks(up.ticks(5)), strict=True):
        parts.append(line(across.start, up.at(value), across.end, up.at(value), "grid" if value else "base"))
        parts.append(text(across.start - 7, up.at(value) + 4, label, "tick", "end"))
    for value, label in zip(across.ticks(5), words.ticks(across.ticks(5)), strict=True):
        parts.append(line(across.at(value), up.start, across.at(value), up.end, "grid" if value else "base"))
        parts.append(text(across.at(value), up.start + 19, label, "tick", "middle"))
    parts.append(text(4, 12, f"↑ gap on {second}", "axis"))
    parts.append(text(across.end, up.start + 37, f"gap on {first} →", "axis", "end"))
    return group(*parts)


def _diagonal(across: Axis, up: Axis) -> Markup:
    low, high = max(across.low, up.low), min(across.high, up.high)
    return line(across.at(low), up.at(low), across.at(high), up.at(high), "diagonal")


def _between_mark(point: Point) -> Markup:
    first, second = words.with_interval(point.seconds), words.with_interval(point.gap)
    label = f"{point.method.name}: {first} on the first, {second} on the second"
    ours = point.method.ours
    return group(
        element("title", label), glyph(point.method.family, point.x, point.y, ours), class_="ours" if ours else None
    )
