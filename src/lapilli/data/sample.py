"""Samples of visual instruction data, read from and written to LLaVA's row format.

A row is {"id": .., "image": "a.jpg" or a list of them, "conversations": [{"from": "human", "value": "<image>\\nWhat is
it?"}, {"from": "gpt", "value": "A kite."}]} (LLaVA, arXiv 2304.08485). A file is a JSON list of rows (.json) or has one
row a line (.jsonl). Rows count from 0. What makes a row bad is written once, in `faults`: reading stops at the first
one, `lapilli data validate` lists them all.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.template import IMAGE_MARK

Speaker = Literal["user", "assistant"]

SPEAKERS: Mapping[str, Speaker] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
"""Every name that a row may give a speaker."""

_WHOLE = "write the whole surrogate pair"

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", int: "a number", float: "a number"}


@dataclass(frozen=True)
class Turn:
    """What one speaker says; `<image>` in a user's text stands for the sample's next picture."""

    role: Speaker
    text: str


@dataclass(frozen=True)
class Sample:
    """A conversation about pictures: `images` are paths below the images folder, in the order of the `<image>` marks.

    `extra` keeps the row's other fields, so that writing a sample loses nothing.
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a row: the field, what is wrong, and what to do about it."""

    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}; {self.remedy}"


@dataclass(frozen=True)
class Row:
    """A row as the file has it. `number` is None when the whole file is at fault; `value` may be a Fault."""

    number: int | None
    value: object


def read_samples(path: Path) -> list[Sample]:
    """The samples of a .json or .jsonl file, in its order.

    Raises LapilliError with the file, the row and the remedy at the first bad row. Pictures are not opened. Ids may
    repeat, as they do in the published files; `lapilli data validate` reports them.
    """
    return [parse_row(row.value, place(path, row.number)) for row in read_rows(path)]


def read_sample(path: Path, number: int) -> Sample:
    """The sample of one row, from 0; the others may be bad. Raises LapilliError like `read_samples`."""
    rows = read_rows(path)
    whole_file = len(rows) == 1 and rows[0].number is None
    if not whole_file and not 0 <= number < len(rows):
        raise LapilliError(f"{path}, row {number}: there are {len(rows)} rows; they count from 0")
    row = rows[0 if whole_file else number]
    return parse_row(row.value, place(path, row.number))


def parse_row(row: object, where: str) -> Sample:
    """The sample of one row. Raises LapilliError, which starts with `where`, on the first of its faults."""
    fault = next(faults(row), None)
    if fault is not None:
        raise LapilliError(f"{where}: {fault}")
    assert isinstance(row, dict)
    return Sample(
        id=str(row["id"]),
        images=tuple(_images(row)),
        turns=tuple(Turn(SPEAKERS[_speaker(turn)], _text(turn)) for turn in row["conversations"]),
        extra={name: value for name, value in row.items() if name not in ("id", "image", "conversations")},
    )


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples in LLaVA's format, one a line, as a .json list or as .jsonl; whole or not at all.

    Reading the file again gives equal samples. Raises LapilliError when the file cannot be written.
    """
    rows = [_as_line(sample) for sample in samples]
    if _is_lines(path):
        write_atomically(path, "".join(row + "\n" for row in rows))
    else:
        write_atomically(path, "[\n" + ",\n".join(rows) + "\n]\n")


def place(path: Path, number: int | None) -> str:
    """How messages name a row of a file."""
    return str(path) if number is None else f"{path}, row {number}"


def read_rows(path: Path) -> list[Row]:
    """The rows of a .json or .jsonl file, unchecked; text that is not JSON becomes a Fault in the row's place.

    Raises LapilliError when the file cannot be read, or has another ending.
    """
    lines = _is_lines(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise LapilliError(f"{path}: cannot be read: not a file; check the path")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LapilliError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    return _rows_of_lines(raw) if lines else _rows_of_list(raw)


def _is_lines(path: Path) -> bool:
    if path.suffix not in (".json", ".jsonl"):
        raise LapilliError(f"{path}: ending {path.suffix!r}; name it .json (one list) or .jsonl (one row a line)")
    return path.suffix == ".jsonl"


def _rows_of_list(raw: bytes) -> list[Row]:
    value = _decode(raw, first_line=1)
    if isinstance(value, list):
        return [Row(number, row) for number, row in enumerate(value)]
    if not isinstance(value, Fault):
        value = Fault("file", f"holds {_kind(value)}, a list of rows expected", "wrap the rows in [ and ]")
    return [Row(None, value)]


def _rows_of_lines(raw: bytes) -> list[Row]:
    # Not splitlines: JSON strings may hold other line breaks, such as U+2028, unescaped.
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), start=1) if line.strip()]
    return [Row(row, _decode(line, first_line=number)) for row, (number, line) in enumerate(lines)]


