"""The tables of trainings, a column a run: how they went, what was tuned, data, recipes, sample answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lapilli.core.plain import json_text
from lapilli.report.kit import figures
from lapilli.report.training.charts import accuracy_rows, benchmarks, training_loss
from lapilli.report.training.read import Part, TrainingRun

_PARTS = {"vision": "vision encoder", "projector": "connector", "llm": "language model"}
_MOST_QUESTIONS = 24  # that are shown with their answers
_MOST_STEPS = 12  # of which the answers to a question are shown


@dataclass(frozen=True)
class Row:
    """A line of a table: what it is about, and a cell for each run."""

    name: str
    cells: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether the runs differ in it."""
        return len(set(self.cells)) > 1


@dataclass(frozen=True)
class Tuned:
    """How a part of the model is tuned in one run, in words."""

    part: str
    how: str
    learned: str
    parameters: str


@dataclass(frozen=True)
class Question:
    """A question that was asked at every evaluation: its pictures, the right answer, and the replies by steps."""

    id: str
    pictures: Sequence[str | None]
    question: str
    expected: str
    replies: Sequence[tuple[float, Sequence[str | None]]]
    left_out: int


def course(runs: Sequence[TrainingRun]) -> list[Row]:
    """How the runs went, in figures."""
    rows = [
        _row("state", runs, lambda run: run.state.word),
        _row("steps", runs, lambda run: _of(run.steps, run.start.steps)),
        _row("epochs", runs, lambda run: _last(run, "epoch", _short)),
        _row("training loss, smoothed", runs, _training_loss),
        _row("lowest validation loss", runs, _lowest),
        *(_row(f"last accuracy, {name.replace('_', ' ')}", runs, _accuracy(name)) for name in benchmarks(runs)),
        _row("time", runs, _time),
        _row("samples a second", runs, _speed),
        _row("most memory", runs, lambda run: _last(run, "peak_memory_gb", lambda gb: figures.size(gb * 1e9))),
    ]
    return [row for row in rows if set(row.cells) != {figures.NONE}]


def best(runs: Sequence[TrainingRun]) -> str | None:
    """Which of several runs has the lowest validation loss, in a sentence; None where not all have one."""
    lowest = [min((value for _, value in run.points("validation_loss")), default=None) for run in runs]
    losses = [value for value in lowest if value is not None]
    if len(runs) < 2 or len(losses) < len(runs):
        return None
    return f"The lowest validation loss is that of {runs[losses.index(min(losses))].name}: {figures.loss(min(losses))}."


def tuned(run: TrainingRun) -> list[Tuned]:
    """The parts of a run's model; none for runs of earlier releases and for parts that are trained from nothing."""
    return [
        Tuned(
            _PARTS.get(part.part, part.part),
            _how(part, run.recipe),
            figures.whole(part.learned_parameters) if part.learned_parameters else figures.NONE,
            figures.whole(part.parameters),
        )
        for part in run.start.parts
    ]


def data(runs: Sequence[TrainingRun]) -> list[Row]:
    """What the runs learned from."""
    rows = [
        _row("file", runs, lambda run: _text(_group(run.recipe, "data").get("file", figures.NONE))),
        _row("samples", runs, lambda run: _whole(run.start.samples or run.results.get("samples"))),
        _row("tokens", runs, lambda run: _whole(run.start.tokens or run.results.get("tokens"))),
        _row("learned tokens", runs, lambda run: _whole(run.start.learned_tokens or run.results.get("learned_tokens"))),
        _row("validation samples", runs, lambda run: _whole(run.start.validation_samples)),
        _row("validation tokens", runs, lambda run: _whole(run.start.validation_tokens)),
        _row("skipped samples", runs, lambda run: _whole(run.skipped)),
        _row("steps an epoch", runs, lambda run: _whole(run.start.steps_per_epoch)),
    ]
    return [row for row in rows if set(row.cells) != {figures.NONE}]


def recipe(runs: Sequence[TrainingRun]) -> list[Row]:
    """Every field of the recipes."""
    fields = [dict(_fields(run.recipe)) for run in runs]
    names = dict.fromkeys(name for each in fields for name in each)
    return [Row(name, [each.get(name, figures.NONE) for each in fields]) for name in names]


