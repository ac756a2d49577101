"""A picture of scores by category: a point with its interval in each row, and a line where both are as good."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from lapilli.core.terminal import printable
from lapilli.report.kit.figures import is_number, number
from lapilli.report.kit.svg import Axis, chart, group, line, shape, text

_WIDTH, _ROW, _LEFT, _RIGHT, _FOOT = 620.0, 34.0, 130.0, 96.0, 34.0
_MARGIN = 5.0
_EQUAL = 100.0
_CUT = 16  # characters of a category
_DIAMOND = ((0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0))


def score_chart(rows: Mapping[str, Mapping[str, Any]]) -> Markup:
    """The relative score of each category, all first: 100 is as good as the reference."""
    known = {printable(name): row for name, row in rows.items() if is_number(row.get("relative"))}
    if not known:
        return Markup("")
    values = [_EQUAL, *(value for row in known.values() for value in _span(row))]
    low, high = min(values) - _MARGIN, max(values) + _MARGIN
    axis = Axis(low, high, _LEFT, _WIDTH - _RIGHT)
    height = _ROW * len(known) + _FOOT
    bottom = height - _FOOT
    ticks = [
        part
        for value in axis.ticks()
        for part in (
            line(axis.at(value), 0, axis.at(value), bottom, "grid"),
            text(axis.at(value), bottom + 20, f"{value:g}", "tick", "middle"),
        )
    ]
    marks = [_row(name, row, axis, _ROW * (at + 0.5)) for at, (name, row) in enumerate(known.items())]
    equal = line(axis.at(_EQUAL), 0, axis.at(_EQUAL), bottom, "equal")
    summary = "; ".join(f"{name} {_label(row)}" for name, row in known.items())
    return chart(*ticks, equal, *marks, width=_WIDTH, height=height, title="Relative score", summary=summary)


def _span(row: Mapping[str, Any]) -> list[float]:
    """The values that a row needs room for: its figure, and the ends of its interval where there is one."""
    return [value for value in (row["relative"], *(row.get("relative_interval") or ())) if is_number(value)]


def _row(name: str, row: Mapping[str, Any], axis: Axis, y: float) -> Markup:
    low, high = row.get("relative_interval") or (None, None)
    short = name if len(name) <= _CUT else f"{name[:_CUT]}…"
    parts = [text(_LEFT - 14, y + 5, short, "name", "end")]
    if is_number(low) and is_number(high):
        parts.append(line(axis.at(low), y, axis.at(high), y, "whisker"))
    parts.append(shape(axis.at(row["relative"]), y, _DIAMOND, "point"))
    parts.append(text(_WIDTH - _RIGHT + 14, y + 5, f"{number(row['relative'], 1)}  n {row['n']}", "value"))
    return group(*parts, class_="all" if name == "all" else None)


def _label(row: Mapping[str, Any]) -> str:
    low, high = row.get("relative_interval") or (None, None)
    ends = f", {number(low, 1)} to {number(high, 1)}" if is_number(low) and is_number(high) else ""
    return f"{number(row['relative'], 1)}{ends}"
