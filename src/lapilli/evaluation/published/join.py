"""Answers beside their labels: joined by key, never by position, so that a row that is missing moves no other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.read import MissingFileError
from lapilli.evaluation.answer_file import AnswerRow, identifier, listed, read_objects
from lapilli.evaluation.published.protocol import Judged, Key, Published, Questions

_ALLOW = "give the files that belong together, or --allow-unmatched"


@dataclass(frozen=True)
class Scored:
    """A file of answers, scored: `unmatched` answers had no label, and `unanswered` labels no answer."""

    file: Path
    rows: tuple[Judged, ...]
    unmatched: tuple[str, ...]
    unanswered: tuple[str, ...]


@dataclass(frozen=True)
class Labels:
    """What answers are joined with: labels by their key, and questions by their name."""

    references: dict[Key, Any]
    questions: Questions


def read_labels(benchmark: Published[Any], questions: Path | None, references: Sequence[Path]) -> Labels:
    """The labels and questions of a benchmark.

    Raises UsageError for files that the benchmark needs or does not read, and LapilliError where one is missing, with
    where it comes from, or cannot be read.
    """
    if benchmark.needs_questions and questions is None:
        raise UsageError(f"{benchmark.name}: labels are joined by its questions; give their file with --questions")
    if benchmark.references is None:
        if references:
            raise UsageError(f"{benchmark.name}: its answers hold their own labels; leave --references out")
    elif not references:
        raise UsageError(f"{benchmark.name}: no labels; give them with --references: {benchmark.source}")
    try:
        of = benchmark.references(references) if benchmark.references else {}
        return Labels(of, read_questions(questions) if questions else {})
    except MissingFileError as error:
        raise LapilliError(f"{error}. It comes from {benchmark.source}") from error


def read_questions(file: Path) -> Questions:
    """The rows of a file of questions by name. Raises LapilliError for a name that two rows have."""
    rows: dict[str, dict[str, Any]] = {}
    for place, row in read_objects(file):
        name = identifier(row, ("question_id", "id"), place)
        if name in rows:
            raise LapilliError(f"{place}: question_id {name!r}: another row has it; give each its own")
        rows[name] = row
    return rows


def score_file(benchmark: Published[Any], file: Path, labels: Labels, allow: bool = False) -> Scored:
    """Judge every answer of a file by its label.

    Raises LapilliError for two answers to one question, for answers without a label and labels without an answer,
    unless `allow` leaves them out, and where nothing is left.
    """
    answers = benchmark.answers(file)
    require_distinct(benchmark, answers)
    if benchmark.references is None:
        return Scored(file, tuple(benchmark.judge([(row, None) for row in answers])), (), ())
    keys = [_key(benchmark, row, labels.questions) for row in answers]
    of = labels.references
    matched = [(row, of[key]) for row, key in zip(answers, keys, strict=True) if key in of]
    alone = tuple(row.id for row, key in zip(answers, keys, strict=True) if key not in of)
    unanswered = sorted(map(_named, of.keys() - set(keys)))
    if (alone or unanswered) and not allow:
        raise LapilliError(f"{file}: {_mismatch(alone, unanswered)}; {_ALLOW}")
    if not matched:
        raise LapilliError(f"{file}: no answer belongs to a label; {_ALLOW.partition(',')[0]}")
    if benchmark.missing is not None:
        absent = [AnswerRow(str(file), _named(key), "", benchmark.missing, {}) for key in of.keys() - set(keys)]
        matched += [(row, of[row.id]) for row in sorted(absent, key=lambda row: row.id)]
    return Scored(file, tuple(benchmark.judge(matched)), alone, tuple(unanswered))


def _key(benchmark: Published[Any], row: AnswerRow, questions: Questions) -> Key:
    """The key of an answer's label; None, which no label has, where its question is not in the file of questions."""
    if benchmark.needs_questions and row.id not in questions:
        return None
    return benchmark.key(row, questions.get(row.id, {}))


def require_distinct(benchmark: Published[Any], answers: Sequence[AnswerRow]) -> None:
    """Raise LapilliError for two answers to one question."""
    first: dict[Key, AnswerRow] = {}
    for row in answers:
        other = first.setdefault(benchmark.identity(row), row)
        if other is not row:
            raise LapilliError(f"{row.place}: a second answer to {row.id!r}, after {other.place}; remove one of them")


def require_matched(answers: Sequence[AnswerRow], questions: Collection[str], file: Path, allow: bool) -> None:
    """Raise LapilliError for answers to none of the questions in a file, by name, and for questions without an answer.

    With `allow` only where no answer is to any of them.
    """
    names, every = {row.id for row in answers}, set(questions)
    strange, missing = [name for name in names if name not in every], [name for name in every if name not in names]
    if names.isdisjoint(every) or ((strange or missing) and not allow):
        counts = f"{len(strange):,} answers are to none of its questions, {len(missing):,} questions have no answer"
        raise LapilliError(f"{file}: {counts}: {listed(sorted(strange) + sorted(missing))}; {_ALLOW}")


def _mismatch(alone: Sequence[str], unanswered: Sequence[str]) -> str:
    parts = []
    if alone:
        parts.append(f"{len(alone):,} answers have no label: {listed(alone)}")
    if unanswered:
        parts.append(f"{len(unanswered):,} labels have no answer: {listed(unanswered)}")
    return "; ".join(parts)


def _named(key: Key) -> str:
    return " | ".join(map(str, key)) if isinstance(key, tuple) else str(key)
