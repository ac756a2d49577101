"""A scorecard on a terminal: where ours lose, every method's gaps, and what becomes of its maps under sanity tests."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from lapilli.cli.console import results, say
from lapilli.report.kit.figures import NONE, counted, number
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import read_card

_LEFT_OUT = {
    "overall_color": "where the picture's overall color is enough",
    "most_pictures": "that most pictures leave about as likely",
    "no_picture": "that need no picture",
}
_SIGNS = {"low": " ↓", "high": " ↑"}


def print_head(result: dict[str, Any]) -> None:
    """Where ours lose, before all else, what ours is there, and what the figures rest on."""
    if "best" not in result:
        say(words.OLDER)
    for loss in result["losses"] if "best" in result else ():
        interval = f"{loss['difference']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}], {loss['operator']}"
        say(f"{loss['other']} is ahead of {loss['ours']} by {interval}; Holm's p {loss['holm']:.2g}")
    if few := words.untestable(read_card(result)):
        say(few)
    for best in result.get("best", ()):
        chosen = f"chosen on {counted(best['chosen_on'], 'question')} and " if best["chosen_on"] else ""
        value, low, high = (number(best[name], 3) for name in ("value", "low", "high"))
        gap = f"gap {value}" if NONE in (low, high) else f"gap {value} [{low}, {high}]"
        say(f"our best under {best['operator']}: {best['method']}, {chosen}compared on {best['n']}: {gap}")
    counts = result["counts"]
    questions = f"{counts['asked']} asked, one of a picture; {counts['right']} right; {counts['kept']} kept"
    say(f"{counts['given']} questions given; {questions}")
    apart = [f"{counts[name]} {says}" for name, says in _LEFT_OUT.items() if counts.get(name)]
    if apart:
        say(f"left out: {', '.join(apart)}")
    compared = min([counts["kept"], *(best["n"] for best in result.get("best", ()))])
    if few := words.narrow(counts["kept"], compared):
        say(few)


def print_gaps(result: dict[str, Any]) -> None:
    """Every method's gap under every operator, ours marked, the best first."""
    primary, operators = result["settings"]["primary"], [one["name"] for one in result["settings"]["operators"]]
    by_key = {(row["method"], row["operator"], row["metric"]): row for row in result["scores"]}
    note = "insertion less deletion, 0 is chance, with 95 % intervals"
    note += f", n = {result['counts']['kept']}; flips under {primary}; * ours"
    first = Column("method", overflow="fold")
    table = Table(first, *operators, "flip", "pointing", "ms", box=SIMPLE_HEAD, pad_edge=False, caption=note)
    for method in sorted(result["methods"], key=lambda one: -by_key[one["name"], primary, "gap"]["value"]):
        name = method["name"]
        gaps = [_with_interval(by_key[name, operator, "gap"]) for operator in operators]
        others = [by_key.get((name, *key)) for key in ((primary, "flip"), (None, "pointing"))]
        values = [f"{row['value']:.2f}" if row else NONE for row in others]
        table.add_row(name + " *" * method["ours"], *gaps, *values, f"{1000 * method['seconds']['value']:.3g}")
    results.print(table)


def print_sanity(result: dict[str, Any]) -> None:
    """What becomes of every method's map under every sanity test, ours first; nothing where none was made.

    The table is as wide as it must be: a terminal breaks lines, but leaves nothing out.
    """
    methods, tests = list(dict.fromkeys(row["method"] for row in result["sanity"])), result["sanity_tests"]
    if not methods:
        return
    note = f"likeness to the first map, of up to {result['settings']['sanity_n']} questions; ↓ low is good, ↑ high"
    heads = [test["name"] + _SIGNS.get(test["good"], "") for test in tests]
    titles = [Column(head, justify="right", min_width=max(map(len, head.split()))) for head in heads]
    table = Table("method", *titles, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=note)
    table.width = max(map(len, methods)) + sum(2 + (title.min_width or 0) for title in titles)
    for method in methods:
        by_test = {row["test"]: row for row in result["sanity"] if row["method"] == method}
        values = [by_test[test["name"]] for test in tests]
        table.add_row(method, *(f"{round(row['value'], 2) + 0.0:.2f}" if row["n"] else NONE for row in values))
    results.print(table, crop=False)


def _with_interval(row: dict[str, Any]) -> str:
    """A figure with its interval; without, where there are too few samples for one."""
    if row["low"] is None or row["high"] is None:
        return f"{row['value']:.2f}"
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
