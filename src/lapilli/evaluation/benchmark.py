"""What a benchmark is, and which there are.

A benchmark is a file of this folder whose `BENCHMARK` says how its questions are read, asked, scored and shown, and a
line of `BENCHMARKS`. It never sees a model: `asking.evaluate` is given a function that answers samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import isnan
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

    from lapilli.core.progress import Progress
    from lapilli.evaluation.perplexity import Likelihood

TEXT = "text"
"""The condition of questions that have no picture at all."""


class Question(Protocol):
    """What the questions of every benchmark have; each adds what it scores by, such as the right answers."""

    @property
    def id(self) -> str:
        """Its own in the benchmark."""

    @property
    def image(self) -> str:
        """The name of its picture, in the folder of the benchmark's pictures; empty under `TEXT`."""

    @property
    def question(self) -> str:
        """Its text."""


Q = TypeVar("Q", bound=Question)


@dataclass(frozen=True)
class Response(Generic[Q]):
    """A question, the condition under which it was asked, and the answer as the model gave it."""

    question: Q
    condition: str
    answer: str


@dataclass(frozen=True)
class Table:
    """Scores as they are printed: `rows` has a cell for each of `columns`; `note` says what the columns are."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    note: str


def question_text(question: Question) -> str:
    """The prompt that is a question as it stands."""
    return question.question


@dataclass(frozen=True)
class Benchmark(Generic[Q]):
    """Questions and how their answers are scored.

    rounds     the splits, which are folders in the data folder ("" is the data folder itself), and the conditions
               (`asking.CONDITIONS` or `HISTORIES`, or `TEXT`) under which the questions of a split are asked
    read       (folder of a split, split, count) -> its questions, at most `count` of a type; checks all that can be
               checked without a model, pictures too, and raises LapilliError with file and row
    normalise  a free answer -> what is compared
    score      responses -> rows, frozen dataclasses whose figures have n and a 95 % interval
    constants  the questions of a split -> rows of the best constant answer, for whoever does not look
    table      (rows of `score`, rows of `constants`) -> what is printed
    prompt     a question -> the text behind the picture
    draw       (folder, count, seed, progress) makes the data folder where none is given; None where it must be given
    pictures   the folder of all pictures, where the questions were read without a data folder; None where the pictures
               are in `images` beside the questions
    is_right   whether a response is right, and
    expected   the right answers to a question: what the page shows of single answers; None where none is right or wrong
    measure    what says how likely the model finds a text -> more rows, behind those of `score`; None where only
               answers are scored
    answer_tokens  the longest answer
    choices    a question -> the answers of which the likeliest can be taken; None where any answer may be right
    picture_folder  the folder of the pictures, seen from that of the questions
    conversation  a question -> the conversation that it is a turn of, "" where of none: the questions of one are asked
               in their order, each behind those before it and the answers to them; None where all stand alone
    inputs     (data folder) -> the SHA-256 of what is read of it, by name; None where it is a folder of questions
    open_picture  (data folder, name) -> a picture, where pictures are in a file and in no folder
    answer_file   responses -> the name and the content of the file in which the authors' programs read them
    grading       what is done with the file of answers before there is a score, a step a line, with {data} and {out}
    laid_out      what belongs in the data folder and where it comes from, for the message that none is given
    """

    name: str
    rounds: tuple[tuple[str, str], ...]
    read: Callable[[Path, str, int], list[Q]]
    normalise: Callable[[str], str]
    score: Callable[[Sequence[Response[Q]]], Sequence[Any]]
    constants: Callable[[Sequence[Q]], Sequence[Any]]
    table: Callable[[Sequence[Any], Sequence[Any]], Table]
    prompt: Callable[[Q], str] = question_text
    draw: Callable[[Path, int, int, Progress], None] | None = None
    pictures: Path | None = None
    is_right: Callable[[Response[Q]], bool] | None = None
    expected: Callable[[Q], Sequence[str]] | None = None
    measure: Callable[[Likelihood], Sequence[Any]] | None = None
    answer_tokens: int = 32
    choices: Callable[[Q], Sequence[str]] | None = None
    picture_folder: str = "images"
    conversation: Callable[[Q], str] | None = None
    inputs: Callable[[Path], dict[str, str]] | None = None
    open_picture: Callable[[Path, str], Image] | None = None
    answer_file: Callable[[Sequence[Response[Q]]], tuple[str, str]] | None = None
    grading: tuple[str, ...] = ()
    laid_out: str = ""

    def images(self, folder: Path) -> Path:
        """Where the pictures are of the questions that were read from `folder`."""
        return self.pictures or folder / self.picture_folder

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of its rounds, each once."""
        return tuple(dict.fromkeys(split for split, _ in self.rounds))

    @property
    def needs_data(self) -> bool:
        """Whether its questions are in a data folder; not where they were read before, or have no pictures."""
        return not self.pictures and any(condition != TEXT for _, condition in self.rounds)

    def require_questions(self, data: Path | None, count: int) -> None:
        """Raise UsageError where data must be given, and LapilliError for a data folder that cannot be asked."""
        if not self.needs_data:
            return
        if data is None:
            if self.draw is None:
                laid_out = f", {self.laid_out}" if self.laid_out else ""
                message = f"{self.name}: its questions are not drawn but read; give their folder with --data"
                raise UsageError(f"{message}{laid_out}")
            return
        for split in self.splits:
            self.read(data / split, split, count)


@dataclass(frozen=True)
class Entry:
    """Where a benchmark is, which is not imported before it is asked for; what it asks, and what it gives, in words."""

    module: str
    summary: str
    figures: str


BENCHMARKS = {
    "scenes": Entry(
        "lapilli.evaluation.scenes",
        "short answers about scenes: color, shape, count, existence, place, relation, text, comparison, reasoning",
        "accuracy by type",
    ),
    "pope": Entry(
        "lapilli.evaluation.pope",
        "yes or no: objects that are in a scene, and objects that are not",
        "accuracy, precision, recall, F1, share of yes, by kind",
    ),
    "dialogue": Entry(
        "lapilli.evaluation.dialogue",
        "conversations about scenes, whose later questions need the earlier ones",
        "accuracy by turn, after right and after wrong answers, beside that after the right ones",
    ),
    "text": Entry(
        "lapilli.evaluation.text",
        "no pictures: 50 instructions, questions about scenes in words, a story to predict",
        "shares of instructions followed and of right answers by type, perplexity",
    ),
}
"""All benchmarks by name, in the order of the help page."""


def benchmark(name: str) -> Benchmark[Any]:
    """The benchmark of this name. Raises UsageError, with the list, where there is none."""
    if name not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UsageError(
            f"no benchmark {name!r}; there are: {known}; or give questions in a file (.csv, .tsv, .json, .jsonl)"
        )
    return cast(Benchmark[Any], import_module(BENCHMARKS[name].module).BENCHMARK)


def percent(share: float) -> str:
    """A share as a cell of a table; a dash for nan, the share of nothing."""
    return "–" if isnan(share) else f"{100 * share:.1f}"


def with_interval(share: float, low: float, high: float) -> str:
    """The same, with its 95 % interval, if it has one: a figure of a single picture has none."""
    return percent(share) if isnan(share + low + high) else f"{percent(share)} [{100 * low:.0f}, {100 * high:.0f}]"
