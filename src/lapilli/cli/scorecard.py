"""`lapilli scorecard`: which explanation can be trusted?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.console import go_on, print_json, say
from lapilli.cli.options import MOST, MOST_SEED, Device, Model, require_models

if TYPE_CHECKING:
    from lapilli.core.run import RunDir


def register(app: typer.Typer) -> None:
    """Add `scorecard` to the command line."""
    app.command()(scorecard)


def scorecard(
    context: typer.Context,
    model: Model,
    data: Annotated[Path, typer.Argument(help="A folder of questions.jsonl and images/.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run folder; one that was broken off is gone on with.")] = Path(
        "runs/scorecard"
    ),
    questions: Annotated[
        int, typer.Option(min=2, max=MOST, help="How many to measure: right ones that need their picture.")
    ] = 300,
    operators: Annotated[
        str, typer.Option(help="Ways to take patches away, of blur, mean, drop, knockout.")
    ] = "blur,mean,drop",
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method, named as docs/scorecard.md does; may be repeated. All, if none is."),
    ] = None,
    plus: Annotated[Path | None, typer.Option(help="A Python file with METHODS of your own. It is run.")] = None,
    as_released: Annotated[
        bool, typer.Option("--as-released", help="Also as codes with known faults have it.")
    ] = False,
    beside: Annotated[Path | None, typer.Option(help="Another scorecard's folder, drawn on the same page.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=1_024, help="A core each, as far as they fit, if not given; 1 on a GPU.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Of the questions' order, and of all that is drawn.")
    ] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure methods that say where an answer came from: against each other, chance, and the truth where it is known.

    Interrupted, run it again; of a run that has finished only the page is drawn again, as with another one beside it.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.data.questions import read_picture_questions
    from lapilli.model.hub import require_named
    from lapilli.studies.scorecard.beside import finished
    from lapilli.studies.scorecard.job import Job
    from lapilli.studies.scorecard.plan import Plan, require_known

    context.with_resource(RunDir.alone(out))
    placement, other = Placement(device), finished(beside, out) if beside else None
    ways, own = tuple(name.strip() for name in operators.split(",")), str(plus.resolve()) if plus else None
    plan = Plan(questions, ways, tuple(method or ()), own, as_released, seed=seed)
    require_known(plan)
    require_named(model)
    read_picture_questions(data)
    from lapilli.model.placement import settings  # last: what was refused should not have waited for torch

    settings(placement)  # a device that is not there is said before anything is fetched or written
    (model,) = require_models([model])
    from lapilli.studies.scorecard.run import measure, opened

    run = opened(out, model, data, plan)
    job = Job(out, model, data, plan, placement)
    go_on(run, lambda progress: measure(job, progress, processes))
    _show(run, other, as_json)


def _show(run: "RunDir", other: "RunDir | None", as_json: bool) -> None:
    """Draw the page, beside another scorecard if there is one, and print the figures."""
    from lapilli.cli.scorecard_tables import print_gaps, print_head, print_sanity
    from lapilli.report.scorecard.agreement import between_scorecards
    from lapilli.report.scorecard.page import write_page
    from lapilli.studies.scorecard.beside import told_apart
    from lapilli.studies.scorecard.job import result_of

    result, page = result_of(run), run.path / "scorecard.html"
    others = [told_apart(other, result["model"])] if other else []
    write_page([result, *others], page)  # after the run has finished: a page can be drawn again
    if as_json:
        printed = {key: value for key, value in result.items() if key != "examples"}
        printed |= {"between_models": between_scorecards(result, others[0])} if others else {}
        print_json({"folder": run.path, **printed})
        return
    for part in (print_head, print_gaps, print_sanity):
        part(result)
    say(f"{page}")
