"""Run folders of `lapilli train`, finished or not, as their page shows them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.files import LOCK
from lapilli.core.lock import holder
from lapilli.core.manifest import MANIFEST
from lapilli.core.names import shortest_ends
from lapilli.core.read import checked, read_json
from lapilli.core.recipe import recipe_values
from lapilli.core.run import RunDir
from lapilli.report.kit.figures import whole
from lapilli.report.kit.pictures import is_data_uri

_LARGEST = 1e100  # a value of a curve; beyond it nothing can be drawn
_AGAIN = "train it again, in another folder"
_RESUMED = ("align", "instruct")  # the stages whose runs can be resumed


@dataclass(frozen=True)
class Part:
    """A part of the model: how it is tuned, and how many of its parameters there are and learn.

    Here and below counts are floats, of which none is too large to be written.
    """

    part: str
    mode: str
    parameters: float
    learned_parameters: float


@dataclass(frozen=True)
class Start:
    """What a run begins with; runs of earlier releases did not save it."""

    parts: list[Part] = field(default_factory=list)
    device: str | None = None
    steps: float | None = None
    steps_per_epoch: float | None = None
    samples: float | None = None
    tokens: float | None = None
    learned_tokens: float | None = None
    validation_samples: float | None = None
    validation_tokens: float | None = None


@dataclass(frozen=True)
class Environment:
    """Where a run was started, and with what."""

    started: str = ""
    python: str = ""
    platform: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleAnswer:
    """What the model replied after a step to a question about pictures, whose names these are."""

    step: float
    id: str
    question: str
    expected: str
    reply: str
    images: list[str] = field(default_factory=list)


Extension = TypedDict("Extension", {"after_step": float, "from": float, "to": float})
"""A later end of a run, in steps."""


@dataclass(frozen=True)
class State:
    """Where a run stands, in one word and in a sentence, and the command that goes on, if there is something to do."""

    word: str
    sentence: str
    command: str | None = None


@dataclass(frozen=True)
class TrainingRun:
    """A run; `name` tells it from the others of its page. Of the lines of its log it has the numbers, each finite."""

    path: Path
    name: str
    recipe: Mapping[str, Any]
    environment: Environment
    lines: Sequence[Mapping[str, float]]
    samples: Sequence[SampleAnswer]
    pictures: Mapping[str, str]
    start: Start
    results: Mapping[str, float]
    skipped: int
    extended: Sequence[Extension]
    state: State

    @property
    def steps(self) -> int:
        """The last step that is in its log."""
        return int(max((line["step"] for line in self.lines), default=0))

    def points(self, figure: str) -> list[tuple[float, float]]:
        """(step, value) of every line that has this figure, by steps."""
        return sorted((line["step"], line[figure]) for line in self.lines if figure in line)


def read_runs(paths: Sequence[Path]) -> list[TrainingRun]:
    """The runs in these folders. Raises LapilliError for a folder that is no run of a training, and a spoilt file."""
    names = shortest_ends([path.absolute() for path in paths])
    return [_read(path, name) for path, name in zip(paths, names, strict=True)]


def _read(path: Path, name: str) -> TrainingRun:
    run = RunDir.open(path)
    recipe = recipe_values(path / "recipe.yaml")
    if not isinstance(recipe.get("stage"), str):
        raise LapilliError(f"{path}: not a run of `lapilli train`: its recipe has no stage")
    lines = _lines(run)
    start = _result(run, "start", Start, Start())
    results = _numbers(_result(run, "training", dict[str, Any], {}))
    skipped = len(_result(run, "skipped", list[Any], []))
    extended = _result(run, "extended", list[Extension], [])
    steps = int(max((line["step"] for line in lines), default=0))
    return TrainingRun(
        path,
        name,
        recipe=recipe,
        environment=_environment(path),
        lines=lines,
        samples=_samples(run),
        pictures=_pictures(run),
        start=start,
        results=results,
        skipped=skipped,
        extended=extended,
        state=_with_extensions(_state(path, recipe, results, steps, start.steps), extended),
    )


def _lines(run: RunDir) -> list[dict[str, float]]:
    numbered = enumerate(map(_numbers, run.metrics()), 1)
    rows = []
    for number, line in numbered:
        if not line.get("step", -1) >= 0:
            raise LapilliError(
                f"{run.path / 'metrics.jsonl'}:{number}: step: missing, or no number of 0 or more; {_AGAIN}"
            )
        rows.append(line)
    return rows


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are finite numbers."""
    return {
        name: float(value) for name, value in values.items() if type(value) in (int, float) and abs(value) <= _LARGEST
    }


