"""The figures of the study that are wanted, and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from lapilli.report.kit.figures import NONE, THIN, is_number, number


def select(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> list[Mapping[str, Any]]:
    """Return the rows whose fields have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def digits(figure: Mapping[str, Any]) -> int:
    """The number of decimals that a figure needs, from 2 to 6.

    Two from 0.1 on, three below, four below 0.01, and more where one of its numbers would be rounded to 0.
    """
    sizes = [abs(figure[name] or 0.0) for name in ("value", "low", "high")]
    least = min((size for size in sizes if size), default=1.0)
    wanted = 2 if max(sizes) >= 0.1 else 3 if max(sizes) >= 0.01 else 4
    return next((count for count in range(wanted, 6) if least >= 0.5 * 10**-count), 6)


def spread(figure: Mapping[str, Any], digits: int = 2) -> str:
    """The interval of a figure: [0.12, 0.34]; "" where there are too few samples for one."""
    if not (is_number(figure.get("low")) and is_number(figure.get("high"))):
        return ""
    return f"[{number(figure['low'], digits)}, {number(figure['high'], digits)}]"


def with_interval(figure: Mapping[str, Any], digits: int = 2) -> str:
    """A figure with its interval."""
    return f"{number(figure['value'], digits)} {spread(figure, digits)}".strip()


def chance(p: float | None) -> str:
    """0.0312 -> p = 0.031; 0.00002 -> p < 0.001."""
    if p is None:
        return NONE
    return f"p{THIN}<{THIN}0.001" if p < 0.001 else f"p{THIN}={THIN}{p:.3f}"


def possible(p: float | None, least: float, level: float) -> str:
    """The p as text, or that nothing can be tested, where the smallest possible p (`least`) is not below the level."""
    return chance(p) if least < level else f"cannot be tested: p{THIN}≥{THIN}{least:.3f}"
