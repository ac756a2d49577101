"""`lapilli data rate`, `filter`, `mix` and `import`: samples judged, chosen, put together, and made of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.console import note, print_json, progress_bar, results, say, steps
from lapilli.cli.options import MOST, MOST_SEED
from lapilli.core.errors import LapilliError, UsageError

if TYPE_CHECKING:
    from lapilli.data.contamination import Folders, Overlap
    from lapilli.data.contexts import Context
    from lapilli.data.generation.judging import Judged
    from lapilli.data.generation.rating import Rating
    from lapilli.data.mix import Part
    from lapilli.data.phrases import Band

_SHOWN = 20  # samples in the table of ratings, the lowest; --json has all

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same bytes.")]


def register(noun: typer.Typer) -> None:
    """Add the commands to `lapilli data`."""
    noun.command("rate")(_rate)
    noun.command("filter")(_filter)
    noun.command("mix")(_mix)
    noun.command("import")(_import)


def _rate(
    file: Annotated[Path, typer.Argument(help="Samples, .json or .jsonl.", show_default=False)],
    contexts: Annotated[
        Path | None, typer.Option(help="What is known of their pictures, .jsonl.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(help="A model that judges them too.", show_default=False)] = "",
    base_url: Annotated[str | None, typer.Option(help="The judge's endpoint.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the judge's answers.", show_default=False)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of calls.", show_default=False)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Say what is good and bad about each sample, with a score from 0 to 1. Nothing is dropped for a low one.

    With contexts, also whether an answer names objects that nobody knows of, and how much of the picture is used. A
    model judges by a rubric, twice: with its criteria in both orders.
    """
    from lapilli.data.contexts import read_contexts
    from lapilli.data.generation.rating import rate_file

    if len({bool(model), base_url is not None, out is not None}) > 1:
        raise UsageError("a judge needs all of --model, --base-url and --out; give them, or none")
    known = {context.image: context for context in read_contexts(contexts)} if contexts else {}
    ratings = rate_file(file, known)
    if contexts and not any(rating.has_context for rating in ratings):
        raise LapilliError(f"{contexts}: of no picture of {file}; write image in both as the same path")
    judged = _judged(file, known, (model, base_url, out), overrides or []) if base_url and out else None
    if as_json:
        print_json({"file": file, "ratings": ratings, "judged": judged})
        return
    _print_ratings(sorted(ratings, key=lambda rating: rating.score)[:_SHOWN])
    mean = sum(rating.score for rating in ratings) / len(ratings)
    flawless = sum(not rating.bad for rating in ratings)
    say(f"{file}: {len(ratings)} samples, mean score {mean:.3f}, {flawless} without a bad point")
    if contexts:
        say(f"{contexts}: contexts of {sum(rating.has_context for rating in ratings)} of them")
    if judged:
        _print_judged(judged)


def _judged(file: Path, known: "dict[str, Context]", judge: tuple[str, str, Path], overrides: list[str]) -> "Judged":
    """The opinions of a model (its name, its endpoint, the folder of its answers)."""
    from lapilli.data.generation.judging import Judge, judge_samples
    from lapilli.data.generation.settings import read_settings
    from lapilli.data.sample import read_samples

    model, base_url, out = judge
    samples = read_samples(file)
    settings = read_settings(None, overrides)
    with steps() as progress:
        made = Judge(base_url, model, known, settings)
        judged = judge_samples(samples, made, out, lambda done: progress("opinions", done, len(samples)))
    if judged.stopped:
        raise LapilliError(f"{out}: {len(judged.opinions)} of {len(samples)} are judged: {judged.stopped}")
    return judged


def _print_judged(judged: "Judged") -> None:
    scores = [score for opinion in judged.opinions if (score := opinion.score) is not None]
    mean = sum(scores) / len(scores) if scores else 0.0
    failed = len(judged.opinions) - len(scores)
    say(f"judge: {len(scores)} samples, mean {mean:.2f} of 5; {failed} without an opinion that can be read")
    both = judged.agreement
    agreed = f"{100 * both.same:.0f} % the same, {100 * both.within_one:.0f} % at most one apart"
    say(f"judge, the two orders of the rubric: {agreed}, of {both.n} points")


def _print_ratings(ratings: "list[Rating]") -> None:
    from rich.table import Table

    table = Table("row", "id", "score", "bad", "good")
    for rating in ratings:
        bad = "; ".join(f"{point.name}: {point.evidence[:60]}" for point in rating.bad)
        table.add_row(str(rating.row), rating.id, f"{rating.score:.2f}", bad, ", ".join(p.name for p in rating.good))
    results.print(table)


def _filter(
    file: Annotated[Path, typer.Argument(help="Captions, a JSON object a line, .jsonl.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.", show_default=False)],
    least: Annotated[int, typer.Option(min=1, max=MOST, help="Phrases of fewer captions are skipped.")] = 3,
    most: Annotated[int, typer.Option(min=1, max=MOST, help="The most captions of a phrase.")] = 100,
    counted: Annotated[bool, typer.Option("--counted", help="Chosen captions count towards --most.")] = False,
    spacy: Annotated[
        str | None,
        typer.Option(help="Find phrases by this model of spaCy; else they are in the file.", show_default=False),
    ] = None,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Capitals, and articles that spaCy finds, make other phrases.")
    ] = False,
    seed: _Seed = 0,
    as_json: _Json = False,
) -> None:
    """Choose captions so that rare noun phrases stay and frequent ones are cut, as LLaVA's 595K were chosen.

    Writes the chosen lines, as many random ones to compare with, and a report by frequency.
    """
    from lapilli.data.caption_file import filter_captions
    from lapilli.data.phrases import Balance

    with progress_bar() as bar:
        task = bar.add_task("captions, bytes", total=None)
        balance = Balance(least, most, counted, seed)

        def tell(done: int, of_all: int) -> None:
            bar.update(task, completed=done, total=of_all)

        report = filter_captions(file, out, balance, spacy, tell, as_written=as_written)
    if as_json:
        print_json(report)
        return
    _print_bands(report.bands)
    say(f"{out}: {report.chosen} of {report.captions} captions, {report.phrases} different phrases")


