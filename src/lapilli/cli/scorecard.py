"""`lapilli scorecard`: which explanation can be trusted?"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lapilli.cli.console import go_on, print_json, say
from lapilli.cli.options import MOST, MOST_SEED, Device, Model, require_models
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.core.placement import Placement
    from lapilli.core.progress import Progress
    from lapilli.core.run import RunDir
    from lapilli.data.questions import PictureQuestion
    from lapilli.model.llava import Llava
    from lapilli.studies.scorecard.plan import Plan
    from lapilli.studies.scorecard.run import Job

_AT_ONCE = 64  # questions that are answered before it is looked whether enough of them serve


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
    from lapilli.studies.scorecard.plan import Plan, require_methods, require_operators

    context.with_resource(RunDir.alone(out))
    placement, other = Placement(device), _other(beside, out) if beside else None
    ways = tuple(name.strip() for name in operators.split(","))
    require_operators(ways)
    if plus is None:  # else its methods are known when it has run
        require_methods(method or ())
    require_named(model)
    read_picture_questions(data)
    from lapilli.model.placement import settings  # last: what was refused should not have waited for torch

    plan = Plan(questions, ways, tuple(method or ()), str(plus.resolve()) if plus else None, as_released, seed=seed)
    settings(placement)  # a device that is not there is said before anything is fetched or written
    (model,) = require_models([model])
    run = _run(out, model, data, plan)
    go_on(run, lambda progress: _measure(run, model, data, plan, device, processes, progress))
    _show(run, other, as_json)


def _other(beside: Path, out: Path) -> "RunDir":
    """The finished scorecard that is drawn beside this one."""
    from lapilli.core.run import RunDir

    if beside.resolve() == out.resolve():
        raise UsageError(f"--beside {beside}: that is --out itself; give the folder of another scorecard")
    run = RunDir.open(beside)
    if not (run.is_complete and run.has("scorecard")):
        raise UsageError(f"--beside {beside}: no scorecard that has finished is there")
    run.verify(pages=False)
    return run


def _run(out: Path, model: Path, data: Path, plan: "Plan") -> "RunDir":
    """A new run, or the one of the same plan that is there; nothing is begun with what is not there."""
    from dataclasses import asdict
    from hashlib import sha256

    from lapilli.core.run import RunDir
    from lapilli.data.questions import fingerprint
    from lapilli.model.hub import recorded
    from lapilli.model.llava import codec_of
    from lapilli.model.parts import origin
    from lapilli.studies.scorecard.methods.listed import chosen as methods_of
    from lapilli.studies.scorecard.operators import chosen as operators_of

    codec_of(model)
    operators_of(plan.operators)
    found = methods_of(plan.methods, Path(plan.plus) if plan.plus else None, plan.as_released)
    recipe = {"model": recorded(model), "data": str(data.resolve())} | asdict(plan)
    recipe |= {"methods": [method.name for method in found], "weights": origin(model).sha256}
    recipe |= {"questions_sha256": fingerprint(data)}
    if plan.plus:
        recipe |= {"plus_sha256": sha256(Path(plan.plus).read_bytes()).hexdigest()}
    return RunDir.begin(out, recipe, plan.seed)


def _measure(
    run: "RunDir", model: Path, data: Path, plan: "Plan", device: str, processes: int | None, progress: "Progress"
) -> None:
    """Measure what is left of a run."""
    from lapilli.core.placement import Placement
    from lapilli.studies.scorecard.run import measure

    job = _prepared(run, model, data, plan, Placement(device), progress)
    measure(job, processes or _processes(model, device), progress)
    progress("table", 0, 1)
    from lapilli.studies.scorecard.assemble import (
        scorecard as assembled,  # statistics, of which measuring has no need
    )

    run.save("scorecard", assembled(job, run.load("kept")["counts"]))


def _prepared(
    run: "RunDir", model: Path, data: Path, plan: "Plan", placement: "Placement", progress: "Progress"
) -> "Job":
    """The job of a run, whose questions are answered and sifted unless that was done before."""
    from lapilli.data.questions import read_picture_questions
    from lapilli.model.llava import load
    from lapilli.studies.scorecard.run import Job, drawn, keep, kept_of

    if not run.has("kept"):
        asked, llava = drawn(read_picture_questions(data), data, plan.seed), load(model, placement)
        run.save("kept", keep(llava, data, _answered(llava, data, asked), plan, progress))
    return Job(run.path, model, data, plan, kept_of(run.load("kept")), placement)


def _answered(llava: "Llava", data: Path, asked: "list[PictureQuestion]") -> "Iterator[tuple[PictureQuestion, str]]":
    """The questions with the model's answers, as many as are asked for."""
    from lapilli.data.pictures import open_picture
    from lapilli.inference.answer import answer

    for start in range(0, len(asked), _AT_ONCE):
        some = asked[start : start + _AT_ONCE]
        given = answer(llava, [one.sample for one in some], lambda name: open_picture(data / "images", name))
        yield from ((question, one.text) for question, one in zip(some, given, strict=True))


def _processes(model: Path, device: str) -> int:
    """As many as there are cores, and as memory holds at three times the weights; a GPU is for one alone."""
    import os

    import torch

    if device not in ("auto", "cpu") or (device == "auto" and torch.accelerator.is_available()):
        return 1
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // (3 * weights or 1)))


def _show(run: "RunDir", other: "RunDir | None", as_json: bool) -> None:
    """Draw the page, beside another scorecard if there is one, and print the figures."""
    from lapilli.cli.scorecard_tables import print_gaps, print_head, print_sanity
    from lapilli.report.scorecard.agreement import between_scorecards
    from lapilli.report.scorecard.page import write_page

    found, page = run.load("scorecard"), run.path / "scorecard.html"
    others = [_apart(other, found["model"])] if other else []
    write_page([found, *others], page)  # after the run has finished: a page can be drawn again
    if as_json:
        told = {key: value for key, value in found.items() if key != "examples"}
        told |= {"between_models": between_scorecards(found, others[0])} if others else {}
        print_json({"folder": run.path, **told})
        return
    for part in (print_head, print_gaps, print_sanity):
        part(found)
    say(f"{page}")


def _apart(other: "RunDir", model: str) -> dict[str, Any]:
    """Another scorecard, whose folder tells it apart if it is of the same model."""
    found: dict[str, Any] = other.load("scorecard")
    return found | {"model": f"{model} ({other.path.resolve().name})"} if found["model"] == model else found
