"""`lapilli score`: score anybody's answers, without a model."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lapilli.cli.console import note, print_json, results, say
from lapilli.core.errors import LapilliError, UsageError
from lapilli.evaluation.published.protocol import PUBLISHED, published

if TYPE_CHECKING:
    from lapilli.evaluation.published.join import Scored
    from lapilli.evaluation.published.protocol import Published
    from lapilli.report.scoring.tables import Table

_FILES = ("--answers", "--reviews", "--references")
_PAGE = "score.html"
_NARROWEST = 16  # characters of the column of names


class _SeveralFiles(TyperCommand):
    """A command whose options of files take all the words behind them: `--references a.json b.json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with each of these options before every one of its files."""
        return super().parse_args(ctx, spread(args))


def spread(args: Sequence[str]) -> list[str]:
    """The arguments with an option of files before each of its files."""
    spread_out: list[str] = []
    option = ""
    for argument in args:
        if argument.startswith("--"):
            option = argument if argument in _FILES else ""
        elif option and spread_out[-1] != option:
            spread_out.append(option)
        spread_out.append(argument)
    return spread_out


def register(app: typer.Typer) -> None:
    """Add `score` to the command line."""
    app.command("score", cls=_SeveralFiles)(score)


def score(
    bench: Annotated[
        str,
        typer.Argument(metavar="BENCH", help=f"Whose rules: {', '.join(PUBLISHED)}.", show_default=False),
    ],
    answers: Annotated[
        list[Path],
        typer.Option(
            "--answers",
            "--reviews",
            metavar="FILE...",
            help="Answers, a line each: {question_id, prompt, text}. Several files are compared. Reviews of a judge.",
            show_default=False,
        ),
    ],
    references: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="The labels, as their authors publish them.", show_default=False),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="LLaVA's file of questions, where labels are joined by it.", show_default=False)
    ] = None,
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Leave out answers without labels, and labels without answers.")
    ] = False,
    upload: Annotated[
        Path | None,
        typer.Option(help="Write what the authors' server takes: .json, or .xlsx for mmbench.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder for scores, every answer as it was scored, and score.html."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Scores anybody's answers to a published benchmark by its published rules, with 95 % intervals.

    Answers and labels are joined by key; what does not match is an error. Several files of answers are compared, pair
    by pair.
    """
    benchmark = published(bench)
    from lapilli.evaluation.published.join import read_labels, score_file

    _require_distinct(answers)
    if upload:
        labelled = _upload(benchmark, answers, questions, references or [], upload, allow=allow_unmatched)
        if not labelled:  # of a split whose labels only the server has
            return
    labels = read_labels(benchmark, questions, references or [])
    files = [score_file(benchmark, file, labels, allow_unmatched) for file in answers]
    parts = _parts(benchmark, files)
    if out:
        _save(benchmark, files, parts, references or [], out)
    _show(parts, as_json)
    if out and not as_json:
        say(f"{out / _PAGE}")


def _require_distinct(answers: Sequence[Path]) -> None:
    places = [os.path.realpath(file) for file in answers]
    if twice := next((file for file, place in zip(answers, places, strict=True) if places.count(place) > 1), None):
        raise UsageError(f"{twice}: given twice; give each file of answers once")


def _parts(benchmark: "Published[Any]", files: "Sequence[Scored]") -> dict[str, Any]:
    """The result of every file, and the comparisons of all pairs."""
    from lapilli.evaluation.published.results import compare, names, result

    models = {name: result(benchmark, scored) for name, scored in zip(names(files), files, strict=True)}
    return {"models": models, "comparisons": compare(benchmark, files)}


def _save(
    benchmark: "Published[Any]", files: "Sequence[Scored]", parts: Mapping[str, Any], labels: Sequence[Path], out: Path
) -> None:
    """Write the run folder: recipe, scores, a row for every answer, and the page."""
    from lapilli.core.files import sha256
    from lapilli.core.plain import plain
    from lapilli.core.run import RunDir
    from lapilli.core.terminal import printable
    from lapilli.evaluation.published.results import names
    from lapilli.report.scoring.page import write_page

    recipe = {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "answers": {name: sha256(scored.file) for name, scored in zip(names(files), files, strict=True)},
        "labels": {printable(str(file)): sha256(file) for file in labels},
    }
    with RunDir.alone(out):
        run = RunDir.create(out, recipe, 0)
        run.save("scores", parts)
        for name, scored in zip(names(files), files, strict=True):
            run.append("rows", ({"answers": name, **plain(row)} for row in scored.rows))
        rows = {name: [plain(row) for row in scored.rows] for name, scored in zip(names(files), files, strict=True)}
        run.finish()
        write_page(benchmark.name, plain(parts), rows, out / _PAGE)


def _upload(
    benchmark: "Published[Any]",
    answers: Sequence[Path],
    questions: Path | None,
    labels: Sequence[Path],
    out: Path,
    allow: bool,
) -> bool:
    """Write the file for the authors' server, and return whether there are labels to score by.

    Raises UsageError where there is no server, or several files of answers, and LapilliError for answers and questions
    that do not belong together, unless `allow` leaves them out.
    """
    from lapilli.core.files import write_atomically
    from lapilli.core.plain import json_text
    from lapilli.evaluation.published.join import read_questions, require_distinct, require_matched

    if benchmark.upload is None or len(answers) > 1:
        why = "of one file of answers" if benchmark.upload else "for gqa, vqa and mmbench"
        raise UsageError(f"--upload: {why}; leave it out")
    rows, labelled = benchmark.answers(answers[0]), bool(labels)
    require_distinct(benchmark, rows)
    if out.suffix.lower() != ".xlsx":
        question_rows = read_questions(questions) if questions else {}
        if questions:
            require_matched(rows, question_rows, questions, allow)
        write_atomically(out, json_text(benchmark.upload(rows, question_rows)))
    elif benchmark.name == "mmbench" and len(labels) == 1:
        from lapilli.evaluation.published.mmbench import write_spreadsheet

        labelled = write_spreadsheet(labels[0], rows, out, allow)
    else:
        raise LapilliError(f"{out}: a spreadsheet is of mmbench and one table of labels; name it .json")
    note(f"{out}: written")
    return labelled


def _show(parts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        models = parts["models"]
        print_json(next(iter(models.values())) if len(models) == 1 else parts)
        return
    from lapilli.core.plain import plain
    from lapilli.report.scoring.tables import comparison_table, figure_table, model_table

    models = plain(parts["models"])
    if len(models) == 1:
        _print(figure_table(*models.values()))
        return
    _print(model_table(models))
    _print(comparison_table(plain(parts["comparisons"])))


def _print(table: "Table") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column
    from rich.table import Table as Shown

    first, *others = table.columns
    columns = (Column(header) for header in others)  # which wrap where there are many files
    shown = Shown(
        Column(first, overflow="fold", min_width=_NARROWEST),
        *columns,
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption=table.note,
    )
    for row in table.rows:
        shown.add_row(*row)
    results.print(shown)