def _print_bands(bands: "list[Band]") -> None:
    from rich.table import Table

    table = Table("captions of a phrase", "phrases", "before", "chosen", "random")
    for band in bands:
        counts = [str(count) for count in (band.phrases, band.before, band.after, band.control)]
        table.add_row(f"{band.least} to {band.most}", *counts)
    results.print(table)


def _mix(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the mixture, .yaml.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write, .json or .jsonl.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A field: name=value.", show_default=False)
    ] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="Questions of an evaluation that samples are compared with.", show_default=False),
    ] = None,
    decontaminate: Annotated[bool, typer.Option("--decontaminate", help="Leave out samples of its pictures.")] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the mixture's image paths start from.", show_default=False)
    ] = None,
    evaluation_images: Annotated[
        Path | None, typer.Option(help="The same of the evaluation: compare what is in pictures.", show_default=False)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Put several files of samples together: weighted, cut, merged by picture, split, with formats of answers.

    `lapilli data mix data/mixtures/mix665k.yaml` names the sources of LLaVA-1.5.
    """
    from lapilli.core.files import refuse_input
    from lapilli.data.contamination import overlap, without
    from lapilli.data.mix import mix, read_mixture
    from lapilli.data.rows import is_lines
    from lapilli.data.sample import write_samples

    others = evaluation or []
    folders = _folders(images, evaluation_images)
    _require_evaluation(others, decontaminate or folders is not None)
    is_lines(out)
    mixture = read_mixture(recipe, overrides or [])
    refuse_input(out, [recipe, *(source.file for source in mixture.sources), *others])
    samples, parts = mix(mixture)
    with steps() as progress:
        overlaps = [overlap(samples, file, folders, progress) for file in others]
    rest = without(samples, overlaps) if decontaminate else samples
    if not rest:
        raise _nothing_left(recipe, len(samples))
    write_samples(out, rest)
    if as_json:
        print_json({"file": out, "samples": len(rest), "sources": parts, "evaluations": overlaps})
        return
    _print_parts(parts, overlaps)
    say(f"{out}: {len(rest)} samples")


def _nothing_left(recipe: Path, removed: int) -> LapilliError:
    """The error for a mixture of no samples, `removed` of which the evaluations took away."""
    taken_away = f" ({removed} have pictures of the evaluation)" if removed else ""
    return LapilliError(f"{recipe}: no samples are left{taken_away}; take more of the sources")


def _require_evaluation(evaluation: list[Path], is_compared: bool) -> None:
    if is_compared and not evaluation:
        raise UsageError("--decontaminate, --images: nothing to compare with; give --evaluation")


def _folders(images: Path | None, others: Path | None) -> "Folders | None":
    """Where the pictures lie that are to be compared; None where names are. Raises UsageError."""
    from lapilli.data.contamination import Folders

    if images is None and others is None:
        return None
    if images is None or others is None:
        raise UsageError("--images, --evaluation-images: give both, or neither")
    for folder in (images, others):
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; give the folder that the image paths start from")
    return Folders(images, others)


def _print_parts(parts: "list[Part]", overlaps: "list[Overlap]") -> None:
    from rich.table import Table

    table = Table("source", "samples", "share", "questions", "words of answers")
    rows, words = (max(1, sum(getattr(part, name) for part in parts)) for name in ("taken", "answer_words"))
    for part in parts:
        share = f"{100 * part.answer_words / words:.1f} %"
        table.add_row(part.name, str(part.taken), f"{100 * part.taken / rows:.1f} %", str(part.questions), share)
    results.print(table)
    for one in overlaps:
        shared = f"{len(one.pictures)} samples of its pictures, {len(one.questions)} with its question too"
        say(f"{one.file}: {one.rows} rows; {shared}")
        if one.copies is not None:
            unread = f"; {one.unread} pictures cannot be opened" if one.unread else ""
            say(f"{one.file}: {len(one.copies)} samples of pictures that look like its own under another name{unread}")


def _import(
    table: Annotated[Path, typer.Argument(help="Questions and answers: .csv, .tsv or .jsonl.", show_default=False)],
    images: Annotated[Path, typer.Option(help="Folder that the image paths start from.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.", show_default=False)],
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="The share set aside, by picture.")] = 0.1,
    seed: _Seed = 0,
) -> None:
    """Make samples of your own pictures, and of a table with columns image, question and answer.

    Every picture is opened once. Write captions instead, and `lapilli data contexts` makes contexts to generate from.
    """
    from lapilli.data.own import import_rows

    with steps() as progress:
        made = import_rows(table, images, out, validation, seed=seed, progress=progress)
    sides = f"{made.train} to train, {made.validation} aside"
    say(f"{out}: {made.questions} questions about {made.pictures} pictures; {sides}")
    if made.copies:
        note(f"{table}: {made.copies} names are of pictures that have another name; their questions are put together")
