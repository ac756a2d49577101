"""Somebody's own questions about their own pictures, as a table (.csv, .tsv) or as JSON (.json, .jsonl) holds them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.read import half_character, json_kind
from lapilli.data.extra_fields import excerpt
from lapilli.data.faults import Fault
from lapilli.data.questions import plain_answer
from lapilli.data.rows import place, read_rows
from lapilli.data.table import read_table
from lapilli.evaluation.benchmark import BENCHMARKS
from lapilli.evaluation.normalize import normalize_answer
from lapilli.evaluation.scenes import EVERY_TYPE, UNTYPED

ENDINGS = (".csv", ".tsv", ".json", ".jsonl")
SPELLINGS = {
    "image": ("image", "picture", "image_path", "file"),
    "question": ("question", "q", "text"),
    "answer": ("answer", "answers"),
    "type": ("type", "category"),
    "id": ("id", "question_id"),
    "conversation": ("conversation", "conversation_id"),
}
"""What a column or key may be called, in capitals or not; the docs have this table."""

_NEEDED = ("image", "question", "answer")
_LONGEST = 10_000  # characters of a text; no answer of that length is compared to any purpose
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class OwnQuestion:
    """A question about a picture, and the answers of which each is right. `type` is "" where the file has no types.

    `conversation` is "" for a question that stands alone, and `turn` counts from 1 in each.
    """

    id: str
    image: str
    type: str
    question: str
    answers: tuple[str, ...]
    conversation: str = ""
    turn: int = 1


def question_files(names: Iterable[str]) -> dict[str, Path]:
    """The files of questions among names; the name of a benchmark is that benchmark's, whatever file is called so.

    Raises UsageError for two files of one name: results are named by it.
    """
    own = [name for name in names if name not in BENCHMARKS]
    files = {name: Path(name) for name in own if Path(name).suffix.lower() in ENDINGS or Path(name).is_file()}
    called = [file.name for file in files.values()]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise UsageError(f"{twice}: two files are called so, and results are named by it; rename one")
    return files


def read_question_file(file: Path) -> list[OwnQuestion]:
    """The questions of a file, in its order; pictures are not looked for.

    Numbers are read as their text, true and false as yes and no. Where some rows have a type, the others are of type
    "other". Rows of one conversation are its turns. Raises LapilliError, with the row and the value, for a file that
    cannot be read, a row that is no question, and a turn about another picture than the one before.
    """
    if file.suffix.lower() not in ENDINGS:
        raise LapilliError(f"{file}: ending {file.suffix!r}; save the questions as one of {', '.join(ENDINGS)}")
    questions: dict[str, OwnQuestion] = {}
    last_turns: dict[str, OwnQuestion] = {}
    for where, number, row in _rows(file):
        question = _Row(where, row).question(number)
        if question.conversation:
            question = _behind(where, last_turns.get(question.conversation), question)
            last_turns[question.conversation] = question
        if question.id in questions:
            raise LapilliError(f"{where}: id {excerpt(question.id)}: another row has it; give each its own, or none")
        questions[question.id] = question
    if not questions:
        raise LapilliError(f"{file}: no questions; write a row for each")
    if any(question.type for question in questions.values()):
        return [replace(question, type=question.type or UNTYPED) for question in questions.values()]
    return list(questions.values())


def _behind(where: str, before: OwnQuestion | None, question: OwnQuestion) -> OwnQuestion:
    """A question as the turn behind this one, or the first."""
    if before is None:
        return question
    if question.image != before.image:
        name = excerpt(question.conversation)
        raise LapilliError(
            f"{where}: image: {question.image!r}: conversation {name} is about {before.image!r}; "
            "a conversation is about one picture: name another"
        )
    return replace(question, turn=before.turn + 1)


def compared(answer: str) -> str:
    """The answer as VQA compares it; where that leaves nothing, as of "A", in lower case without a full stop."""
    return normalize_answer(answer) or plain_answer(answer)


def _rows(file: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """The place of every row for messages, its number, and its values by canonical name."""
    if file.suffix.lower() in _TABLES:
        table = read_table(file)
        names = _names(str(file), table.columns, "columns")
        for line, cells in table.rows:
            row = {name: cells[column] for name, column in names.items()}
            yield f"{file}, line {line}", line, row | {"answer": row["answer"].split("|")}
        return
    for entry in read_rows(file):
        where, value = place(file, entry.number), entry.value
        if isinstance(value, Fault):
            raise LapilliError(f"{where}: {value}")
        if not isinstance(value, dict):
            raise LapilliError(f"{where}: {json_kind(value)}, an object expected; it has {', '.join(_NEEDED)}")
        names = _names(where, value, "keys")
        yield where, entry.number or 0, {name: value[key] for name, key in names.items()}


def _names(where: str, names: Iterable[str], noun: str) -> dict[str, str]:
    """The names in a file by what they mean. Raises LapilliError for one that is missing, and for two of a meaning."""
    names = list(names)
    by_meaning = {}
    for meaning, spellings in SPELLINGS.items():
        same = [name for name in names if name.strip().lower().replace(" ", "_") in spellings]
        if len(same) > 1:
            raise LapilliError(f"{where}: {' and '.join(map(repr, same))} both mean the {meaning}; remove one")
        if same:
            by_meaning[meaning] = same[0]
    if missing := [meaning for meaning in _NEEDED if meaning not in by_meaning]:
        there = ", ".join(excerpt(name) for name in names[:20]) or "none"
        spelled = "; ".join(f"{meaning} ({' or '.join(SPELLINGS[meaning])})" for meaning in missing)
        raise LapilliError(f"{where}: no {spelled}; its {noun} are {there}; name them {', '.join(_NEEDED)}")
    return by_meaning


@dataclass(frozen=True)
class _Row:
    """A row on its way to a question: every message begins with its place."""

    where: str
    values: Mapping[str, Any]

    def question(self, number: int) -> OwnQuestion:
        return OwnQuestion(
            id=self._optional("id") or str(number),
            image=self._required("image").removeprefix("./"),  # one picture, one name: questions about it are a cluster
            type=self._type(),
            question=self._question(),
            answers=tuple(self._answers()),
            conversation=self._optional("conversation"),
        )

    def _question(self) -> str:
        text = self._required("question")
        if IMAGE_MARK in text:
            self._fail("question", f"{excerpt(text)} holds {IMAGE_MARK}", "remove it: the picture is shown before")
        return text

    def _type(self) -> str:
        kind = " ".join(self._optional("type").split())
        if kind == EVERY_TYPE:
            self._fail("type", repr(kind), "it means all types together; name it otherwise")
        return kind

    def _answers(self) -> Iterator[str]:
        values = self.values["answer"]
        entries = values if isinstance(values, list) else [values]
        texts = [self._text("answer", entry) for entry in entries if not _is_blank(entry)]
        if not texts:
            self._fail("answer", "empty", "write the right answer, or remove the row")
        for text in texts:
            text = unicodedata.normalize("NFC", text)  # letters and accents that macOS may have written apart
            if not compared(text):
                self._fail("answer", f"{excerpt(text)}: nothing in it is compared", "write the right answer")
            yield text

    def _required(self, name: str) -> str:
        value = self.values[name]
        if not isinstance(value, str):
            self._fail(name, f"{json_kind(value)}, text expected", f"write the {name} in quotes")
        if _is_blank(value):
            self._fail(name, "empty", "write it, or remove the row")
        return self._text(name, value)

    def _optional(self, name: str) -> str:
        value = self.values.get(name)
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        return "" if missing else self._text(name, value)

    def _text(self, name: str, value: object) -> str:
        text = _as_text(value)
        if text is None:
            self._fail(name, f"{json_kind(value)}, text expected", "write it as text")
        if len(text) > _LONGEST:
            self._fail(name, f"{len(text):,} characters, up to {_LONGEST:,} are read", "shorten it")
        if half := half_character(text):
            self._fail(name, f"half a character, {half}", "write the whole surrogate pair")
        if text.lower() == "nan":
            self._fail(name, f"{text}: a value that was missing when the file was written", "fill it in")
        return text

    def _fail(self, name: str, what: str, remedy: str) -> NoReturn:
        raise LapilliError(f"{self.where}: {name}: {what}; {remedy}")


def _as_text(value: object) -> str | None:
    """A text, number or truth value of JSON as text without spaces around it; None for anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) and not math.isinf(value) else None


def _is_blank(value: object) -> bool:
    """Whether a value is a text in which there is nothing to be seen."""
    return isinstance(value, str) and not any(mark.isprintable() and not mark.isspace() for mark in value)
