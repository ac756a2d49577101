"""`lapilli eval`: score a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.console import print_json, results, steps
from lapilli.cli.options import MOST, MOST_SEED, Device, Model, require_models
from lapilli.evaluation.benchmark import BENCHMARKS, benchmark

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from lapilli.core.placement import Placement
    from lapilli.evaluation.asking import Result
    from lapilli.evaluation.benchmark import Benchmark, Table

_LIST = "; ".join(f"{name} ({entry.summary})" for name, entry in BENCHMARKS.items())


def register(app: typer.Typer) -> None:
    """Add `eval` to the command line."""
    app.command("eval")(evaluate)


def evaluate(
    context: typer.Context,
    model: Model,
    benches: Annotated[
        list[str], typer.Argument(metavar="BENCH...", help=f"What to score it on: {_LIST}.", show_default=False)
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
    """Scores by type of question with 95 % intervals, beside the controls that show whether the model sees."""
    chosen = [benchmark(name) for name in dict.fromkeys(benches)]
    from lapilli.core.files import refuse_occupied
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.model.hub import hub_name, require_named

    placement = Placement(device)
    if out:
        context.with_resource(RunDir.alone(out))
        refuse_occupied(out)
    require_named(model)
    for one in chosen:
        one.require_questions(data, questions)
    folder, results = _results(model, chosen, data, questions, seed=seed, placement=placement)
    from lapilli.studies.evaluate import keep, scored

    if out:
        recipe = {"model": hub_name(folder) or str(model), "benches": list(results), "data": data}
        keep(RunDir.create(out, recipe | {"questions": questions}, seed), chosen, results)
    if as_json:
        print_json(scored(results))
        return
    for one in chosen:
        _print(one.table(results[one.name].scores, results[one.name].constants))


def _results(
    model: Path,
    chosen: "Sequence[Benchmark[Any]]",
    data: Path | None,
    questions: int,
    *,
    seed: int,
    placement: "Placement",
) -> "tuple[Path, dict[str, Result]]":
    """The model's folder, and the result of every benchmark by its name. Raises LapilliError."""
    from lapilli.model.placement import settings

    settings(placement)  # a device that is not there is said before anything is drawn
    (folder,) = require_models([model])
    from lapilli.studies.evaluate import evaluate_model  # last: a refusal should not wait for torch

    with steps() as progress:
        results = evaluate_model(folder, chosen, data, questions, seed=seed, placement=placement, progress=progress)
    return folder, results


def _print(scores: "Table") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    first, *others = scores.columns
    columns = (Column(title, no_wrap=True) for title in others)
    table = Table(first, *columns, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption=scores.note)
    for row in scores.rows:
        table.add_row(*row)
    results.print(table)
