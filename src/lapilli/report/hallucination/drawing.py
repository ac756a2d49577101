"""The charts of the page, and the maps on its pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from lapilli.report.hallucination.story import Result, area_of, within
from lapilli.report.kit.figures import number
from lapilli.report.kit.svg import WIDTH, Axis, chart, element, group, line, text

_ROW = 34.0
_TOP = 6.0
_FAMILIES = {"confidence": "sure", "parts": "part", "map": "map", "control": "control"}

GROUPS = {"wrong yes": "made-up yes", "right yes": "grounded yes", "right no": "right no"}
"""The groups of answers, as the page calls them."""

PARTS = {
    "image": "from the picture",
    "question": "from the question",
    "prior": "from all else",
    "full": "together: the margin",
    "blank": "the margin, picture blank",
}


def areas(result: Result, task: str) -> Markup:
    """The chart of the areas: every score with its interval, every model as a small mark, the baseline upright."""
    pairs = [(score, area_of(result, task, score["name"])) for score in result["scores"]]
    scored = [(score, area) for score, area in pairs if area is not None]
    axis = Axis(0.0, 1.0, 10.0, WIDTH - 46.0)
    floor = _TOP + _ROW * len(scored)
    base = area_of(result, task, result["settings"]["baseline"])
    marks = [_area(result, score, area, axis, _TOP + _ROW * at) for at, (score, area) in enumerate(scored)]
    lines = [line(axis.at(0.5), _TOP, axis.at(0.5), floor, "base")]
    if base is not None:
        lines.append(line(axis.at(base["value"]), _TOP, axis.at(base["value"]), floor, "stick"))
    title = next(entry["asks"] for entry in result["tasks"] if entry["name"] == task)
    return chart(
        _grid(axis, floor), *lines, *marks,
        width=WIDTH, height=floor + 24, title=title, summary="Areas under the ROC curve by score.",
    )  # fmt: skip


def _grid(axis: Axis, floor: float) -> Markup:
    ticks = axis.ticks(4)
    words = [text(axis.at(value), floor + 17, f"{value:g}".replace("-", "−"), "tick", "middle") for value in ticks]
    return group(*(line(axis.at(value), _TOP, axis.at(value), floor, "grid") for value in ticks), *words)


def _area(result: Result, score: Mapping[str, Any], area: Mapping[str, Any], axis: Axis, top: float) -> Markup:
    y = top + 24
    each = [area_of(result, area["task"], score["name"], model["label"]) for model in result["models"]]
    seeds = [element("circle", cx=axis.at(point["value"]), cy=y, r=2, class_="seed") for point in each if point]
    whisker = [] if area["low"] is None else [line(axis.at(area["low"]), y, axis.at(area["high"]), y, "whisker")]
    parts = [
        element("title", f"{score['title']}: {within(area)}, n = {area['n']}. {score['says']}"),
        text(axis.start, top + 14, score["title"], "label"),
        text(WIDTH - 6, top + 28, number(area["value"]), "value", "end"),
        *whisker,
        element("circle", cx=axis.at(area["value"]), cy=y, r=4.5, class_="dot"),
        *seeds,
    ]
    return group(*parts, class_=_FAMILIES[score["family"]])


def parts(result: Result) -> Markup:
    """The chart of the parts of margins by group of answers: the middle half, the middle 90 % and the median."""
    groups = [group for group in GROUPS if result["taken"][group]]
    values = {name: {group: result["parts"][group][name] for group in groups} for name in PARTS}
    every = [value for some in values.values() for numbers in some.values() for value in numbers]
    low, high = np.quantile(every, [0.005, 0.995])
    axis = Axis(float(low), float(high), 12.0, WIDTH - 12.0)
    height = 20.0 + 13.0 * len(groups)
    floor = _TOP + height * len(PARTS)
    blocks = [_block(PARTS[name], values[name], axis, _TOP + height * at) for at, name in enumerate(PARTS)]
    zero = line(axis.at(0), _TOP, axis.at(0), floor, "base") if axis.low <= 0 <= axis.high else Markup()
    return chart(
        _grid(axis, floor), zero, *blocks,
        width=WIDTH, height=floor + 24, title="What the margin is made of", summary="Logits for yes, by all paths.",
    )  # fmt: skip


def _block(words: str, values: Mapping[str, Sequence[float]], axis: Axis, top: float) -> Markup:
    boxes = [_box(some, name, axis, top + 22 + 13.0 * at) for at, (name, some) in enumerate(values.items())]
    return group(text(axis.start, top + 13, words, "label"), *boxes)


def _box(values: Sequence[float], name: str, axis: Axis, y: float) -> Markup:
    edges = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    low, left, middle, right, high = (axis.at(float(np.clip(edge, axis.low, axis.high))) for edge in edges)
    half = f"middle half {number(edges[1])} to {number(edges[3])}"
    words = f"{GROUPS[name]}: median {number(edges[2], sign=True)}, {half}"
    return group(
        element("title", words),
        line(low, y, high, y, "whisker"),
        element("rect", x=left, y=y - 4, width=max(1.0, right - left), height=8, rx=2, class_="half"),
        line(middle, y - 5.5, middle, y + 5.5, "middle"),
        class_=name.replace(" ", "-"),
    )


def overlay(values: Sequence[float], grid: Sequence[int], words: str) -> Markup:
    """A map of patches to lay over a picture: one color for patches that speak for yes, another against it."""
    rows, columns = grid
    largest = max(map(abs, values)) or 1.0
    cells = [
        element("rect", element("title", f"{number(value, sign=True)} logits"), x=column, y=row, width=1.02,
                height=1.02, class_="for" if value > 0 else "against",
                fill_opacity=f"{0.85 * abs(value) / largest:.3f}")
        for (row, column), value in zip(np.ndindex(rows, columns), values, strict=True)
    ]  # fmt: skip
    return element(
        "svg", *cells, viewBox=f"0 0 {columns} {rows}", role="img", aria_label=words, class_="overlay",
        preserveAspectRatio="none",
    )  # fmt: skip
