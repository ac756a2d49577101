"""`lapilli compare`: what a tuning changed inside a model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lapilli.cli.console import go_on, print_json, say
from lapilli.cli.options import (
    MOST,
    MOST_SEED,
    Base,
    Device,
    FormatControl,
    PictureQuestions,
    SecondTuning,
    Tuned,
    require_tuning,
)


def register(app: typer.Typer) -> None:
    """Add `lapilli compare` to the command line."""
    app.command("compare")(compare)


def compare(
    context: typer.Context,
    base: Base,
    tuned: Tuned,
    data: PictureQuestions,
    out: Annotated[Path, typer.Option(help="A run folder, with the page compare.html; an interrupted one continues.")],
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=MOST, help="Questions, of one picture and wording each; fewer where there are no more."
        ),
    ] = 500,
    floor: SecondTuning = None,
    format_control: FormatControl = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws pictures and questions.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What a tuning changed: hidden states of both models over depth, layers and weights, beside what changes anyway.

    Every figure has its band, what shuffled samples give, and its floors: the base run again and, with --floor, a
    second tuning. Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.compare.settings import RESULT
    from lapilli.studies.tuning import tuning

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    of = tuning(require_tuning(base, tuned, floor, format_control), data, samples, seed)
    from lapilli.report.compare.page import write_page
    from lapilli.studies.compare.study import opened, study  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    go_on(run, lambda progress: study(of, run, placement, progress))
    made, page = run.load(RESULT), out / "compare.html"
    write_page(made, page)  # after the run has finished: a page can be drawn again
    if as_json:
        print_json({"folder": out, **made})
    else:
        _print(made, page)


def _print(made: dict[str, Any], page: Path) -> None:
    """What changed most, and where the page is."""
    from lapilli.report.compare.story import headline, opening

    say(f"{headline(made)}.")
    for line in opening(made):
        say(line)
    say(f"{page}")
