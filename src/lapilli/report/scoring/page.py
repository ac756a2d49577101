"""The page `score.html`: scores of files of answers, their worst and best answers, and what differs between two."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lapilli.core.files import write_atomically
from lapilli.core.terminal import printable
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style
from lapilli.report.scoring.tables import comparison_table, confusion, figure_table, model_table

Rows: TypeAlias = Sequence[Mapping[str, Any]]

_LISTED = 100  # answers of each kind
_LONGEST = 300  # characters of a text


def write_page(benchmark: str, parts: Mapping[str, Any], rows: Mapping[str, Rows], out: Path) -> None:
    """Write the page to `out`; `parts` and `rows` are plain values, `rows` by the name of each file of answers.

    Raises LapilliError where it cannot be written.
    """
    write_atomically(out, render(benchmark, parts, rows))


def render(benchmark: str, parts: Mapping[str, Any], rows: Mapping[str, Rows]) -> str:
    """Return the page as text. All text of the answers is escaped; the page has no script and fetches nothing."""
    templates = environment("scoring", (figures.counted, figures.whole, cut))
    return templates.get_template("score.html.jinja").render(
        style=style(templates, "page.css", "score.css"),
        benchmark=benchmark,
        files=[_file(name, parts["models"][name], of) for name, of in rows.items()],
        models=model_table(parts["models"]) if len(rows) > 1 else None,
        comparisons=comparison_table(parts["comparisons"]) if parts["comparisons"] else None,
        changes=_changes(rows) if len(rows) == 2 else None,
    )


def _file(name: str, result: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """A file's tables, and its worst and best answers: those of equal score in their order."""
    ordered = sorted(rows, key=lambda row: row["score"])
    middle = sum(row["score"] for row in rows) / len(rows)
    return {
        "name": name,
        "n": len(rows),
        "figures": figure_table(result),
        "confusion": confusion(rows),
        "kinds": {
            "Worst": [row for row in ordered if row["score"] < middle or not row["score"]][:_LISTED],
            "Best": [row for row in reversed(ordered) if row["score"] > middle or row["score"] == 1][:_LISTED],
        },
    }


def _changes(rows: Mapping[str, Rows]) -> dict[str, Any]:
    """The answers to one question that two files scored differently, the largest differences first."""
    (_, first), (_, second) = rows.items()
    others = {(row["id"], row["group"]): row for row in second}
    pairs = [(row, others[row["id"], row["group"]]) for row in first if (row["id"], row["group"]) in others]
    changed = sorted(
        (pair for pair in pairs if pair[0]["score"] != pair[1]["score"]),
        key=lambda pair: -abs(pair[0]["score"] - pair[1]["score"]),
    )
    return {"names": list(rows), "n": len(changed), "pairs": changed[:_LISTED]}


def cut(text: str) -> str:
    """A text as the page shows it, with what browsers obey or hide written out; rows.jsonl has the whole."""
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …")
