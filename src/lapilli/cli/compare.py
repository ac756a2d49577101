"""`lapilli compare`: what a tuning changed inside a model."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.options import (
    MOST,
    MOST_SEED,
    AsJson,
    Base,
    Device,
    FormatControl,
    PictureQuestions,
    QuestionCount,
    SecondTuning,
    Tuned,
)
from lapilli.cli.tuning import Result, TuningOptions, carry_out, finished, run_folder
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.tuning import Tuning


def register(app: typer.Typer) -> None:
    """Add `lapilli compare` to the command line."""
    app.command("compare")(compare)


def compare(
    context: typer.Context,
    base: Base,
    tuned: Tuned,
    data: PictureQuestions,
    out: Annotated[Path, run_folder("compare.html")],
    samples: QuestionCount = 500,
    floor: SecondTuning = None,
    format_control: FormatControl = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws pictures and questions.")] = 0,
    suggest: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help="Write masks of so many layers, a selector each, which llm.layers of a recipe takes.",
            show_default=False,
        ),
    ] = None,
    patched: Annotated[
        Path | None,
        typer.Option(
            help="A run of `lapilli patch` on these models: with --suggest, a mask of the layers that bring most back.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """What a tuning changed: hidden states of both models over depth, layers and weights, beside what changes anyway.

    Every figure has its band, what shuffled samples give, and its floors: the base run again and, with --floor, a
    second tuning. Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    options = TuningOptions(
        base=base, tuned=tuned, data=data, out=out, samples=samples,
        floor=floor, format_control=format_control, seed=seed, device=device, as_json=as_json,
    )  # fmt: skip
    if patched and suggest is None:
        raise UsageError(f"--patched {patched}: nothing is suggested; add --suggest with a number of layers")

    def study(out: Path, of: "Tuning", placement: "Placement") -> Result:
        result: Result = compared(out, of, placement, suggest=suggest, patched=patched).load("compare")
        return result

    carry_out(context, options, study, "compare", _lines)


def compared(
    out: Path, of: "Tuning", placement: "Placement", suggest: int | None = None, patched: Path | None = None
) -> "RunDir":
    """The run of a comparison, finished, with its page."""
    from lapilli.report.compare.page import write_page
    from lapilli.studies.compare.settings import RESULT, Suggestion
    from lapilli.studies.compare.study import opened, study  # last: a refusal should not wait for torch

    suggestion = None if suggest is None else Suggestion(suggest, patched)
    run = opened(out, of, placement, suggestion)
    return finished(run, RESULT, partial(study, of, run, placement, suggestion=suggestion), write_page)


def _lines(made: Result) -> Iterator[str]:
    """What changed most."""
    from lapilli.report.compare.story import headline, opening
    from lapilli.report.compare.suggestion import lines

    yield f"{headline(made)}."
    yield from opening(made)
    yield from lines(made)
