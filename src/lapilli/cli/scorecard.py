"""`lapilli scorecard`: which explanation can be trusted?"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lapilli.cli.console import note_finished, print_json, results, steps
from lapilli.cli.options import Device
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.core.run import RunDir
    from lapilli.data.questions import PictureQuestion
    from lapilli.inspection.scorecard.run import Job, Plan, Progress
    from lapilli.model.llava import Llava

_AT_ONCE = 64  # questions that are answered before it is looked whether enough of them serve


def register(app: typer.Typer) -> None:
    """Add `scorecard` to the command line."""
    app.command()(scorecard)


def scorecard(
    model: Annotated[Path, typer.Argument(help="A model folder.", show_default=False)],
    data: Annotated[Path, typer.Argument(help="A folder of questions.jsonl and images/.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run folder; one that was broken off is gone on with.")] = Path(
        "runs/scorecard"
    ),
    questions: Annotated[
        int, typer.Option(min=2, help="How many to measure: right ones that need their picture.")
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
        int | None, typer.Option(min=1, help="A core each, as far as they fit, if not given; 1 on a GPU.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the questions' order, and of all that is drawn.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure methods that say where an answer came from: against each other, chance, and the truth where it is known.

    Interrupted, run it again; of a run that has finished only the page is drawn again, as with another one beside it.
    """
    from lapilli.core.run import RunDir
    from lapilli.inspection.scorecard.run import Plan
    from lapilli.model.placement import Placement
    from lapilli.report.scorecard.agreement import told_between
    from lapilli.report.scorecard.page import write_page

    ways = tuple(name.strip() for name in operators.split(","))
    plan = Plan(questions, ways, tuple(method or ()), str(plus.resolve()) if plus else None, as_released, seed=seed)
    others = [RunDir.open(beside).load("scorecard")] if beside else []
    Placement(device).settings()  # a device that is not there is said before anything is written
    run = _run(out, model, data, plan)
    if run.is_complete:
        note_finished(out)
    else:
        with run.or_nothing():
            _measured(run, model, data, plan, device, processes or _processes(model, device))
    found = run.load("scorecard")
    if beside and others[0]["model"] == found["model"]:  # the folders tell two runs of one model apart
        others = [others[0] | {"model": f"{found['model']} ({beside.resolve().name})"}]
    page = out / "scorecard.html"
    write_page([found, *others], page)  # after the run has finished: a page can be drawn again
    if as_json:
        told = {key: value for key, value in found.items() if key != "examples"}
        told |= {"between_models": told_between(found, others[0])} if others else {}
        print_json({"folder": out, **told})
    else:
        _print_table(found)
        _print_sanity(found)
        results.print(f"{page}", markup=False, highlight=False, soft_wrap=True)


def _run(out: Path, model: Path, data: Path, plan: "Plan") -> "RunDir":
    """A new run, or the one of the same plan that is there; nothing is begun with what is not there."""
    from dataclasses import asdict
    from hashlib import sha256

    from lapilli.core.run import RunDir
    from lapilli.data.questions import fingerprint, read_picture_questions
    from lapilli.inspection.scorecard.methods.listed import chosen as methods_of
    from lapilli.inspection.scorecard.operators import chosen as operators_of
    from lapilli.model.llava import codec_of
    from lapilli.model.parts import origin

    if not model.is_dir():
        raise UsageError(f"{model}: no such folder; give the folder of a model")
    codec_of(model)
    read_picture_questions(data)
    operators_of(plan.operators)
    found = methods_of(plan.methods, Path(plan.plus) if plan.plus else None, plan.as_released)
    recipe = {"model": str(model.resolve()), "data": str(data.resolve())} | asdict(plan)
    recipe |= {"methods": [method.name for method in found], "weights": origin(model).sha256}
    recipe |= {"questions_sha256": fingerprint(data)}
    if plan.plus:
        recipe |= {"plus_sha256": sha256(Path(plan.plus).read_bytes()).hexdigest()}
    return RunDir.begin(out, recipe, plan.seed)


