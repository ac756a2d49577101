"""`lapilli patch`: which layers of a tuned model bring back what it gained."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from lapilli.cli.tuning import Result, TuningOptions, carry_out, finished, page_of, run_folder

if TYPE_CHECKING:
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.tuning import Tuning


def register(app: typer.Typer) -> None:
    """Add `lapilli patch` to the command line."""
    app.command("patch")(patch)


def patch(
    context: typer.Context,
    base: Base,
    tuned: Tuned,
    data: PictureQuestions,
    out: Annotated[Path, run_folder("patch.html")],
    samples: QuestionCount = 200,
    floor: SecondTuning = None,
    format_control: FormatControl = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Let hybrids answer in their own words too, greedily; takes longer.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws questions and the random changes.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Which layers bring a tuning's gain back: parts of each model put into the other, beside random changes.

    What the hybrids answer is split into content, which of the candidates is right, and format, whether it is a
    candidate at all. Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    options = TuningOptions(
        base=base, tuned=tuned, data=data, out=out, samples=samples,
        floor=floor, format_control=format_control, seed=seed, device=device, as_json=as_json,
    )  # fmt: skip
    carry_out(context, options, partial(_with_answers, generate=generate), "patch", _lines)


def _with_answers(out: Path, of: "Tuning", placement: "Placement", generate: bool) -> Result:
    """The result of a patching study, under `generated` with what hybrids answer in their own words, if they did."""
    from lapilli.report.patch.page import write_page
    from lapilli.studies.patch.settings import RESULT

    run = patched(out, of, placement)
    made: Result = run.load(RESULT)
    if (answers := _answers(out, of, placement, made["depth"], generate)) is not None:
        made = {**made, "generated": answers}
        write_page(made, page_of(out, RESULT))
    return made


def _answers(out: Path, of: "Tuning", placement: "Placement", depth: int, generate: bool) -> Result | None:
    """The result of what hybrids of so many layers answer in their own words, in the folder of the patching study."""
    from lapilli.studies.patch.generation import FOLDER, RESULT, opened, study
    from lapilli.studies.patch.plan import Plan

    folder = out / FOLDER
    if not generate and not _is_finished(folder):
        return None
    run = opened(folder, of, placement)
    go_on(run, lambda progress: study(of, run, Plan(depth), placement, progress))
    result: Result = run.load(RESULT)
    return result


def _is_finished(folder: Path) -> bool:
    from lapilli.core.run import RunDir

    return (folder / "recipe.yaml").is_file() and RunDir.open(folder).is_complete


def patched(out: Path, of: "Tuning", placement: "Placement") -> "RunDir":
    """The run of a patching study, finished, with its page."""
    from lapilli.report.patch.page import write_page
    from lapilli.studies.patch.settings import RESULT
    from lapilli.studies.patch.study import opened, study  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    return finished(run, RESULT, partial(study, of, run, placement), write_page)


def _lines(made: Result) -> Iterator[str]:
    """What brings the gain back."""
    from lapilli.report.patch.story import headline, opening

    yield f"{headline(made)}."
    yield from opening(made)
