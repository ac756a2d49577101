"""`lapilli eval`: score a model."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import Progress, TaskID

from lapilli.cli.console import print_json, progress_bar, results
from lapilli.cli.options import MOST, MOST_SEED, Device, Model, require_models
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.core.placement import Placement

SPLITS: tuple[Literal["held_out"], Literal["compositional"]] = ("held_out", "compositional")


def register(app: typer.Typer) -> None:
    """Add `eval` to the command line."""
    app.command("eval")(evaluate)


def evaluate(
    context: typer.Context,
    model: Model,
    benches: Annotated[
        list[str], typer.Argument(metavar="BENCH...", help="What to score it on: scenes.", show_default=False)
    ],
    data: Annotated[
        Path | None, typer.Option(help="A folder with held_out/ and compositional/ scenes; drawn anew if not given.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, max=MOST, help="How many questions of each type.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the scenes drawn anew.")] = 1,
    out: Annotated[Path | None, typer.Option(help="A new run folder for the scores and every answer.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Accuracy by type of question with 95 % intervals, beside the controls that show whether the model sees."""
    if unknown := [bench for bench in benches if bench != "scenes"]:
        raise UsageError(f"no benchmark {unknown[0]!r}; there is: scenes")
    from lapilli.core.files import refuse_occupied
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.evaluation.scenes import read_questions
    from lapilli.model.hub import hub_name, require_named

    placement = Placement(device)
    if out:
        context.with_resource(RunDir.alone(out))
        refuse_occupied(out)
    require_named(model)
    if data:
        for split in SPLITS:
            read_questions(data / split, split, questions)
    from lapilli.model.placement import settings

    settings(placement)  # a device that is not there is said before anything is drawn
    (folder,) = require_models([model])
    with TemporaryDirectory() as drawn:
        found = _score(folder, data or _draw(Path(drawn), questions, seed), questions, placement)
    if out:
        _keep(out, hub_name(folder) or str(model), seed, found)
    if as_json:
        print_json({key: found[key] for key in ("scores", "constants")})
    else:
        _print_table(found)


def _draw(folder: Path, questions: int, seed: int) -> Path:
    """New scenes of both splits; four for every question of a type, since one scene in three has a card to read."""
    from lapilli.data.scenes.dataset import write_scenes

    count = 4 * questions
    with progress_bar() as bar:
        for split in SPLITS:
            advance = partial(_advance, bar, bar.add_task(f"scenes, {split}", total=count))
            write_scenes(folder / split, count, split, seed, advance)
    return folder


def _advance(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def _score(model: Path, data: Path, per_type: int, placement: "Placement") -> dict[str, Any]:
    from lapilli.evaluation.scenes import ROUNDS, ask_rounds, best_constants, read_questions, scores
    from lapilli.inference.answer import answerer

    respond = answerer(model, placement=placement)
    with progress_bar() as bar:
        task = bar.add_task("questions", total=len(ROUNDS))
        asked = ask_rounds(data, ROUNDS, per_type, respond, lambda: bar.advance(task))
    constants = [
        _constant(split, *one)
        for split in SPLITS
        for one in best_constants(read_questions(data / split, split, per_type)).items()
    ]
    return {"scores": scores(asked), "constants": constants, "answers": asked}


def _constant(split: str, kind: str, best: Any) -> dict[str, Any]:
    answer, share = best
    return {"split": split, "type": kind, "answer": answer, "share": share}


def _keep(out: Path, model: str, seed: int, found: dict[str, Any]) -> None:
    from lapilli.core.run import RunDir

    run = RunDir.create(out, {"model": model, "benches": ["scenes"]}, seed)
    for name, value in found.items():
        run.save(name, value)
    run.finish()


def _print_table(found: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    columns = [
        ("held_out", "image"),
        ("compositional", "image"),
        ("held_out", "blank"),
        ("held_out", "swapped"),
        ("held_out", "language_only"),
    ]
    titles = ("held-out", "compositional", "blank", "other", "none", "constant")
    note = "% right, with 95 % intervals. Controls: a blank picture, another one, none; the best constant answer"
    table = Table(
        "type",
        "n",
        *(Column(title, no_wrap=True) for title in titles),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption=note,
    )
    by_key = {(score.split, score.condition, score.type): score.share for score in found["scores"]}
    best = {row["type"]: row["share"] for row in found["constants"] if row["split"] == "held_out"}
    for kind in dict.fromkeys(score.type for score in found["scores"] if score.type != "all") | {"all": None}:
        shares = [by_key.get((*column, kind)) for column in columns]
        asked = str(shares[0].n) if shares[0] else "0"
        table.add_row(kind, asked, *map(_with_interval, shares[:2]), *map(_percent, [*shares[2:], best.get(kind)]))
    results.print(table)


def _with_interval(share: Any) -> str:
    return f"{_percent(share)} [{100 * share.low:.0f}, {100 * share.high:.0f}]" if share else _percent(share)


def _percent(share: Any) -> str:
    return f"{100 * share.estimate:.1f}" if share else "–"  # a few scenes may hold no card to read