def _measured(run: "RunDir", model: Path, data: Path, plan: "Plan", device: str, processes: int) -> None:
    """Measure what is left of a run, and finish it."""
    from lapilli.inspection.scorecard.assemble import scorecard as assembled
    from lapilli.inspection.scorecard.run import measure

    with steps() as note:
        job = _prepared(run, model, data, plan, device, note)
        measure(job, processes, note)
        note("table", 0, 1)
        run.save("scorecard", assembled(job, run.load("kept")["counts"]))
    run.finish()


def _prepared(run: "RunDir", model: Path, data: Path, plan: "Plan", device: str, note: "Progress") -> "Job":
    """The job of a run, whose questions are answered and sifted unless that was done before."""
    from lapilli.data.questions import read_picture_questions
    from lapilli.inspection.scorecard.run import Job, drawn, keep, kept_of
    from lapilli.model.llava import load
    from lapilli.model.placement import Placement

    placement = Placement(device)
    if not run.has("kept"):
        asked, llava = drawn(read_picture_questions(data), data, plan.seed), load(model, placement)
        run.save("kept", keep(llava, data, _answered(llava, data, asked), plan, note))
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


def _print_table(found: dict[str, Any]) -> None:
    """Every method's gap under every operator, ours marked, the best first; and where ours lose, before it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table
    from rich.text import Text

    from lapilli.report.scorecard import words

    primary = found["settings"]["primary"]
    for loss in found["losses"]:
        interval = f"{loss['difference']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}], {loss['operator']}"
        _say(f"{loss['other']} is ahead of {loss['ours']} by {interval}; Holm's p {loss['holm']:.2g}")
    names = [one["name"] for one in found["settings"]["operators"]]
    by_key = {(row["method"], row["operator"], row["metric"]): row for row in found["scores"]}
    asked, right, kept = (found["counts"][name] for name in ("asked", "right", "kept"))
    said = f"{found['counts']['given']} questions given; {asked} asked, one of a picture; {right} right; {kept} kept"
    _say(said)
    if kept < words.FEW:
        _say(words.NARROW)
    note = f"insertion less deletion, 0 is chance, with 95 % intervals, n = {kept}; flips under {primary}; * ours"
    first = Column("method", overflow="fold")
    table = Table(first, *names, "flip", "pointing", "ms", box=SIMPLE_HEAD, pad_edge=False, caption=note)
    for method in sorted(found["methods"], key=lambda one: -by_key[one["name"], primary, "gap"]["value"]):
        name = method["name"]
        gaps = [_with_interval(by_key[name, operator, "gap"]) for operator in names]
        others = [by_key.get((name, *key)) for key in ((primary, "flip"), (None, "pointing"))]
        values = [f"{row['value']:.2f}" if row else "–" for row in others]
        table.add_row(Text(name + " *" * method["ours"]), *gaps, *values, f"{1000 * method['seconds']['value']:.3g}")
    results.print(table)


def _print_sanity(found: dict[str, Any]) -> None:
    """What becomes of every method's map under every sanity test, ours first; nothing where none was made.

    The table is as wide as it must be: a terminal breaks lines, but leaves nothing out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table
    from rich.text import Text

    methods, said = list(dict.fromkeys(row["method"] for row in found["sanity"])), found["sanity_tests"]
    if not methods:
        return
    signs = {"low": " ↓", "high": " ↑"}
    note = f"likeness to the first map, of up to {found['settings']['sanity_n']} questions; ↓ low is good, ↑ high"
    heads = [test["name"] + signs.get(test["good"], "") for test in said]
    titles = [Column(head, justify="right", min_width=max(map(len, head.split()))) for head in heads]
    table = Table("method", *titles, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=note)
    table.width = max(map(len, methods)) + sum(2 + (title.min_width or 0) for title in titles)
    for method in methods:
        by_test = {row["test"]: row for row in found["sanity"] if row["method"] == method}
        values = [by_test[test["name"]] for test in said]
        table.add_row(Text(method), *(f"{round(row['value'], 2) + 0.0:.2f}" if row["n"] else "–" for row in values))
    results.print(table, crop=False)


def _say(line: str) -> None:
    results.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _with_interval(row: dict[str, Any]) -> str:
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
