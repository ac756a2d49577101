"""Small panels of the curves: the rest of the answer as cells are removed, the same small chart for each method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lapilli.report.kit.svg import Axis, chart, line, polyline, text
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import GAP, Card, Method, number

_WIDTH, _HEIGHT, _FLOOR, _TOP = 150.0, 104.0, 88.0, 6.0


@dataclass(frozen=True)
class Panel:
    """A method's curves under one operator."""

    method: Method
    gap: str
    chart: Markup


def panels(card: Card, operator: str) -> list[tuple[str, list[Panel]]]:
    """Return the panels by family; none where the scorecard has no curves."""
    curves = (card.raw.get("curves") or {}).get(operator) or {}
    base = _both(curves.get("random"))
    by_family = [
        (
            family,
            [_panel(card, method, operator, curves[method.name], base) for method in methods if method.name in curves],
        )
        for family, methods in card.families()
    ]
    return [(family, members) for family, members in by_family if members]


def _panel(card: Card, method: Method, operator: str, curve: Mapping[str, Any], base: list[float]) -> Panel:
    gap = card.score(method.name, GAP, operator)
    cells = card.grid[0] * card.grid[1] if card.grid else None
    title = f"{method.name}: gap {words.with_interval(gap)}"
    curves = _chart(title, _values(curve, "morf"), _values(curve, "lerf"), base, cells)
    return Panel(method, words.plain(gap.value if gap else None), curves)


def _values(curve: Mapping[str, Any] | None, name: str) -> list[float]:
    return [value for value in map(number, (curve or {}).get(name) or []) if value is not None]


def _both(curve: Mapping[str, Any] | None) -> list[float]:
    """The mean of the curves of both orders: for a random map they differ by chance alone."""
    return [(a + b) / 2 for a, b in zip(_values(curve, "morf"), _values(curve, "lerf"), strict=False)]


def _chart(title: str, morf: list[float], lerf: list[float], base: list[float], cells: int | None) -> Markup:
    top = max(1.0, *morf, *lerf)
    across, up = Axis(0.0, 1.0, 15.0, _WIDTH - 6), Axis(min(0.0, *morf, *lerf), top, _FLOOR, _TOP)
    ends = (("0", "start"), (f"{cells} cells" if cells else "all", "end"))
    ticks = [text(across.at(i), _FLOOR + 13, *_tick(end)) for i, end in enumerate(ends)]
    sides = [text(across.start - 4, up.at(v) + 4, f"{v}", "tick", "end") for v in (0, 1)]
    frame = [line(across.start, up.at(v), across.end, up.at(v), "base" if not v else "grid") for v in (0, 1)]
    parts = [*frame, *ticks, *sides, *_between(morf, lerf, across, up)]
    parts += [
        polyline(_at(curve, across, up), kind)
        for curve, kind in ((base, "chance"), (lerf, "lerf"), (morf, "morf"))
        if curve
    ]
    half = (
        f"half of the cells gone: {_half(morf)} of the answer is left in the map's order, {_half(lerf)} in the reverse"
    )
    return chart(*parts, width=_WIDTH, height=_HEIGHT, title=title, summary=half)


def _tick(end: tuple[str, str]) -> tuple[str, str, str]:
    return end[0], "tick", end[1]


def _half(curve: Sequence[float]) -> str:
    return words.plain(curve[len(curve) // 2] if curve else None)


def _at(curve: Sequence[float], across: Axis, up: Axis) -> list[tuple[float, float]]:
    last = max(1, len(curve) - 1)
    return [(across.at(index / last), up.at(value)) for index, value in enumerate(curve)]


def _between(morf: list[float], lerf: list[float], across: Axis, up: Axis) -> list[Markup]:
    """The area between the curves, the gap; where the order is worse than its reverse, in another style."""
    if len(morf) != len(lerf) or len(morf) < 2:
        return []
    low = [min(a, b) for a, b in zip(morf, lerf, strict=True)]
    high = [max(a, b) for a, b in zip(morf, lerf, strict=True)]
    parts = []
    for floor, ceiling, kind in ((morf, high, "gain"), (low, morf, "fault")):
        if any(b - a > 1e-3 for a, b in zip(floor, ceiling, strict=True)):
            parts.append(polyline([*_at(ceiling, across, up), *reversed(_at(floor, across, up))], kind))
    return parts
