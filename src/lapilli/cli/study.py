"""`lapilli study`: what many answers say together of how a model works."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lapilli.cli.console import go_on, print_json, say
from lapilli.cli.options import MOST, MOST_SEED, Device, require_models

if TYPE_CHECKING:
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.data.sample import Sample
    from lapilli.model.llava import Llava
    from lapilli.studies.hallucination.study import Pictures

_MAX_NEW_TOKENS = 8  # yes or no, and a few words to see that it was neither


def register(app: typer.Typer) -> None:
    """Add `lapilli study` to the command line."""
    study = typer.Typer(help="What many answers say together of how a model works.", no_args_is_help=True)
    study.command("colour")(colour)
    study.command("hallucination")(hallucination)
    app.add_typer(study, name="study")


def colour(
    context: typer.Context,
    base: Annotated[
        Path, typer.Argument(help="A LLaVA whose language model is not tuned yet, as joined.", show_default=False)
    ],
    tuned: Annotated[list[Path], typer.Argument(help="Tuned models, of other training seeds.", show_default=False)],
    data: Annotated[Path, typer.Option(help="A folder of held-out scenes.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A run folder, with the page colour.html; goes on where it stopped.")],
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

    Writes colour.html into the run folder, and every number, with n, interval and chance, into results/colour.json.
    Interrupted, run it again; of a run that has finished only the page is drawn again.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.color.conditions import read_color_questions

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    base, *tuned = require_models([base, *tuned])
    labels(tuned)
    read_color_questions(data, questions, seed)
    from lapilli.report.color.page import write_page
    from lapilli.studies.color.result import colour_result
    from lapilli.studies.color.study import RESULT, opened, settings  # last: a refusal should not wait for torch

    of = settings(base, tuned, data, questions, seed)
    load = _loader(placement)
    run = opened(out, of)
    go_on(run, lambda progress: colour_result(of, run, load, progress))
    result = run.load(RESULT)
    page = write_page(result, out)  # after the run has finished: a page can be drawn again
    if as_json:
        print_json({"folder": out, **result})
        return
    counts = result["counts"]
    said = f"{counts['kept']} of {counts['asked']} questions are answered rightly with picture and text by every model"
    say(said)
    for one in result["verdicts"]:
        say(f"({one['statement']}) {one['says']}: {one['verdict']}")
    say(f"{page}")


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
    from functools import partial

    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.data.pictures import open_picture
    from lapilli.data.scenes.absent import yes_or_no

    context.with_resource(RunDir.alone(out))
    placement = Placement(device)
    models = require_models(models)
    named, asked = labels(models), yes_or_no(data, questions, seed)
    from lapilli.report.hallucination.page import write_page
    from lapilli.studies.hallucination.study import RESULT, study  # last: a refusal should not wait for torch

    load = _loader(placement)
    run = _triage(out, models, data, questions, seed)
    pictures = partial(open_picture, data / "images")
    go_on(run, lambda progress: study(named, asked, pictures, load, _respond, run, seed, progress))
    made = run.load(RESULT)
    write_page(made, out / "hallucination.html")  # after the run has finished: a page can be drawn again
    if as_json:
        print_json({"folder": out, **{name: value for name, value in made.items() if name != "examples"}})
    else:
        _print(made, out / "hallucination.html")


def _triage(out: Path, models: Sequence[Path], data: Path, questions: int, seed: int) -> "RunDir":
    """A new run, or the one of the same models and questions that is there."""
    from lapilli.core.run import RunDir
    from lapilli.data.questions import fingerprint
    from lapilli.model.hub import recorded
    from lapilli.model.parts import origin
    from lapilli.studies.hallucination.study import RESULT, VERSION

    recipe: dict[str, Any] = {"study": RESULT, "version": VERSION, "data": str(data.resolve()), "questions": questions}
    recipe |= {"seed": seed, "models": [recorded(model) for model in models], "questions_sha256": fingerprint(data)}
    recipe |= {"weights": [origin(model).sha256 for model in models]}
    return RunDir.begin(out, recipe, seed)


def _loader(placement: "Placement") -> "Callable[[Path], Llava]":
    """Opens models, one at a time: the one that was opened last is at hand."""
    from lapilli.model.llava import load
    from lapilli.model.placement import settings

    settings(placement)  # a device that is not there is said before anything is written
    return lru_cache(maxsize=1)(lambda path: load(path, placement))


def labels(models: Sequence[Path]) -> dict[str, Path]:
    """Every model by the shortest end of its path that no other one has. Raises UsageError for one given twice."""
    from lapilli.core.errors import UsageError
    from lapilli.core.names import shortest_ends
    from lapilli.model.hub import recorded

    paths = [recorded(model) for model in models]
    if len(set(paths)) < len(paths):
        raise UsageError(f"{next(path for path in paths if paths.count(path) > 1)}: given twice; leave it out once")
    return dict(zip(shortest_ends(paths), models, strict=True))


def _respond(llava: "Llava", samples: "Sequence[Sample]", pictures: "Pictures") -> list[str]:
    from lapilli.inference.answer import answer

    return [one.text for one in answer(llava, samples, pictures, _MAX_NEW_TOKENS)]


def _print(made: dict[str, Any], page: Path) -> None:
    """The verdict, and where the page is."""
    from lapilli.report.hallucination.story import verdict

    for line in verdict(made):
        say(line)
    say(f"{page}")
