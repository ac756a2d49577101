"""Files that strangers wrote: rows of answers, of questions and of reviews, in JSON.

LLaVA's own format is a line for each answer, `{"question_id", "prompt", "text"}`. A file is one object a line or one
list of objects, whatever its name ends in: POPE's lists of labels are lines in a `.json`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.read import half_character, json_kind, parsed, read_text
from lapilli.data.extra_fields import excerpt

REMEDY = "check the file"
_LISTED = 5  # of what is at fault, in a message
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class AnswerRow:
    """A row of a file of answers: where it stands, what it answers, and all that is in it."""

    place: str
    id: str
    prompt: str
    text: str
    fields: Mapping[str, Any]


def read_answers(file: Path, text: Sequence[str] = ("text",)) -> list[AnswerRow]:
    """The answers of a file in its order; `text` are the names that the answer may have.

    A row without a prompt has an empty one. Raises LapilliError, with the line, for a row that is no answer.
    """
    return [
        AnswerRow(
            place,
            id=identifier(row, ("question_id", "id"), place),
            prompt=text_of(row, ("prompt",), place) if "prompt" in row else "",
            text=text_of(row, text, place),
            fields=row,
        )
        for place, row in read_objects(file)
    ]


def read_objects(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place, for messages, and the object of every row. Raises LapilliError where there is no row."""
    content = read_text(file, "give the file as UTF-8 JSON, one object a line")
    rows = list(_list(content, file) if content.lstrip().startswith("[") else _lines(content, file))
    if not rows:
        raise LapilliError(f"{file}: empty; write one object a line")
    for place, row in rows:
        if not isinstance(row, dict):
            raise LapilliError(f"{place}: {json_kind(row)}, an object expected; {REMEDY}")
        yield place, row


def read_mapping(file: Path) -> dict[str, Any]:
    """The one object in a file, by its keys. Raises LapilliError where there is another value, or none."""
    value = parsed(read_text(file, "give the file as UTF-8 JSON"), str(file), REMEDY)
    if not isinstance(value, dict):
        raise LapilliError(f"{file}: {json_kind(value)}, one object expected; {REMEDY}")
    return value


def _list(content: str, file: Path) -> Iterator[tuple[str, Any]]:
    for number, row in enumerate(parsed(content, str(file), REMEDY)):
        yield f"{file}, row {number}", row


def _lines(content: str, file: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.split("\n"), 1):  # not splitlines: texts may hold other line breaks
        if line.strip():
            yield f"{file}:{number}", parsed(line, f"{file}:{number}", REMEDY)


def identifier(row: Mapping[str, Any], names: Sequence[str], place: str) -> str:
    """The row's name under the first of `names` that it has, as text: 7 and "7" are the same.

    Raises LapilliError where there is none, and for another kind of value.
    """
    value = _value(row, names, place)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value.is_integer():  # as tables of numbers write whole ones
        value, whole = int(value), True
    if not whole and not (isinstance(value, str) and value.strip()):
        raise LapilliError(f"{place}: {names[0]}: {_shown(value)}, a name or whole number expected; {REMEDY}")
    return _whole(str(value).strip(), names[0], place)


def whole_number(name: str) -> int | None:
    """The number that a name is, as JSON writes one; None for other names, and for one of more than 18 digits."""
    return int(name) if _WHOLE.fullmatch(name) else None


def text_of(row: Mapping[str, Any], names: Sequence[str], place: str) -> str:
    """The row's text under the first of `names` that it has; null is none. Raises LapilliError for anything else."""
    value = _value(row, names, place)
    if not isinstance(value, str):
        raise LapilliError(f"{place}: {names[0]}: {_shown(value)}, text expected; write it in quotes")
    return _whole(value, names[0], place)


def texts_of(value: Any, place: str) -> tuple[str, ...]:
    """A list of texts, or of objects with the text as `answer`. Raises LapilliError for anything else, or none."""
    entries = value if isinstance(value, list) else []
    values = [entry.get("answer") if isinstance(entry, dict) else entry for entry in entries]
    texts = [text for text in values if isinstance(text, str)]
    if not texts or len(texts) < len(values):
        raise LapilliError(f"{place}: {json_kind(value)}, a list of the annotators' answers expected; {REMEDY}")
    return tuple(texts)


def add_label(labels: dict[Any, Any], key: Hashable, label: object, place: str) -> None:
    """Enter the label of a question. Raises LapilliError where another row has another label for it."""
    if labels.setdefault(key, label) != label:
        raise LapilliError(f"{place}: another row has another label for this question; remove one")


def listed(names: Iterable[object]) -> str:
    """Names in a message: the first of them, and how many more there are."""
    every = [str(name) for name in names]
    more = f" and {len(every) - _LISTED:,} more" if len(every) > _LISTED else ""
    return ", ".join(excerpt(name) for name in every[:_LISTED]) + more


def _value(row: Mapping[str, Any], names: Sequence[str], place: str) -> Any:
    for name in names:
        if name in row:
            return row[name]
    there = ", ".join(excerpt(name) for name in list(row)[:10]) or "none"
    raise LapilliError(f"{place}: no {' or '.join(names)}; its keys are {there}; {REMEDY}")


def _shown(value: object) -> str:
    return str(value) if isinstance(value, float) else json_kind(value)


def _whole(text: str, name: str, place: str) -> str:
    if half := half_character(text):
        raise LapilliError(f"{place}: {name}: half a character, {half}; write the whole surrogate pair")
    return text
