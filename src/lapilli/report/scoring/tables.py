"""Results of scored files as tables of text."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from lapilli.report.kit.figures import NONE, is_number

_APART = "_interval"
_HIDDEN = {"benchmark", "n"}
_MOST_LABELS = 6  # of a confusion table


@dataclass(frozen=True)
class Table:
    """Text in rows under `columns`, and what is to be said of them."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    note: str


def figure_table(result: Mapping[str, Any]) -> Table:
    """Every number of a file's result with its 95 % interval, and n where it is stated beside it."""
    return Table(("figure", "value", "95 % interval", "n"), list(_rows(result, "", "")), "intervals by picture")


def model_table(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every figure that has an interval, a row each, with a column for each file."""
    cells = {
        name: {row[0]: f"{row[1]} [{row[2].replace(' to ', ', ')}]" for row in _rows(result, "", "") if row[2]}
        for name, result in models.items()
    }
    kinds = dict.fromkeys(figure for of in cells.values() for figure in of)
    rows = [[kind, *(of.get(kind, NONE) for of in cells.values())] for kind in kinds]
    return Table(("figure", *short_names(list(models)).values()), rows, "with 95 % intervals, by picture")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The names of files without the words that all of them begin and end with, unless nothing is left of one."""
    words = [re.findall(r"[^_.\-/ ]+|[_.\-/ ]", name) for name in names]
    start, end = _common(words), _common([row[::-1] for row in words])
    short = {name: "".join(row[start : len(row) - end]) for name, row in zip(names, words, strict=True)}
    return short if len(names) > 1 and all(short.values()) else {name: name for name in names}


def _common(rows: Sequence[Sequence[str]]) -> int:
    """How many entries all rows begin with in common."""
    columns = zip(*rows, strict=False)  # as far as the shortest
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _rows(of: Mapping[str, Any], path: str, n: str) -> Iterator[list[str]]:
    n = str(of.get("n", n))
    for name, value in of.items():
        if name in _HIDDEN or name.endswith(_APART):
            continue
        if isinstance(value, Mapping):
            yield from _rows(value, f"{path}{name} ", n)
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            low, high = of.get(name + _APART) or (None, None)
            ends = f"{number(low)} to {number(high)}" if is_number(low) else ""
            yield [f"{path}{name}".replace("_", " "), number(value), ends, n if ends else ""]


def number(value: float | None) -> str:
    """A count as it is, a share to three digits, what is larger to one; a dash for no number."""
    if not is_number(value):
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> Table:
    """A row for every pair of files."""
    tests = ", ".join(dict.fromkeys(row["test"] for row in comparisons))
    scores = ", ".join(dict.fromkeys(row["score"] for row in comparisons))
    note = "detectable: the least true difference that so many questions would show four times in five"
    binary = any(row["first_only"] is not None for row in comparisons)
    columns = ("first less second", "n", "difference", "p", "p (Holm)", "detectable", "one right")[: 7 if binary else 6]
    short = short_names(list(dict.fromkeys(row[name] for row in comparisons for name in ("first", "second"))))
    rows = [_compared(row, short)[: len(columns)] for row in comparisons]
    return Table(columns, rows, f"difference of {scores}; p by {tests}; {note}")


def _compared(row: Mapping[str, Any], short: Mapping[str, str]) -> list[str]:
    low, high = map(number, row["difference_interval"])
    only = f"{row['first_only']} : {row['second_only']}" if row["first_only"] is not None else ""
    difference = f"{number(row['difference'])} [{low}, {high}]"
    figures = [number(row[name]) for name in ("p", "p_holm", "detectable")]
    return [f"{short[row['first']]} less {short[row['second']]}", number(row["n"]), difference, *figures, only]


def confusion(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """How often each label got each answer; None where there are many labels."""
    labels = sorted({row["expected"] for row in rows})
    if not 2 <= len(labels) <= _MOST_LABELS:
        return None
    counts = Counter((row["expected"], row["parsed"] if row["parsed"] in labels else "") for row in rows)
    columns = [*labels, ""]
    body = [[label, *(f"{counts[label, answer]:,}" for answer in columns)] for label in labels]
    return Table(("label", *labels, "another or none"), body, "rows are labels, columns are answers")
