"""`lapilli data contexts` and `lapilli data generate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lapilli.cli.calls import display, print_call, print_estimate, print_spent, require_endpoint, require_whole
from lapilli.cli.console import note, print_json, results, say
from lapilli.cli.options import Shard, part_of
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.data.generation.generate import Report, Work


def register(noun: typer.Typer) -> None:
    """Add the commands to `lapilli data`."""
    noun.command("contexts")(_contexts)
    noun.command("generate")(_generate)


def _contexts(
    sources: Annotated[
        list[Path], typer.Argument(help="COCO's, Visual Genome's, a table, scenes.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="File to write, .jsonl.", show_default=False)],
    least_area: Annotated[float, typer.Option(min=0, max=1, help="Leave out boxes of a smaller share.")] = 0.0,
    most: Annotated[int, typer.Option(min=0, max=1_000, help="The most boxes of a category, the largest.")] = 40,
) -> None:
    """Make contexts, captions and boxes of pictures, from the files of others.

    COCO: captions_train2017.json instances_train2017.json. Visual Genome: image_data.json region_descriptions.json
    objects.json. A table: columns image, caption; or image, category, x1, y1, x2, y2. A folder
    of `lapilli data scenes`.
    """
    from lapilli.core.files import refuse_input
    from lapilli.data.context_sources import Choice, gather_contexts
    from lapilli.data.contexts import write_contexts

    refuse_input(out, sources)
    contexts = gather_contexts(sources, Choice(least_area, most))
    write_contexts(out, contexts)
    boxes = sum(len(context.instances) for context in contexts)
    captions = sum(len(context.captions) for context in contexts)
    say(f"{out}: {len(contexts)} pictures, {captions} captions, {boxes} boxes")


def _generate(
    contexts: Annotated[Path, typer.Argument(help="Contexts, .jsonl, or a folder of scenes.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write, or to go on in.", show_default=False)],
    kind: Annotated[str, typer.Option(help="conversation, detail, reasoning, several with commas, or all.")] = "all",
    model: Annotated[str, typer.Option(help="The model's name at the endpoint.", show_default=False)] = "",
    base_url: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible endpoint; its key is in OPENAI_API_KEY.", show_default=False),
    ] = None,
    engine: Annotated[
        Literal["llm", "template"], typer.Option(help="template: scenes in words, without a model.")
    ] = "llm",
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="The most that the folder may cost; needs prices.", show_default=False)
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings, .yaml.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: name=value.", show_default=False)
    ] = None,
    shard: Shard = "1/1",
    answers: Annotated[
        list[Path] | None,
        typer.Option(help="Journals of shards, or results of a batch, to take over.", show_default=False),
    ] = None,
    batch: Annotated[
        Path | None, typer.Option(help="Write the calls as requests for a batch, and stop.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")] = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print the first call of each kind, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Let a language model write samples about pictures that it knows from captions and boxes.

    Every answer is journalled before it is read. The same command goes on where it was stopped, and pays nothing twice.
    """
    from lapilli.core.files import refuse_input
    from lapilli.data.contexts import read_contexts
    from lapilli.data.generation.generate import generate, plan_work, put_in_words, write_batch
    from lapilli.data.generation.settings import kinds_of, read_settings

    _require_one_engine(engine, model, base_url)
    wanted = read_settings(settings, overrides or [])
    work = plan_work(read_contexts(contexts), kinds_of(kind), model, wanted, part_of(shard))
    if show_prompt:
        _print_prompts(work)
    elif dry_run:
        _print_estimate(work, out, as_json)
    elif batch is not None:
        refuse_input(batch, [contexts, out / "journal.jsonl", *(answers or [])])
        for file, count in write_batch(work, out, batch):
            say(f"{file}: {count} requests; take over their results with --answers")
    elif engine == "template":
        _conclude(put_in_words(work, out, contexts), out, as_json)
    else:
        if base_url is None and not answers and not (out / "journal.jsonl").is_file():
            raise UsageError("no --base-url, and no answers to work with; give the address of an endpoint")
        with display("samples") as tell:
            report = generate(work, out, base_url, most_cost=max_cost, answers=answers or [], on_progress=tell)
        _conclude(report, out, as_json)


def _require_one_engine(engine: str, model: str, base_url: str | None) -> None:
    if engine == "template" and (model or base_url):
        raise UsageError("--engine template needs no model; leave --model and --base-url out")
    if engine == "llm" and not model:
        raise UsageError("no --model; name the model as its endpoint does")
    if base_url is not None:
        require_endpoint(base_url)


def _print_prompts(work: "Work") -> None:
    for kind in work.engine.plan.kinds:
        for job in (job for job in work.jobs if job.kind == kind):
            call = work.engine.call(job)
            print_call(job.id, call)
            break


def _print_estimate(work: "Work", out: Path, as_json: bool) -> None:
    from lapilli.data.generation.generate import estimate

    print_estimate(estimate(work, out), ", without repairs", as_json)


def _conclude(report: "Report", out: Path, as_json: bool) -> None:
    """Print what came of it. A run that was stopped fails, with the reason; the same command goes on."""
    if as_json:
        print_json(report)
    elif report.done or not report.stopped:
        _print_report(report, out)
    require_whole(out, report.stopped, f"{report.done} of {report.jobs} samples are done")


def _print_report(report: "Report", out: Path) -> None:
    from rich.table import Table

    table = Table(*("kind", "samples", "questions", "set aside", "dropped", "flagged"))
    for kind, row in report.kinds.items():
        dropped, flagged = (
            ", ".join(f"{name.removeprefix(start)} {count}" for name, count in row.items() if name.startswith(start))
            for start in ("dropped: ", "flag: ")
        )
        counts = [str(row[name]) for name in ("samples", "pairs", "set aside")]
        table.add_row(kind, *counts, dropped, flagged)
    results.print(table)
    print_spent(report.calls, report.spent, report.cost)
    if report.spoilt_lines:
        note(f"{out}: {report.spoilt_lines} damaged lines of the journal were left out; their calls were made again")
    say(f"{out}: {sum(row['samples'] for row in report.kinds.values())} samples")