def environment(runs: Sequence[TrainingRun]) -> list[Row]:
    """Where the runs were started, and with what."""
    packages = dict.fromkeys(name for run in runs for name in run.environment.versions)
    rows = [
        _row("started", runs, lambda run: run.environment.started),
        _row("device", runs, lambda run: run.start.device or ""),
        _row("platform", runs, lambda run: run.environment.platform),
        _row("python", runs, lambda run: run.environment.python),
        *(_row(name, runs, _version(name)) for name in packages),
    ]
    return [row for row in rows if any(row.cells)]


def questions(runs: Sequence[TrainingRun]) -> tuple[list[Question], int]:
    """The first questions that were asked at every evaluation, and the number of the others."""
    keys = dict.fromkeys((one.id, one.question) for run in runs for one in run.samples)
    return [_question(runs, *key) for key in list(keys)[:_MOST_QUESTIONS]], max(0, len(keys) - _MOST_QUESTIONS)


def _question(runs: Sequence[TrainingRun], id_: str, text: str) -> Question:
    answers = [[one for one in run.samples if (one.id, one.question) == (id_, text)] for run in runs]
    by_step = [{one.step: one.reply for one in rows} for rows in answers]
    steps = sorted({step for replies in by_step for step in replies})
    shown = _spread(steps, _MOST_STEPS)
    run, first = next((run, rows[0]) for run, rows in zip(runs, answers, strict=True) if rows)
    return Question(
        id_,
        [run.pictures.get(name) for name in first.images],
        question=text,
        expected=first.expected,
        replies=[(step, [replies.get(step) for replies in by_step]) for step in shown],
        left_out=len(steps) - len(shown),
    )


def _spread(steps: Sequence[float], most: int) -> list[float]:
    """So many of the steps at most, evenly, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(index * (len(steps) - 1) / (most - 1))] for index in range(most)]


def _how(part: Part, recipe: Mapping[str, Any]) -> str:
    """The mode of a part and what of it is tuned: full, layers 2, 3, attention."""
    group, lora = _group(recipe, part.part), _group(recipe, "lora")
    words = [part.mode]
    if part.mode == "lora":
        words = [f"{'DoRA' if lora.get('dora') else 'LoRA'} of rank {_text(lora.get('rank'))}"]
    if part.mode != "frozen":
        words += [f"{name} {_text(group[name])}" for name in ("layers", "modules") if group.get(name) is not None]
    return ", ".join(words)


def _row(name: str, runs: Sequence[TrainingRun], cell: Callable[[TrainingRun], str]) -> Row:
    return Row(name, [cell(run) for run in runs])


def _group(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    group = recipe.get(name)
    return group if isinstance(group, dict) else {}


def _fields(values: Mapping[str, Any], below: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a recipe by their dotted names, as text."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{below}{name}.")
        else:
            yield f"{below}{name}", _text(value)


def _text(value: Any) -> str:
    """A value of a recipe: true, null, [1, 2]; text as it is."""
    return value if isinstance(value, str) else json_text(value)


def _whole(number: float | None) -> str:
    return figures.whole(number) if number else figures.NONE


def _short(number: float) -> str:
    return f"{number:.3g}"


def _of(steps: float, planned: float | None) -> str:
    return f"{figures.whole(steps)} of {figures.whole(planned)}" if planned else figures.whole(steps)


def _last(run: TrainingRun, name: str, words: Callable[[float], str]) -> str:
    points = run.points(name)
    return words(points[-1][1]) if points else figures.NONE


def _training_loss(run: TrainingRun) -> str:
    curve = training_loss(run)
    return figures.loss(curve.line[-1][1]) if curve.points else figures.NONE


def _lowest(run: TrainingRun) -> str:
    if not (points := run.points("validation_loss")):
        return figures.NONE
    step, loss = min(points, key=lambda point: point[1])
    return f"{figures.loss(loss)} (step {figures.whole(step)})"


def _accuracy(name: str) -> Callable[[TrainingRun], str]:
    def cell(run: TrainingRun) -> str:
        if not (rows := accuracy_rows(run, name)):
            return figures.NONE
        last = rows[-1]
        return (
            f"{figures.percent(last['accuracy'])} ({figures.interval(last['low'], last['high'])}, n = {last['n']:.0f})"
        )

    return cell


def _version(package: str) -> Callable[[TrainingRun], str]:
    return lambda run: run.environment.versions.get(package, "")


def _time(run: TrainingRun) -> str:
    return (
        figures.duration(run.results["seconds"])
        if "seconds" in run.results
        else _last(run, "seconds", figures.duration)
    )


def _speed(run: TrainingRun) -> str:
    if "samples_per_second" in run.results:
        return _short(run.results["samples_per_second"])
    return _last(run, "samples_per_second", _short)
