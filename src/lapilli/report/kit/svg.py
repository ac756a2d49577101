"""Helpers to write charts as SVG: elements, axes, ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 412.0
"""Pixels: two charts side by side fill the page, one alone a phone without its letters growing too small."""


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return `<name attributes>children</name>`, with everything escaped that is not Markup already.

    In an attribute's name a trailing underscore is dropped (`class_`) and others become hyphens (`stroke_width`).
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup(f"<{name}{pairs}>{inside}</{name}>")


def _text(value: str | float) -> str:
    """An attribute as text: numbers with two decimals at most, as a hundredth of a pixel cannot be seen."""
    return value if isinstance(value, str) else f"{round(value, 2):g}"


def group(*children: str, **attributes: str | float | None) -> Markup:
    """A `<g>`."""
    return element("g", *children, **attributes)


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    """Words at a point; `anchor` is start, middle or end."""
    return element("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(points: list[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def shape(x: float, y: float, corners: Iterable[tuple[float, float]], class_: str) -> Markup:
    """A polygon; its corners are relative to its centre (x, y)."""
    points = " ".join(f"{x + dx:.2f},{y + dy:.2f}" for dx, dy in corners)
    return element("polygon", points=points, class_=class_)


def legend(side: float, mark: str) -> Markup:
    """A mark alone in a square of `side` pixels, for a legend with words beside it."""
    return element("svg", mark, viewBox=f"0 0 {side:g} {side:g}", class_="key", aria_hidden="true")


def chart(*children: str, width: float, height: float, title: str, summary: str) -> Markup:
    """A whole picture in pixels. A screen reader reads `title` and `summary`, not the marks one by one."""
    return element(
        "svg", element("title", title), element("desc", summary), *children,
        viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=f"{title}. {summary}", class_="chart",
    )  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """A scale from the values `low` to `high` to the pixels `start` to `end`, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, here = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / ((high - low) or 1.0)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values on the axis, `about` as many: steps of 1, 2, 2.5 or 5 times a power of ten."""
        if self.log:
            return self._log_ticks(about)
        rough = (self.high - self.low) / about or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = min((power * digit for digit in (1, 2, 2.5, 5, 10)), key=lambda step: abs(math.log(step / rough)))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]

    def _log_ticks(self, about: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**decade for decade in decades for digit in digits]
            values = [value for value in values if 0.999 * self.low <= value <= 1.001 * self.high]
            if len(values) <= about + 2:
                break
        return values
