"""The charts of the page: windows as heat maps, layers from both ends as curves, and blocks as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lapilli.report.kit.figures import is_number
from lapilli.report.kit.heat_map import Labels, heat_map
from lapilli.report.kit.line_chart import Curve, line_chart
from lapilli.report.kit.svg import WIDTH, Axis, chart, element, group, line, text
from lapilli.report.patch.story import (
    CONTROLS,
    READOUTS,
    WAYS,
    Result,
    controls_of,
    exchange,
    layers,
    shapley,
    share_at,
    share_of,
    shared,
    window_at,
)

LOOKS = {"true": 0, "random": 7, "floor": 1, "control": 3}
"""The colors of the curves: the true parts, and the controls by source."""

_ROW, _LEFT, _RIGHT, _FOOT = 26.0, 92.0, 118.0, 24.0


def windows_map(result: Result, target: str, place: tuple[str, str]) -> Markup:
    """The share of the gain of every window: its first layer upwards, its last across."""
    one, depth = exchange(result, target, WAYS[target][0], place), result["depth"]
    table: dict[str, Any] = {name: [[None] * depth for _ in range(depth)] for name in ("value", "low", "high")}
    for window in result["windows"]:
        for name, value in zip(("value", "low", "high"), share_at(one, window["at"]), strict=True):
            table[name][window["start"]][window["stop"] - 1] = value
    words = f"Share of the gain, {WAYS[target][1]}: every window of layers"
    labels = Labels(words, f"{READOUTS[place[1]][0]}.", "first layer", "last layer")
    return heat_map({**table, "n": one["n"]}, labels, 1.0)


def cumulative_chart(result: Result, target: str, place: tuple[str, str], from_below: bool) -> Markup:
    """The share of the gain over the number of layers, from the first upwards or from the last downwards."""
    source, way = WAYS[target]
    sources = {"true": source, **{control: control for control in controls_of(result)}}
    curves = [
        _cumulative(result, exchange(result, target, of, place), name, from_below) for name, of in sources.items()
    ]
    end = "first" if from_below else "last"
    return line_chart(curves, f"Share of the gain, {way}, from the {end} layer on", share_of, unit="layer")


def _cumulative(result: Result, one: Mapping[str, Any], name: str, from_below: bool) -> Curve:
    depth = result["depth"]
    points, intervals = [(0.0, 0.0)], [(0.0, 0.0)]
    for count in range(1, depth + 1):
        at = window_at(result, *((0, count) if from_below else (depth - count, depth)))
        if at not in one["numbers"]:  # a control of a deep model
            continue
        value, low, high = share_at(one, at)
        if is_number(value) and is_number(low) and is_number(high):
            points.append((float(count), value))
            intervals.append((low, high))
    return Curve(CONTROLS.get(name, "the true parts"), LOOKS[name], points, intervals)


def blocks_chart(result: Result, target: str, place: tuple[str, str]) -> Markup:
    """The Shapley share of every block as a bar with its interval."""
    shares = shapley(result, target, place)["share"]
    rows = list(zip(shares["value"], shares["low"], shares["high"], strict=True))
    known = [value for row in rows for value in row if is_number(value)]
    if not known:
        return Markup("")
    axis = Axis(min(0.0, *known), max(0.0, *known), _LEFT, WIDTH - _RIGHT)
    floor = _ROW * len(rows)
    names = [layers(block[0], block[-1] + 1) for block in result["blocks"]]
    bars = [_bar(name, row, axis, _ROW * at) for at, (name, row) in enumerate(zip(names, rows, strict=True))]
    ticks = [
        part
        for value in axis.ticks(3)
        for part in (
            line(axis.at(value), 0, axis.at(value), floor, "grid"),
            text(axis.at(value), floor + 17, share_of(value), "tick", "middle"),
        )
    ]
    summary = "; ".join(f"{name} {shared(*row)}" for name, row in zip(names, rows, strict=True))
    title = f"Shapley shares of the gain, {WAYS[target][1]}"
    return chart(*ticks, *bars, width=WIDTH, height=floor + _FOOT, title=title, summary=summary)


def _bar(name: str, row: Sequence[float | None], axis: Axis, top: float) -> Markup:
    value, low, high = row
    middle, parts = top + _ROW / 2, [text(_LEFT - 10, top + _ROW / 2 + 4.5, name, "tick", "end")]
    if is_number(value) and is_number(low) and is_number(high):
        left, right = sorted((axis.at(0.0), axis.at(value)))
        parts.append(element("rect", x=left, y=top + 5, width=right - left, height=_ROW - 10, class_="bar"))
        parts.append(line(axis.at(low), middle, axis.at(high), middle, "whisker"))
        parts.append(text(axis.end + 10, middle + 4.5, shared(value, low, high), "tick"))
    return group(*parts)
