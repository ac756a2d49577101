"""`lapilli patch`: which layers of a tuned model bring back what it gained."""

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
    """Add `lapilli patch` to the command line."""
    app.command("patch")(patch)


def patch(
    context: typer.Context,
    base: Base,
    tuned: Tuned,
    data: PictureQuestions,
    out: Annotated[Path, typer.Option(help="A run folder, with the page patch.html; an interrupted one continues.")],
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=MOST, help="Questions, of one picture and wording each; fewer where there are no more."
        ),
    ] = 200,
    floor: SecondTuning = None,
    format_control: FormatControl = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws questions and the random changes.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Which layers bring a tuning's gain back: parts of each model put into the other, beside random changes.

    What the hybrids answer is split into content, which of the candidates is right, and format, whether it is a
    candidate at all. Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.patch.settings import RESULT
    from lapilli.studies.tuning import tuning

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    of = tuning(require_tuning(base, tuned, floor, format_control), data, samples, seed)
    from lapilli.report.patch.page import write_page
    from lapilli.studies.patch.study import opened, study  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    go_on(run, lambda progress: study(of, run, placement, progress))
    made, page = run.load(RESULT), out / "patch.html"
    write_page(made, page)  # after the run has finished: a page can be drawn again
    if as_json:
        print_json({"folder": out, **made})
    else:
        _print(made, page)


def _print(made: dict[str, Any], page: Path) -> None:
    """What brings the gain back, and where the page is."""
    from lapilli.report.patch.story import headline, opening

    say(f"{headline(made)}.")
    for line in opening(made):
        say(line)
    say(f"{page}")
