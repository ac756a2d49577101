"""What a published benchmark is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.plain import json_text
from lapilli.evaluation.answer_file import AnswerRow, read_answers, read_objects

if TYPE_CHECKING:
    from PIL.Image import Image

Key: TypeAlias = Hashable
"""What an answer and its reference have in common: the question's name, or picture and question."""

Questions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The rows of a file of questions, by their names."""

R = TypeVar("R")

ALL = "all"


@dataclass(frozen=True)
class Judged:
    """An answer as it was scored.

    group    the split, subject or type of its question; "" where the benchmark has none
    cluster  the picture: questions about one may be right or wrong together
    parsed   what was read of the answer; "" where nothing could be
    score    from 0 to 1, by the benchmark's own rule
    failed   whether the answer has not the form that was asked for, so that nothing could be read of it
    beside   the same answer by other rules
    numbers  what figures are made of besides
    labels   further names by which figures are split
    """

    id: str
    group: str
    cluster: Hashable
    text: str
    parsed: str
    expected: str
    score: float
    failed: bool = False
    beside: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def each(judge: Callable[[AnswerRow, R], Judged]) -> Callable[[Sequence[tuple[AnswerRow, R]]], Sequence[Judged]]:
    """The rule for all answers that judges each by its own label."""
    return lambda pairs: [judge(row, label) for row, label in pairs]


EVAL_ZIP = "LLaVA's eval.zip (docs/Evaluation.md of haotian-liu/LLaVA)"
"""Where LLaVA's own files of questions come from."""


@dataclass(frozen=True)
class Layout:
    """Where a model is asked, the authors' files in the data folder: questions, labels, and the folder of pictures.

    rows      a file of questions -> the place and the row of each, with `question_id`, `image`, `text` and its category
    origin    where the questions and the pictures come from, in a clause: for the message that a file is missing
    picture   (file of questions, name) -> a picture, where they are in that file and in no folder; and
    check     the same, raising what shows in the picture's header
    whole     the name of a question -> the name of those that are asked all or none, as rotations are
    also      further files of labels by their name: where the folder has them the same answers are scored by them too
    grading   what is done with the answers where somebody must read them before there is a score, a step a line;
              {data} and {out} stand for the data folder and the run folder
    """

    questions: str
    references: tuple[str, ...]
    images: str
    rows: Callable[[Path], Iterable[tuple[str, Mapping[str, Any]]]] = read_objects
    origin: str = field(kw_only=True)
    picture: Callable[[Path, str], Image] | None = None
    check: Callable[[Path, str], None] | None = None
    whole: Callable[[str], str] | None = None
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    grading: tuple[str, ...] = ()


def answer_lines(rows: Sequence[AnswerRow]) -> str:
    """A file of answers as LLaVA writes it."""
    return lines_of({"question_id": row.id, "prompt": row.prompt, "text": row.text} for row in rows)


def lines_of(objects: Iterable[Mapping[str, Any]]) -> str:
    """The content of a file of one object a line."""
    return "".join(f"{json_text(row)}\n" for row in objects)


@dataclass(frozen=True)
class Published(Generic[R]):
    """Labels, and how answers are scored by them.

    version     the release of the labels and the program whose rules these are
    source      where the labels come from, and what the file holds: for the message that it is missing
    references  files of labels -> the label of each key; None where the answers hold their own labels
    judge       (answer, label) of every answer -> the answers as they were scored; `each` makes it of a rule for one
    figures     judged answers -> JSON, each figure with its `_interval`
    key         (answer, its question) -> the key of its label; of the question by name where questions are read
    identity    what no two answers may share
    compared    answers as they were scored -> those whose scores are compared with another file's, each by its name
    score       what the score of such an answer is
    answers     how a file of answers is read
    upload      what a server of the authors takes, where there is one: (answers, questions) -> JSON
    needs_questions  whether the key is in a file of questions
    missing          the text that stands for an answer that is not there, where the authors' program counts it as wrong
    choices          the label of a question -> the answers to choose from by their likelihood, where it has such
    layouts          where a model is asked, by the name under which it is (`ASKED`)
    answer_tokens    the longest answer, where a model is asked
    right_or_wrong   whether a single answer is right or wrong, so that figures up to 1 are shares
    written          a model's answers -> the file in which they are scored or graded, and
    ending           what its name ends in
    """

    name: str
    version: str
    source: str
    judge: Callable[[Sequence[tuple[AnswerRow, R]]], Sequence[Judged]]
    figures: Callable[[Sequence[Judged]], dict[str, Any]]
    references: Callable[[Sequence[Path]], dict[Key, R]] | None = None
    key: Callable[[AnswerRow, Mapping[str, Any]], Key] = lambda row, _: row.id
    identity: Callable[[AnswerRow], Key] = lambda row: row.id
    compared: Callable[[Sequence[Judged]], Sequence[Judged]] = lambda rows: rows
    score: str = "accuracy"
    answers: Callable[[Path], list[AnswerRow]] = read_answers
    upload: Callable[[Sequence[AnswerRow], Questions], Any] | None = None
    needs_questions: bool = False
    missing: str | None = None
    choices: Callable[[R], Sequence[str]] | None = None
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    answer_tokens: int = 128
    right_or_wrong: bool = True
    written: Callable[[Sequence[AnswerRow]], str] = answer_lines
    ending: str = ".jsonl"


def require_extra(package: str) -> None:
    """Raise LapilliError where a package of the extra `score` is not installed."""
    if find_spec(package) is None:
        raise LapilliError(f"no package {package}; install it with: pip install 'lapilli[score]'")


_ROOM = "lapilli.evaluation.published"

PUBLISHED = {
    "pope": f"{_ROOM}.pope",
    "gqa": f"{_ROOM}.gqa",
    "vqa": f"{_ROOM}.vqa",
    "textvqa": f"{_ROOM}.textvqa",
    "scienceqa": f"{_ROOM}.scienceqa",
    "mme": f"{_ROOM}.mme",
    "mmbench": f"{_ROOM}.mmbench",
    "seed": f"{_ROOM}.seed",
    "mm-vet": f"{_ROOM}.mm_vet",
    "llava-bench": f"{_ROOM}.llava_bench",
    "cocoqa": f"{_ROOM}.cocoqa",
    "captions": f"{_ROOM}.captions",
}
"""The module of each published benchmark, by its name, in the order of the help page."""


ASKED = {
    "coco-pope": "pope",
    "gqa": "gqa",
    "vqav2": "vqa",
    "vizwiz": "vqa",
    "textvqa": "textvqa",
    "scienceqa": "scienceqa",
    "mme": "mme",
    "seed": "seed",
    "mmbench": "mmbench",
    "mmbench-cn": "mmbench",
    "cocoqa": "cocoqa",
    "captions": "captions",
    "llava-bench-coco": "llava-bench",
    "llava-bench-wild": "llava-bench",
    "mm-vet": "mm-vet",
}
"""The published benchmarks that a model is asked, by name; `pope` is the name of questions about scenes."""


def published(name: str) -> Published[Any]:
    """The published benchmark of this name. Raises UsageError, with the list, where there is none."""
    if name not in PUBLISHED:
        raise UsageError(f"no published benchmark {name!r}; there are: {', '.join(PUBLISHED)}")
    return cast(Published[Any], import_module(PUBLISHED[name]).BENCHMARK)
