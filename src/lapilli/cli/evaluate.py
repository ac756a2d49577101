"""`lapilli eval`: score a model."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lapilli.cli.console import go_on, note, print_json, print_table, say, steps
from lapilli.cli.options import MOST, MOST_SEED, Device, Model, Shard, part_of, require_models
from lapilli.core.errors import UsageError
from lapilli.evaluation.benchmark import BENCHMARKS, benchmark
from lapilli.evaluation.published.protocol import ASKED

if TYPE_CHECKING:
    from lapilli.evaluation.benchmark import Benchmark
    from lapilli.studies.evaluate import Rows, Settings

_LIST = "; ".join(f"{name} ({entry.summary})" for name, entry in BENCHMARKS.items())
_PAGE = "eval.html"
_EACH = 200  # questions of a type, of those that are drawn


def register(app: typer.Typer) -> None:
    """Add `eval` to the command line."""
    app.command("eval")(evaluate)


def evaluate(
    context: typer.Context,
    model: Model,
    benches: Annotated[
        list[str],
        typer.Argument(
            metavar="BENCH...",
            help=(
                f"What to score it on: {_LIST}; {', '.join(ASKED)} (published, their files in --data); or your own "
                "questions, a .csv, .tsv, .json or .jsonl file."
            ),
            show_default=False,
        ),
    ],
    images: Annotated[
        Path | None, typer.Option(help="The pictures of your own questions; beside their file if not given.")
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Ask your own questions for one word or phrase, in LLaVA-1.5's words.")
    ] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="Take the likeliest of a published benchmark's choices; generate nothing.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="The folder of a benchmark's questions; scenes are drawn anew without it."),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help=f"How many questions of each type, or conversations: {_EACH}, or all your own.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the scenes drawn anew.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="A run folder for scores, every answer and the page eval.html; goes on where it stopped."),
    ] = None,
    shard: Shard = "1/1",
    answers: Annotated[
        list[Path] | None, typer.Option(help="Folders of shards, whose answers are taken over.", show_default=False)
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Scores by type of question with 95 % intervals, beside the controls that show whether the model sees.

    With --out an interrupted evaluation goes on when it is run again, and of a finished one only the page is drawn.
    """
    _require_folder(out, shard, answers or [])
    from lapilli.evaluation.question_file import question_files

    own = _OwnQuestions(question_files(benches), images, questions, short)
    own.require_files()
    registered = {name: _registered(name) for name in benches if name not in own.files}
    _require_options(benches, registered, choose, out)
    from lapilli.core.placement import Placement
    from lapilli.model.hub import require_named

    placement, count = Placement(device), questions or _EACH
    _hold(context, out)
    require_named(model)
    for one in registered.values():
        one.require_questions(data, count)
    _require_unshared(by_name := registered | own.benchmarks(), shard, answers or [])
    from lapilli.model.placement import settings

    settings(placement)  # a device that is not there is said before anything is drawn
    (folder,) = require_models([model])
    from lapilli.studies.evaluate import Settings  # last: a refusal should not wait for torch

    chosen, part = [by_name[name] for name in dict.fromkeys(benches)], part_of(shard)
    of = Settings(folder, chosen, data=data, count=count, seed=seed, placement=placement, choose=choose, shard=part)
    _show(_parts(of, out, own, str(model), answers or []), of, out, as_json)


def _registered(name: str) -> "Benchmark[Any]":
    """The benchmark of a name, drawn or published. Raises UsageError for another name."""
    if name in BENCHMARKS:
        return benchmark(name)
    if name not in ASKED:
        known = ", ".join([*BENCHMARKS, *ASKED])
        raise UsageError(
            f"no benchmark {name!r}; there are: {known}; or give questions in a file (.csv, .tsv, .json, .jsonl)"
        )
    from lapilli.evaluation.published.asking import published_benchmark

    return published_benchmark(name)


def _require_options(
    benches: list[str], registered: "Mapping[str, Benchmark[Any]]", choose: bool, out: Path | None
) -> None:
    """Raise UsageError where choices are to be made without any, or no folder keeps answers that are to be graded."""
    without = [name for name in benches if name not in registered or registered[name].choices is None]
    if choose and without:
        raise UsageError(f"--choose: {without[0]} has no choices; leave it out")
    graded = [name for name, of in registered.items() if of.grading]
    if graded and out is None:
        raise UsageError(
            f"{graded[0]}: its answers are graded before there is a score; keep them in a folder with --out"
        )


