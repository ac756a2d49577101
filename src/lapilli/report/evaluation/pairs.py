"""The page of two evaluations: their difference by type of question, and the answers that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.terminal import printable
from lapilli.report.evaluation.page import cut
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.pictures import is_data_uri

_PICTURED = 48  # answers of each direction that are shown with their pictures, about 20 KB each
_LISTED = 500  # that are listed without
_MEANINGS = {
    "first": "% right",
    "second": "",
    "difference": "difference: first less second, in points, with its 95 % interval by picture",
    "p": "p: of both being as good",
    "p (Holm)": "p (Holm): of both being as good, adjusted for all rows",
    "detectable": "detectable: the least true difference that so many questions would show four times in five",
    "one right": "one right: questions that only the first : only the second answers rightly",
}
BRIEF = ("first", "second", "difference", "p (Holm)", "detectable")
"""The figures for which a terminal has room."""


@dataclass(frozen=True)
class Table:
    """Text in rows under `columns`, and what is to be said of them."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    note: str


def pairs_table(parts: Mapping[str, Any], figures_of: Sequence[str] = tuple(_MEANINGS)) -> Table:
    """A row for every type of each benchmark with these figures; `parts` are those of two runs, as plain values."""
    tests = " or ".join(dict.fromkeys(row["compared"]["test"] for row in parts["types"]))
    rows = [_cells(row) for row in parts["types"]]
    columns = ("type", "n", *figures_of)
    meanings = [meaning for name in figures_of if (meaning := _MEANINGS[name])]
    return Table(columns, [[row[name] for name in columns] for row in rows], "; ".join([*meanings, f"p by {tests}"]))


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    of = row["compared"]
    low, high = of["difference_interval"]
    ends = f" [{figures.points(low)}, {figures.points(high)}]" if low != high else ""  # none where all differ alike
    least = figures.NONE if of["detectable"] is None else figures.number(100 * of["detectable"], 1)
    return {
        "type": f"{row['benchmark']} {row['type']}",
        "n": figures.whole(of["n"]),
        "first": figures.number(100 * row["first"], 1),
        "second": figures.number(100 * row["second"], 1),
        "difference": figures.points(of["difference"]) + ends,
        "p": figures.number(of["p"], 3),
        "p (Holm)": figures.number(of["p_holm"], 3),
        "detectable": least,
        "one right": f"{of['first_only']} : {of['second_only']}",
    }


def write_page(parts: Mapping[str, Any], out: Path) -> None:
    """Write the page of two runs compared to `out`. Raises LapilliError when it cannot be written."""
    write_atomically(out, render(parts))


def render(parts: Mapping[str, Any]) -> str:
    """Return the page as text. All text of the answers is escaped; the page has no script and fetches nothing."""
    templates = environment("evaluation", (figures.counted, figures.whole, plainly))
    sides = {name: _side(parts["changed"], at) for at, name in enumerate(parts["names"])}
    return templates.get_template("pairs.html.jinja").render(
        style=style(templates, "page.css", "eval.css"), parts=parts, table=pairs_table(parts), sides=sides
    )


def _side(changed: Sequence[Mapping[str, Any]], at: int) -> dict[str, Any]:
    """The questions that only this run answers rightly: the first with pictures, and others in a list."""
    ours = [row for row in changed if row["answers"][at]["right"]]
    cards = [row for row in ours if is_data_uri(row["uri"])][:_PICTURED]
    with_card = {id(row) for row in cards}
    rest = [row for row in ours if id(row) not in with_card]
    return {"n": len(ours), "cards": cards, "rest": rest[:_LISTED], "unlisted": max(0, len(rest) - _LISTED)}


def plainly(text: str) -> str:
    """A text as the page shows it, cut, with what browsers obey or hide written out."""
    return printable(cut(text))
