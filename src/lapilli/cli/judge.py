"""`lapilli judge`: a language model compares answers with references."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lapilli.cli.calls import display, print_call, print_estimate, print_spent, require_endpoint, require_whole
from lapilli.cli.console import note, print_json, results, say
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.evaluation.judging.asking import Report
    from lapilli.evaluation.judging.pairs import Paired
    from lapilli.evaluation.judging.plan import Work

_PAGE = "judging.html"
_MOST_SAMPLES = 100
_USUAL_SAMPLES = 2


def register(app: typer.Typer) -> None:
    """Add `judge` to the command line."""
    app.command("judge")(judge)


def judge(
    questions: Annotated[
        Path,
        typer.Argument(help="Questions, a line each: {question_id, text, category, image}.", show_default=False),
    ],
    answers: Annotated[Path, typer.Option(help="The answers to be judged: {question_id, text}.", show_default=False)],
    references: Annotated[Path, typer.Option(help="Answers to compare them with.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write, or to go on in.", show_default=False)],
    model: Annotated[str, typer.Option(help="The judge's name at the endpoint.", show_default=False)],
    contexts: Annotated[
        Path | None, typer.Option(help="What is known of the pictures: {image, caption}.", show_default=False)
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible endpoint; its key is in OPENAI_API_KEY.", show_default=False),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, max=_MOST_SAMPLES, help=f"Judgements of a pair in each order; {_USUAL_SAMPLES}.", show_default=False
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="LLaVA-Bench's procedure: the reference first, one judgement.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="The most that the folder may cost; needs prices.", show_default=False)
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings, .yaml.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: name=value.", show_default=False)
    ] = None,
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Leave out what is not in all of the files.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Print the first call, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Lets a language model compare answers with references, in both orders, with 95 % intervals.

    Every reply is journalled before it is read. The same command goes on where it was stopped, and pays nothing twice.
    """
    from lapilli.evaluation.judging.pairs import Files, read_pairs
    from lapilli.evaluation.judging.plan import plan_work, read_settings

    if published and samples is not None:
        raise UsageError("--samples: the published procedure has one judgement; leave --samples or --published out")
    if base_url is not None:
        require_endpoint(base_url)
    wanted = read_settings(settings, overrides or [])
    paired = read_pairs(Files(questions, answers, references, contexts), allow_unmatched)
    count = 1 if published else samples or _USUAL_SAMPLES
    work = plan_work(paired.pairs, "published" if published else "balanced", count, model, wanted)
    if show_prompt:
        print_call(work.trials[0].pair.id, work.call(work.trials[0]))
    elif dry_run:
        _estimate(work, out, as_json)
    else:
        _run(work, paired, out, (base_url, max_cost), as_json)


def _estimate(work: "Work", out: Path, as_json: bool) -> None:
    from lapilli.evaluation.judging.asking import estimate

    print_estimate(estimate(work, out), "", as_json)


def _run(work: "Work", paired: "Paired", out: Path, endpoint: tuple[str | None, float | None], as_json: bool) -> None:
    """Judge at an endpoint (its address, and the most that it may cost), draw the page, and print the figures."""
    from lapilli.core.llm.many import JOURNAL
    from lapilli.evaluation.judging.asking import judge as judge_pairs

    base_url, most_cost = endpoint
    if base_url is None and not (out / JOURNAL).is_file():
        raise UsageError("no --base-url, and no answers to work with; give the address of an endpoint")
    with display("judgements") as tell:
        report = judge_pairs(work, out, base_url, most_cost=most_cost, on_progress=tell)
    if (out / JOURNAL).is_file():
        _draw(work, out)
    _show(report, paired.left_out, out, as_json)
    _warn_of_unread(report.figures, work.plan.procedure == "published")
    require_whole(out, report.stopped, f"{report.done} of {report.trials} judgements are made")


def _draw(work: "Work", out: Path) -> None:
    from lapilli.core.plain import plain
    from lapilli.core.run import RunDir
    from lapilli.evaluation.judging.asking import PAIRS
    from lapilli.report.judging.page import write_page

    run = RunDir.open(out)
    write_page(plain(work.plan), run.load("judging"), run.lines(PAIRS.removesuffix(".jsonl")), out / _PAGE)


def _show(report: "Report", left_out: Sequence[str], out: Path, as_json: bool) -> None:
    if as_json:
        print_json({**report.figures, "unmatched": len(left_out), "report": _without_figures(report)})
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from lapilli.core.plain import plain
    from lapilli.report.scoring.tables import figure_table

    shown = figure_table(plain(report.figures))
    table = Table(*shown.columns, box=SIMPLE_HEAD, pad_edge=False, caption=shown.note)
    for row in shown.rows:
        table.add_row(*row)
    results.print(table)
    if left_out:
        note(f"{len(left_out)} questions or answers were left out, as they are not in all of the files")
    print_spent(report.calls, report.spent, report.cost)
    if report.spoilt_lines:
        note(f"{out}: {report.spoilt_lines} damaged lines of the journal were left out; their calls were made again")
    if (out / _PAGE).is_file():
        say(f"{out / _PAGE}")


def _warn_of_unread(figures: Mapping[str, Any], published: bool) -> None:
    """Say how many replies could not be read, and what that does to the figures: of none a ratio of -1s is 100."""
    if figures["unparsed"]:
        rule = "count as -1 and -1 in the means, as published; see without_unparsed" if published else "are set aside"
        note(f"{figures['unparsed']} of {figures['judgements']} replies could not be read, and {rule}")


def _without_figures(report: "Report") -> dict[str, Any]:
    return {name: value for name, value in vars(report).items() if name != "figures"}
