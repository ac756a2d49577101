"""`lapilli study`: what many answers say together of how a model works."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lapilli.cli.console import go_on, print_json, say
from lapilli.cli.options import MOST, MOST_SEED, Device, require_models


def register(app: typer.Typer) -> None:
    """Add `lapilli study` to the command line."""
    study = typer.Typer(help="What many answers say together of how a model works.", no_args_is_help=True)
    study.command("color")(color)
    study.command("colour", hidden=True)(color)  # as it was called once
    study.command("hallucination")(hallucination)
    app.add_typer(study, name="study")


def color(
    context: typer.Context,
    base: Annotated[
        Path, typer.Argument(help="A LLaVA whose language model is not tuned yet, as joined.", show_default=False)
    ],
    tuned: Annotated[list[Path], typer.Argument(help="Tuned models, of other training seeds.", show_default=False)],
    data: Annotated[Path, typer.Option(help="A folder of held-out scenes.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A run folder, with the page color.html; an interrupted one continues.")],
    questions: Annotated[
        int, typer.Option(min=1, max=MOST, help="How many questions; fewer where there are no more.")
    ] = 200,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Draws questions, other words, random sets and intervals.")
    ] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How a color is answered from a picture and from a text: heads, key positions, ways (arXiv 2411.10950).

    Writes color.html into the run folder, and every number, with n, interval and chance, into results/color.json.
    Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.model.hub import require_different
    from lapilli.studies.color.settings import result_of, settings

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    base, *tuned = require_models([base, *tuned])
    require_different(tuned)
    of = settings(base, tuned, data, questions, seed)
    from lapilli.report.color.page import write_page
    from lapilli.studies.color.result import color_result
    from lapilli.studies.color.study import opened  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    go_on(run, lambda progress: color_result(of, run, placement, progress))
    result = result_of(run)
    page = write_page(result, out)  # after the run has finished: a page can be drawn again
    if as_json:
        print_json({"folder": out, **result})
    else:
        _print_color(result, page)


def hallucination(
    context: typer.Context,
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Models' folders.", show_default=False)],
    data: Annotated[
        Path, typer.Option(help="Scenes, or pictures with questions of type existence.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="A run folder, with the page hallucination.html; goes on where it stopped.")
    ],
    questions: Annotated[
        int, typer.Option(min=2, max=MOST, help="Questions to ask; half are about absent objects.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws questions, pictures, patches.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask about what is not there, and try what gives a made-up yes away: what it is made of, or its confidence.

    Every wrong yes is taken apart exactly, beside right answers. Folders of several training seeds are pooled.
    Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.hallucination.settings import RESULT, settings

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    of = settings(require_models(models), data, questions, seed)
    from lapilli.report.hallucination.page import write_page
    from lapilli.studies.hallucination.study import opened, study  # last: a refusal should not wait for torch

    run = opened(out, of, placement)
    go_on(run, lambda progress: study(of, run, placement, progress))
    made, page = run.load(RESULT), out / "hallucination.html"
    write_page(made, page)  # after the run has finished: a page can be drawn again
    if as_json:
        print_json({"folder": out, **{name: value for name, value in made.items() if name != "examples"}})
    else:
        _print_hallucination(made, page)


def _print_color(result: dict[str, Any], page: Path) -> None:
    """How many questions count, the verdicts, and where the page is."""
    counts = result["counts"]
    say(f"{counts['kept']} of {counts['asked']} questions are answered rightly with picture and text by every model")
    for one in result["verdicts"]:
        say(f"({one['statement']}) {one['says']}: {one['verdict']}")
    say(f"{page}")


def _print_hallucination(made: dict[str, Any], page: Path) -> None:
    """The verdict, and where the page is."""
    from lapilli.report.hallucination.story import verdict

    for line in verdict(made):
        say(line)
    say(f"{page}")
