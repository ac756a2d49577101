"""`lapilli data`: samples checked and looked at."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lapilli.cli import data_generate, data_select
from lapilli.cli.console import note, print_json, progress_bar, results, say, steps
from lapilli.cli.options import MOST, MOST_SEED
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.core.prompt.codec import Codec
    from lapilli.data.learnable import Requirements
    from lapilli.data.validate import Findings, Problem

_SHOWN = 50  # problems in the table; --json has them all

_File = Annotated[Path, typer.Argument(help="Samples, .json or .jsonl.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add `lapilli data` to the command line."""
    noun = typer.Typer(help="Make, check and look at samples.", no_args_is_help=True)
    noun.command("scenes")(_scenes)
    noun.command("validate")(_validate)
    noun.command("show")(_show)
    data_generate.register(noun)
    data_select.register(noun)
    app.add_typer(noun, name="data")


def _scenes(
    out: Annotated[Path, typer.Argument(help="Folder to write; new or empty.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, max=MOST, help="How many scenes.")] = 1_000,
    split: Annotated[str, typer.Option(help="train, held_out or compositional.")] = "train",
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Draw pictures whose truth is known exactly, with captions, conversations, questions, boxes and masks."""
    from lapilli.data.scenes.dataset import SPLITS, write_scenes

    if split not in SPLITS:
        raise UsageError(f"--split {split}: no such split; there are {', '.join(SPLITS)}")
    with progress_bar() as bar:
        task = bar.add_task(f"scenes, {split}", total=count)
        write_scenes(out, count, split, seed, lambda done: bar.update(task, completed=done))
    say(f"{out}: {count} scenes")


def _validate(
    file: _File,
    images: Annotated[Path, typer.Option(help="Folder that the image paths start from.", show_default=False)],
    stage: Annotated[
        Literal["align", "instruct"] | None,
        typer.Option(help="With --model: find whatever training this stage would refuse.", show_default=False),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="With --stage: folder or hub id of the model.", show_default=False)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Report every problem of a data file: rows, turns, image marks and pictures. Rows count from 0.

    Lengths and control tokens depend on a tokenizer: give --stage and --model to have them checked too.
    """
    if (stage is None) != (model is None):
        raise UsageError("give both --stage and --model, or neither")
    from lapilli.data.validate import validate

    requirements = None if stage is None or model is None else _requirements(stage, model)
    with steps() as progress:
        findings = validate(file, images, requirements, progress)
    if as_json:
        print_json({"file": file, **asdict(findings)})
    else:
        _print_findings(file, findings, requirements is not None)
    raise typer.Exit(1 if findings.problems else 0)


def _requirements(stage: str, model: Path) -> "Requirements":
    from lapilli.model.hub import require_named

    require_named(model)
    from lapilli.training.stages import STAGES, requirements_of

    return requirements_of(STAGES[stage], model)


def _print_findings(file: Path, findings: "Findings", encoded: bool) -> None:
    for kind, some in (("problem", findings.problems), ("warning", findings.warnings)):
        if some:
            _print_problems(kind, some[:_SHOWN])
        if len(some) > _SHOWN:
            results.print(f"... and {len(some) - _SHOWN} more; --json lists them all")
    counts = f"{findings.rows} rows, {findings.images} images, {len(findings.problems)} problems"
    say(f"{file}: {counts}" + (f", {len(findings.warnings)} warnings" if findings.warnings else ""))
    if not encoded:
        note("without --stage and --model: lengths and the tokenizer's control tokens are not checked")


def _print_problems(kind: str, problems: "Iterable[Problem]") -> None:
    from rich.table import Table

    table = Table("row", "id", "field", kind, "remedy")
    for problem in problems:
        cells = ["" if problem.row is None else str(problem.row), problem.id or "", problem.field]
        table.add_row(*cells, problem.message, problem.remedy)
    results.print(table)


def _show(
    file: _File,
    row: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Which row; the first is 0.")],
    model: Annotated[Path | None, typer.Option(help="Folder or hub id of a joined model.", show_default=False)] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Without a model: folder or hub id of a tokenizer.", show_default=False)
    ] = None,
    template: Annotated[str | None, typer.Option(help="Without a model: the template.", show_default=False)] = None,
    image_tokens: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Without a model: tokens of an image.", show_default=False)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Show the tokens of one row as a model is trained on them: their roles, and which of them are learned.

    Control tokens that stand in a question or an answer are marked; they may end a turn, or begin one.

    Give --model, or --tokenizer, --template and --image-tokens.
    """
    from lapilli.data.encode import encode
    from lapilli.data.learnable import controls
    from lapilli.data.sample import read_sample
    from lapilli.data.show import as_json as plainly
    from lapilli.data.show import render

    parts = (tokenizer, template, image_tokens)
    _require_one_source(model, parts)
    sample = read_sample(file, row)
    codec = _codec(model, *parts)
    encoded = encode(sample, codec)
    written = [at for at, _, _ in controls(sample, encoded, codec)]
    if as_json:
        print_json(plainly(encoded, codec, written))
    else:
        results.print(render(encoded, codec, results.color_system is not None, written))


def _require_one_source(model: Path | None, parts: Sequence[object]) -> None:
    are_present = [part is not None for part in parts]
    if any(are_present) if model is not None else not all(are_present):
        raise UsageError("give either --model, or all of --tokenizer, --template and --image-tokens")


def _codec(model: Path | None, tokenizer: Path | None, template: str | None, image_tokens: int | None) -> "Codec":
    if model is not None:
        from lapilli.model.hub import require_named

        require_named(model)
        from lapilli.model.llava import codec_of

        return codec_of(model)
    from lapilli.model.tokenizer import codec_of_tokenizer

    assert tokenizer is not None and template is not None and image_tokens is not None
    return codec_of_tokenizer(tokenizer, template, image_tokens)
