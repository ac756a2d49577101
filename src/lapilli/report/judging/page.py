"""The page `judging.html`: scores by category with intervals, what order is worth to the judge, and every pair."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.terminal import printable
from lapilli.report.judging.chart import score_chart
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style

_LISTED = 100  # pairs of each kind that are shown
_LONGEST = 1_200  # characters of a text
_APART = "_interval"

Pairs = Sequence[Mapping[str, Any]]


def write_page(plan: Mapping[str, Any], report: Mapping[str, Any], pairs: Pairs, out: Path) -> None:
    """Write the page to `out`, from plain values: what was judged how, what it came to, and a row for each pair.

    Raises LapilliError where it cannot be written.
    """
    write_atomically(out, render(plan, report, pairs))


def render(plan: Mapping[str, Any], report: Mapping[str, Any], pairs: Pairs) -> str:
    """Return the page as text. All text of answers and judges is escaped; the page has no script."""
    templates = environment("judging", (figures.counted, figures.whole, figures.percent, cut, number, ends))
    groups = by_category(report["figures"])
    return templates.get_template("judging.html.jinja").render(
        style=style(templates, "page.css", "judging.css"),
        plan=plan,
        report=report,
        overall=groups.get("all"),
        groups=groups,
        chart=score_chart(groups),
        pairs=pairs,
        kinds=worst_and_best(pairs),
        apart=[pair for pair in pairs if pair["agree"] is False],
        unread=[pair for pair in pairs if any(_is_unread(one) for one in pair["judgements"])],
        most=_LISTED,
    )


def by_category(of: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of all pairs and of each category, without those that are about the replies."""
    beside = {"without_unparsed", "reparsed", "audit", "benchmark"}
    return {
        name: value
        for name, value in of.items()
        if isinstance(value, Mapping) and "relative" in value and name not in beside
    }


def worst_and_best(pairs: Pairs) -> dict[str, list[Mapping[str, Any]]]:
    """The pairs by how much better the answer is than the reference: those below it and those above, extremes first."""
    read = [pair for pair in pairs if pair["score"] is not None]
    ordered = sorted(read, key=_gain)
    return {
        "Worse than the reference": [pair for pair in ordered if _gain(pair) < 0],
        "Better than the reference": [pair for pair in reversed(ordered) if _gain(pair) > 0],
        "As good": [pair for pair in ordered if _gain(pair) == 0],
    }


def _gain(pair: Mapping[str, Any]) -> float:
    return float(pair["score"] - pair["reference_score"])


def _is_unread(one: Mapping[str, Any]) -> bool:
    return one["scores"] is None


def cut(text: str) -> str:
    """A text as the page shows it, with what browsers obey or hide written out; pairs.jsonl has the whole."""
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …")


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A figure, or a dash."""
    return figures.number(value, digits, sign)


def ends(of: Mapping[str, Any], name: str, digits: int = 1, scale: float = 1) -> str:
    """The interval of a figure in brackets; "" where it has none."""
    low, high = of.get(name + _APART) or (None, None)
    if not (figures.is_number(low) and figures.is_number(high)):
        return ""
    return f"[{figures.number(scale * low, digits)}, {figures.number(scale * high, digits)}]"
