"""`lapilli claims`: what is claimed of visual instruction tuning, tested on a base and its tuned version."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    out: Annotated[Path, typer.Option(help="A run folder, with the page claims.html; an interrupted one continues.")],
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
    """What is claimed of visual instruction tuning, tested on these models: supported, refuted, or not decided.

    It compares the models and patches them, as `lapilli compare` and `lapilli patch` do, and hides pictures from text
    in some layers, in folders inside --out. Every claim is tested on what came out, with intervals that hold for all of
    them together. Interrupted, run it again.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.tuning import tuning

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    of = tuning(require_tuning(base, tuned, floor, format_control), data, samples, seed)
    from lapilli.report.claims.page import write_page
    from lapilli.studies.claims.evidence import COMPARISON, FLOW, PATCHING
    from lapilli.studies.claims.study import RESULT, opened, study  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    if run.is_complete:
        go_on(run, lambda progress: None)
    else:
        with run.or_nothing():
            inside = ((COMPARISON, _compared), (PATCHING, _patched), (FLOW, _flow))
            study(of, run, *(finished(out / name, of, placement) for name, finished in inside))
        run.finish()
    made, page = run.load(RESULT), out / "claims.html"
    write_page(made, page)
    if as_json:
        print_json({"folder": out, **made})
    else:
        _print(made, page)


def _compared(out: Path, of: "Tuning", placement: "Placement") -> "RunDir":
    """The comparison's run, finished; in float32, as smaller formats round small changes of a layer."""
    from lapilli.core.run import RunDir
    from lapilli.report.compare.page import write_page
    from lapilli.studies.compare.settings import RESULT
    from lapilli.studies.compare.study import opened, study

    placement = replace(placement, dtype="fp32")
    with RunDir.alone(out):
        run = opened(out, of, placement)
        go_on(run, lambda progress: study(of, run, placement, progress))
        write_page(run.load(RESULT), out / "compare.html")
    return run


def _patched(out: Path, of: "Tuning", placement: "Placement") -> "RunDir":
    """The patching study's run, finished."""
    from lapilli.core.run import RunDir
    from lapilli.report.patch.page import write_page
    from lapilli.studies.patch.settings import RESULT
    from lapilli.studies.patch.study import opened, study

    with RunDir.alone(out):
        run = opened(out, of, placement)
        go_on(run, lambda progress: study(of, run, placement, progress))
        write_page(run.load(RESULT), out / "patch.html")
    return run


def _flow(out: Path, of: "Tuning", placement: "Placement") -> "RunDir":
    """The flow study's run, finished; in float32, as the others. Its curves are on the page of claims."""
    from lapilli.core.run import RunDir
    from lapilli.studies.flow.study import opened, study

    placement = replace(placement, dtype="fp32")
    with RunDir.alone(out):
        run = opened(out, of, placement)
        go_on(run, lambda progress: study(of, run, placement, progress))
    return run


def _print(made: dict[str, Any], page: Path) -> None:
    """Every claim with its verdict, and where the page is."""
    from lapilli.report.claims.story import headline, lines

    say(f"{headline(made)}.")
    for line in lines(made):
        say(line)
    say(f"{page}")