def _decode(raw: bytes, first_line: int) -> Any:
    """The value of a JSON text, or a Fault that says where and why it is none."""
    try:
        text = raw.decode("utf-8-sig")  # editors on Windows put a byte order mark in front
        return json.loads(text)
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        return Fault("file", f"line {line}: byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    except json.JSONDecodeError as error:
        return _syntax_fault(error, first_line)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        return Fault("file", f"line {first_line}: {error}", "JSON of ordinary size and depth is needed")


def _syntax_fault(error: json.JSONDecodeError, first_line: int) -> Fault:
    text, at = error.doc, error.pos
    if not text.strip():
        return Fault("file", "empty", "write a list of rows into it")
    # Older Pythons point behind the comma, newer ones at it.
    comma = at if text[at : at + 1] == "," else len(text[:at].rstrip()) - 1
    if text[comma : comma + 1] == "," and text[comma + 1 :].lstrip()[:1] in ("]", "}"):
        return Fault("file", f"not JSON: {_line_column(text, comma, first_line)}: trailing comma", "remove the comma")
    where = _line_column(text, at, first_line)
    remedy = "name it .jsonl if it has one row a line" if error.msg == "Extra data" else "mend the text there"
    return Fault("file", f"not JSON: {where}: {error.msg}", remedy)


def _line_column(text: str, at: int, first_line: int) -> str:
    return f"line {first_line + text.count(chr(10), 0, at)}, column {at - text.rfind(chr(10), 0, at)}"


def faults(row: object) -> Iterator[Fault]:
    """Everything wrong with one row, apart from its pictures' files."""
    if isinstance(row, Fault):
        yield row
    elif not isinstance(row, dict):
        yield Fault("row", f"{_kind(row)}, an object expected", 'write {"id": .., "image": .., "conversations": [..]}')
    else:
        yield from _id_faults(row)
        yield from _image_faults(row)
        yield from _conversation_faults(row)
        yield from _count_faults(row)


def _id_faults(row: dict[str, Any]) -> Iterator[Fault]:
    value = row.get("id")
    if value is None or value == "":
        yield Fault("id", "missing", "give every row an id of its own")
    elif isinstance(value, bool) or not isinstance(value, str | int):
        yield Fault("id", f"{_kind(value)}, a string or a whole number expected", "give every row an id of its own")
    elif half := _half_character(str(value)):
        yield Fault("id", f"half a character, {half}", _WHOLE)


def _image_faults(row: dict[str, Any]) -> Iterator[Fault]:
    if not isinstance(row.get("image"), str | list | None):
        yield Fault("image", f"{_kind(row['image'])}, a path or a list of paths expected", "name the picture's file")
        return
    for index, name in enumerate(_images(row)):
        if not isinstance(name, str):
            yield Fault("image", f"number {index} is {_kind(name)}, a path expected", "name the picture's file")
        elif not name.strip():
            yield Fault("image", f"number {index} is empty", "name the picture's file, or leave the field out")


def _conversation_faults(row: dict[str, Any]) -> Iterator[Fault]:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        what = "missing" if turns is None else f"{_kind(turns)}, a list of turns expected"
        yield Fault("conversations", what, 'write [{"from": "human", "value": ..}, {"from": "gpt", "value": ..}]')
    elif not turns:
        yield Fault("conversations", "no turns", "write a question and its answer, or remove the row")
    else:
        for index, turn in enumerate(turns):
            yield from _turn_faults(turn, f"conversations[{index}]")
        yield from _order_faults([_role(turn) for turn in turns])


def _turn_faults(turn: object, name: str) -> Iterator[Fault]:
    if not isinstance(turn, dict):
        yield Fault(name, f"{_kind(turn)}, an object expected", 'write {"from": "human", "value": ..}')
        return
    speaker, text = _speaker(turn), _text(turn)
    if speaker is None:
        yield Fault(name, 'no "from"', "say who speaks, human or gpt")
    elif _role(turn) is None:
        yield Fault(name, f"unknown role {speaker!r}", f"known roles: {', '.join(SPEAKERS)}")
    if not isinstance(text, str):
        what = 'no "value"' if text is None else f"value is {_kind(text)}, a string expected"
        yield Fault(name, what, "write what is said")
        return
    yield from _text_faults(text, _role(turn), name)


def _text_faults(text: str, role: Speaker | None, name: str) -> Iterator[Fault]:
    if role == "assistant" and not text.strip():
        yield Fault(name, "empty answer", "write the answer, or remove the question too")
    if role == "assistant" and IMAGE_MARK in text:
        yield Fault(name, f"{IMAGE_MARK} in an answer", f"only questions show pictures: remove {IMAGE_MARK}")
    if half := _half_character(text):
        yield Fault(name, f"half a character, {half}", _WHOLE)


def _half_character(text: str) -> str | None:
    """The first half of a surrogate pair in `text`, spelled out: JSON can hold one, UTF-8 and tokenizers cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])
    return None


def _order_faults(roles: list[Speaker | None]) -> Iterator[Fault]:
    """The turns that are out of order; a turn of unknown role (None) fits anywhere."""
    if roles[0] == "assistant":
        yield Fault("conversations[0]", "the first turn is the assistant's", "begin with a question")
    for index, (before, role) in enumerate(pairwise(roles), start=1):
        if role is not None and role == before:
            message = f"roles out of order: {role} after {before}"
            yield Fault(f"conversations[{index}]", message, "user and assistant must alternate")
    if roles[-1] == "user":
        yield Fault(f"conversations[{len(roles) - 1}]", "the last turn is the user's", "add the answer")


def _count_faults(row: dict[str, Any]) -> Iterator[Fault]:
    """The marks against the pictures, where both can be counted."""
    turns, images = row.get("conversations"), row.get("image")
    if not isinstance(turns, list) or not isinstance(images, str | list | None):
        return
    texts = [_text(turn) for turn in turns if isinstance(turn, dict) and _role(turn) != "assistant"]
    marks = sum(text.count(IMAGE_MARK) for text in texts if isinstance(text, str))
    given = len(_images(row))
    if marks != given:
        message = f"{marks} {IMAGE_MARK} in the questions for {_counted(given)}"
        yield Fault("image", message, _count_remedy(marks, given))


def _count_remedy(marks: int, given: int) -> str:
    if given == 0:
        return f"name the pictures in the field image, or remove {IMAGE_MARK}"
    if marks == 0:
        return f"write {IMAGE_MARK} where a question shows the picture, or remove the field image"
    return f"write one {IMAGE_MARK} for every picture"


def _counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"


def _images(row: dict[str, Any]) -> list[Any]:
    value = row.get("image")
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _speaker(turn: dict[str, Any]) -> Any:
    return turn.get("from", turn.get("role"))


def _text(turn: dict[str, Any]) -> Any:
    return turn.get("value", turn.get("content"))


def _role(turn: object) -> Speaker | None:
    speaker = _speaker(turn) if isinstance(turn, dict) else None
    return SPEAKERS.get(speaker) if isinstance(speaker, str) else None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def _as_line(sample: Sample) -> str:
    line = json.dumps(_as_row(sample), ensure_ascii=False)
    # Half a surrogate pair in a field that nobody checks has no UTF-8, and can only be written as an escape.
    return line if _half_character(line) is None else json.dumps(_as_row(sample))


def _as_row(sample: Sample) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt"}
    row: dict[str, Any] = {"id": sample.id}
    if sample.images:
        row["image"] = sample.images[0] if len(sample.images) == 1 else list(sample.images)
    row["conversations"] = [{"from": names[turn.role], "value": turn.text} for turn in sample.turns]
    return {**row, **sample.extra}