def _samples(run: RunDir) -> list[SampleAnswer]:
    place = run.path / "samples.jsonl"
    return [checked(SampleAnswer, row, f"{place}:{n}", _AGAIN) for n, row in enumerate(run.lines("samples"), 1)]


def _pictures(run: RunDir) -> dict[str, str]:
    pictures: dict[str, str] = _result(run, "sample_pictures", dict[str, str], {})
    if odd := next((name for name, uri in pictures.items() if not is_data_uri(uri)), None):
        raise LapilliError(f"{run.path}/results/sample_pictures.json: {odd}: no picture as a data URI; {_AGAIN}")
    return pictures


def _result(run: RunDir, name: str, kind: Any, default: Any) -> Any:
    """A result of the run, if it has it: which there are depends on how far it is, and on the release it is of."""
    if not run.has(name):
        return default
    return checked(kind, run.load(name), f"{run.path}/results/{name}.json", _AGAIN)


def _environment(path: Path) -> Environment:
    file = path / "environment.json"
    return checked(Environment, read_json(file, _AGAIN), str(file), _AGAIN) if file.is_file() else Environment()


def _state(
    path: Path, recipe: Mapping[str, Any], results: Mapping[str, float], steps: int, planned: float | None
) -> State:
    """How the run ended, or how far it is."""
    of = f" of {whole(planned)}" if planned else ""
    if (path / MANIFEST).is_file():
        return _finished(recipe, results, int(results.get("steps", steps)), planned)
    if who := holder(path / LOCK):
        return State("running", f"It is running ({who}); its log has come to step {whole(steps)}{of}.")
    if recipe["stage"] not in _RESUMED:
        return State(
            "stopped", f"It was stopped after step {whole(steps)}; a part is trained in one go: start it again."
        )
    return State("stopped", f"It was stopped after step {whole(steps)}{of}; {_rest(path)}.", _command(path, recipe))


def _with_extensions(state: State, extended: Sequence[Extension]) -> State:
    """The same, with the later ends that the run was given, at which its learning rates may leap."""
    ends = [
        f"from {whole(end['from'])} to {whole(end['to'])} steps after step {whole(end['after_step'])}"
        for end in extended
    ]
    return replace(state, sentence=f"{state.sentence} It was extended {', then '.join(ends)}.") if ends else state


def _rest(path: Path) -> str:
    """What a stopped run has to do yet."""
    if (path / "model").exists():
        return "its model is there, and to be finished it needs its manifest alone"
    saved = [int(folder.name.rpartition("-")[2]) for folder in _checkpoints(path)]
    return (
        f"it goes on from the checkpoint of step {whole(max(saved))}"
        if saved
        else "without a checkpoint it begins again"
    )


def _command(path: Path, recipe: Mapping[str, Any]) -> str:
    """What goes on with a run, in the folder in which it was started: there its recipe says where it is."""
    out = Path(str(recipe.get("out") or path))
    here = path if out.absolute() == path.absolute() else out
    return shlex.join(["lapilli", "train", str(here / "recipe.yaml"), "--resume"])


def _checkpoints(path: Path) -> list[Path]:
    folders = path.glob("checkpoints/checkpoint-*")
    return [one for one in folders if one.name.rpartition("-")[2].isdecimal() and (one / MANIFEST).is_file()]


def _finished(recipe: Mapping[str, Any], results: Mapping[str, float], steps: int, planned: float | None) -> State:
    if planned and steps < planned:
        sentence = f"It finished early, after step {whole(steps)} of {whole(planned)}, as its patience came to an end."
        word = "finished early"
    else:
        word, sentence = "finished", f"It finished after {whole(steps)} steps."
    validation = recipe.get("validation")
    if isinstance(validation, dict) and validation.get("keep") == "best" and "validation_step" in results:
        best = int(results["validation_step"])
        sentence += f" Its model is that of step {whole(best)}, which had the lowest validation loss."
    return State(word, sentence)
