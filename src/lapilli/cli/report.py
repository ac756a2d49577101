"""`lapilli report`: the page of trainings."""

from pathlib import Path
from typing import Annotated

import typer

from lapilli.cli.console import print_json, say
from lapilli.core.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `lapilli report` to the command line."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders of `lapilli train`, finished or not.", show_default=False),
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
    """Draw trainings as one page: losses, benchmarks, sample answers, speed, and how they ended.

    Several runs lie over each other in the same axes. A run may still be going on: run it again for what is new.
    """
    from lapilli.report.kit.line_chart import COLORS
    from lapilli.report.training.page import drawn, write_page
    from lapilli.report.training.read import read_runs

    runs = list(dict.fromkeys(runs))
    if len(runs) > COLORS:
        raise UsageError(f"{len(runs)} runs: at most {COLORS} curves can be told apart; name fewer")
    read = read_runs(runs)
    page = out or runs[0] / ("comparison.html" if len(runs) > 1 else "report.html")
    write_page(read, page)
    if as_json:
        print_json({"page": page, "runs": drawn(read)})
    else:
        say(f"{page}")
