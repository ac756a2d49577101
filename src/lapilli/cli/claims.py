"""`lapilli claims`: what is claimed of visual instruction tuning, tested on a base and its tuned version."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.compare import compared
from lapilli.cli.console import go_on
from lapilli.cli.options import (
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
from lapilli.cli.patch import patched
from lapilli.cli.tuning import Result, TuningOptions, carry_out, page_of, run_folder

if TYPE_CHECKING:
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.tuning import Tuning


def register(app: typer.Typer) -> None:
    """Add `lapilli claims` to the command line."""
    app.command("claims")(claims)


def claims(
    context: typer.Context,
    base: Base,
    tuned: Tuned,
    data: PictureQuestions,
    out: Annotated[Path, run_folder("claims.html")],
    samples: QuestionCount = 200,
    floor: SecondTuning = None,
    format_control: FormatControl = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws questions and the random changes.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """What is claimed of visual instruction tuning, tested on these models: supported, refuted, or not decided.

    It compares the models and patches them, as `lapilli compare` and `lapilli patch` do, and hides pictures from text
    in some layers, in folders inside --out. Every claim is tested on what came out, with intervals that hold for all of
    them together. Interrupted, run it again.
    """
    options = TuningOptions(
        base=base, tuned=tuned, data=data, out=out, samples=samples,
        floor=floor, format_control=format_control, seed=seed, device=device, as_json=as_json,
    )  # fmt: skip
    carry_out(context, options, _tested, "claims", _lines)


def _tested(out: Path, of: "Tuning", placement: "Placement") -> Result:
    """The result of the claims, with their page; the comparison and the patching study are in folders inside.

    The comparison is in float32, as smaller formats round small changes of a layer.
    """
    from lapilli.core.run import RunDir
    from lapilli.report.claims.page import write_page
    from lapilli.studies.claims.evidence import COMPARISON, FLOW, PATCHING
    from lapilli.studies.claims.study import RESULT, opened, study  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    if run.is_complete:
        go_on(run, lambda progress: None)
    else:
        with run.or_nothing():
            with RunDir.alone(out / COMPARISON):
                comparison = compared(out / COMPARISON, of, replace(placement, dtype="fp32"))
            with RunDir.alone(out / PATCHING):
                patching = patched(out / PATCHING, of, placement)
            with RunDir.alone(out / FLOW):
                flow = _flow(out / FLOW, of, replace(placement, dtype="fp32"))
            study(of, run, comparison, patching, flow)
        run.finish()
    result: Result = run.load(RESULT)
    write_page(result, page_of(out, RESULT))
    return result


def _flow(out: Path, of: "Tuning", placement: "Placement") -> "RunDir":
    """The flow study's run, finished. Its curves are on the page of claims."""
    from lapilli.studies.flow.study import opened, study

    run = opened(out, of, placement)
    go_on(run, lambda progress: study(of, run, placement, progress))
    return run


def _lines(made: Result) -> Iterator[str]:
    """Every claim with its verdict."""
    from lapilli.report.claims.story import headline, lines

    yield f"{headline(made)}."
    yield from lines(made)
