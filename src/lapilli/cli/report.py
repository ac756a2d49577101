"""`lapilli report`: the page of trainings, or of two evaluations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lapilli.cli.console import print_json, print_table, say
from lapilli.core.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `lapilli report` to the command line."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders of `lapilli train`, finished or not; or two of `lapilli eval`.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page; RUN/report.html if not given, or comparison.html in the first of several runs.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures that are drawn as one JSON object.")
    ] = False,
) -> None:
    """Draw trainings as one page: losses, benchmarks, sample answers, speed, ends. Or compare two evaluations.

    Several trainings lie over each other in the same axes, and one may still be going on: run it again for what is new.
    Evaluations of the same questions are compared answer by answer, by type of question.
    """
    runs = list(dict.fromkeys(runs))
    _require_few(runs)
    if _are_evaluations(runs):
        _compare(runs, out, as_json)
    else:
        _draw(runs, out, as_json)


def _require_few(runs: Sequence[Path]) -> None:
    from lapilli.report.kit.line_chart import COLORS

    if len(runs) > COLORS:
        raise UsageError(f"{len(runs)} runs: at most {COLORS} curves can be told apart; name fewer")


def _are_evaluations(runs: Sequence[Path]) -> bool:
    """Whether all runs are of `lapilli eval`. Raises UsageError where only some are, or not two.

    Raises LapilliError for a folder that is no run.
    """
    from lapilli.core.run import RunDir
    from lapilli.studies.paired_runs import is_evaluation

    kinds = [is_evaluation(RunDir.open(folder)) for folder in runs]
    if any(kinds) and (len(kinds) != 2 or not all(kinds)):
        folder = runs[kinds.index(True)]
        raise UsageError(f"{folder}: an evaluation, whose own page is eval.html; compare two of them, and nothing else")
    return any(kinds)


def _compare(runs: Sequence[Path], out: Path | None, as_json: bool) -> None:
    from lapilli.core.plain import plain
    from lapilli.report.evaluation.pairs import BRIEF, pairs_table, write_page
    from lapilli.studies.paired_runs import compare_runs

    first, second = runs
    parts = plain(compare_runs(first, second))
    page = out or first / "comparison.html"
    write_page(parts, page)
    if as_json:
        print_json({"page": page, **parts})
        return
    table = pairs_table(parts, BRIEF)
    print_table(table.columns, table.rows, table.note)
    say(f"{page}")


def _draw(runs: Sequence[Path], out: Path | None, as_json: bool) -> None:
    from lapilli.report.training.page import drawn, write_page
    from lapilli.report.training.read import read_runs

    read = read_runs(runs)
    page = out or runs[0] / ("comparison.html" if len(runs) > 1 else "report.html")
    write_page(read, page)
    if as_json:
        print_json({"page": page, "runs": drawn(read)})
    else:
        say(f"{page}")
