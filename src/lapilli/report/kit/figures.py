"""Numbers as text. The same number always reads the same, in the text, the tables and the charts."""

import math
from typing import TypeGuard

from lapilli.core.statistics.proportion import Proportion

THIN = "\u202f"
"""A narrow space that does not break, between a number and its unit."""


NONE = "–"
"""The text in the place of a missing number."""


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a figure: results have none, or nan, where there were too few samples for it."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """-0.456 -> −0.46, with a true minus sign, a plus on request and no sign for 0; a dash for no number."""
    if not is_number(value):
        return NONE
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return (text if float(text) else text.lstrip("+-")).replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """0.7134 -> 71.3 %, with a true minus sign; a dash for no number."""
    if not is_number(share):
        return NONE
    return f"{number(100 * share, digits)}{THIN}%"


def interval(low: float, high: float) -> str:
    """0.6932, 0.7321 -> 69.3–73.2 %."""
    return f"{100 * low:.1f}–{100 * high:.1f}{THIN}%"


def within(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval: 0.43 [0.35, 0.54]."""
    return f"{number(value)} [{number(low)}, {number(high)}]"


def points(difference: float | None) -> str:
    """A difference of two shares: 0.331 -> +33.1, with a true minus sign; a dash for no number."""
    if not is_number(difference):
        return NONE
    return f"{100 * difference:+.1f}".replace("-", "−")


def rate(proportion: Proportion | None) -> str:
    """The estimate and its interval; a dash for None and for no trials."""
    if proportion is None or not proportion.n:
        return NONE
    return f"{percent(proportion.estimate)} ({interval(proportion.low, proportion.high)})"


def whole(number: float) -> str:
    """1234567 -> 1,234,567."""
    return f"{number:,.0f}"


def counted(number: float, noun: str) -> str:
    """1, step -> 1 step; 1234 -> 1,234 steps."""
    return f"{whole(number)} {noun}{'' if number == 1 else 's'}"


def short(number: float) -> str:
    """1234567 -> 1.2 M. Three digits or fewer stay as they are."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{THIN}{unit}"
    return whole(number)


def duration(seconds: float) -> str:
    """0.42 -> 0.4 s, 75 -> 1 min 15 s, 4000 -> 1 h 7 min."""
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{THIN}h {minutes}{THIN}min"
    return f"{minutes}{THIN}min {rest}{THIN}s" if minutes else f"{rest}{THIN}s"


def minutes(seconds: float) -> str:
    """The duration in words for a headline: 684 -> 11 minutes, 40 -> 40 seconds."""
    count, unit = (seconds / 60, "minute") if seconds >= 90 else (seconds, "second")
    number = round(count)
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def size(count: float) -> str:
    """Bytes: 3_400_000_000 -> 3.4 GB."""
    for bytes_each, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= bytes_each:
            return f"{count / bytes_each:.1f}{THIN}{unit}"
    return f"{whole(count)}{THIN}B"


def loss(value: float | None) -> str:
    """Three significant digits; "not finite" for None, infinity and NaN."""
    if value is None or not math.isfinite(value):
        return "not finite"
    return f"{value:.3g}"


def learning_rate(value: float) -> str:
    """Three significant digits, in the shorter of both notations."""
    return f"{value:.3g}"