@dataclass(frozen=True)
class _OwnQuestions:
    """The files of own questions, by their arguments, and how they are asked."""

    files: Mapping[str, Path]
    images: Path | None
    per_type: int | None
    short: bool

    def require_files(self) -> None:
        """Raise UsageError where something is said of how they are asked, and there are none."""
        if not self.files and (self.images or self.short):
            option = "--images" if self.images else "--short"
            raise UsageError(f"{option}: for your own questions; give their file")

    def benchmarks(self) -> "dict[str, Benchmark[Any]]":
        """The files as benchmarks. Raises LapilliError for what cannot be asked."""
        if not self.files:
            return {}
        from lapilli.evaluation.own import own_benchmark

        with steps() as progress:
            return {
                name: own_benchmark(
                    file, self.images or file.parent, self.per_type, short=self.short, progress=progress
                )
                for name, file in self.files.items()
            }

    def recipe(self) -> dict[str, Any]:
        """What decides their figures, for the recipe of a run; empty without files."""
        if not self.files:
            return {}
        own = {
            "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in self.files.values()},
            "per_type": self.per_type,
            "short": self.short,
        }
        return {"own": own, "images": [(self.images or file.parent).resolve() for file in self.files.values()]}


def _require_folder(out: Path | None, shard: str, answers: Sequence[Path]) -> None:
    """Raise UsageError for what is no shard, and where shards are asked or put together without a folder."""
    is_part = part_of(shard)[1] > 1
    if out is None and (is_part or answers):
        option = "--shard" if is_part else "--answers"
        raise UsageError(f"{option}: the answers are kept in a folder; name it with --out")
    if is_part and answers:
        raise UsageError("--answers: for the whole evaluation; leave it or --shard out")


def _require_unshared(benches: "Mapping[str, Benchmark[Any]]", shard: str, answers: Sequence[Path]) -> None:
    """Raise UsageError where conversations would be shared out: a question needs the answers before it."""
    conversations = next((one.name for one in benches.values() if one.conversation), None)
    if conversations and (part_of(shard)[1] > 1 or answers):
        option = "--answers" if answers else "--shard"
        raise UsageError(
            f"{option}: {conversations} asks behind the answers to earlier questions, which others would have; "
            f"ask it whole, without {option}"
        )


def _hold(context: typer.Context, out: Path | None) -> None:
    """Lock the run folder, if any, for the command. Raises LapilliError for a folder that holds something else."""
    if out is None:
        return
    from lapilli.core.files import refuse_occupied
    from lapilli.core.run import RunDir

    context.with_resource(RunDir.alone(out))
    if not (out / "recipe.yaml").is_file():
        refuse_occupied(out)


def _parts(
    of: "Settings", out: Path | None, own: _OwnQuestions, model: str, shards: Sequence[Path]
) -> "dict[str, Rows]":
    """The rows of the evaluation: with `out` what its run folder lacks is evaluated, and the page drawn.

    A shard has none, and no page.
    """
    from lapilli.model.hub import hub_name
    from lapilli.report.evaluation.page import write_page
    from lapilli.studies.evaluate import begin, evaluate_model, saved

    if out is None:
        with steps() as progress:
            return evaluate_model(of, progress)
    run, others = begin(out, of, own.recipe(), shards)
    for other in others:
        if other.is_complete:
            other.verify(pages=False)
        else:
            note(f"{other.path}: a shard that has not finished; what it lacks is asked here")
    go_on(run, lambda progress: evaluate_model(of, progress, run, others))
    if of.is_shard:
        return {}
    parts = saved(run)
    write_page(parts, hub_name(of.model) or model, out / _PAGE)  # of a finished run: it can be drawn again
    return parts


def _show(parts: "Mapping[str, Rows]", of: "Settings", out: Path | None, as_json: bool) -> None:
    if out and not parts:
        _show_shard(out, as_json)
    elif as_json:
        print_json({part: parts[part] for part in ("scores", "constants")})
    else:
        for table in parts["tables"]:
            print_table(table["columns"], table["rows"], table["note"])
        if out:
            _say_grading(of, out)
            say(f"{out / _PAGE}")


def _say_grading(of: "Settings", out: Path) -> None:
    """Say how scores come of answers that are graded."""
    folders = {"data": shlex.quote(str(of.data)), "out": shlex.quote(str(out))}
    for graded in (one for one in of.benchmarks if one.grading):
        say(f"{graded.name}: the answers have been written; for a score go on with")
        for step in graded.grading:
            say(f"  {step.format(**folders)}")


def _show_shard(out: Path, as_json: bool) -> None:
    from lapilli.core.run import RunDir

    count = len(RunDir.open(out).metrics())
    if as_json:
        print_json({"answers": count})
    else:
        say(f"{out}: {count:,} answers; put the shards together without --shard, with --answers FOLDER for each")
