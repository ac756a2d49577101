"""The rows of a data file: a JSON list (.json) or one JSON object a line (.jsonl), counted from 0.

A file that has one of the two forms and the other's ending is read as what it is.
"""

import codecs
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.read import json_kind
from lapilli.data.faults import Fault

_AS_LINES = "write its rows as JSON, one object a line, into a .jsonl"
_UTF8 = "save the file as UTF-8"

_SIGNATURES = {
    b"\x1f\x8b": ("compressed by gzip", "unpack it with gunzip"),
    b"BZh": ("compressed by bzip2", "unpack it with bunzip2"),
    b"\xfd7zXZ\x00": ("compressed by xz", "unpack it with unxz"),
    b"\x28\xb5\x2f\xfd": ("compressed by Zstandard", "unpack it with unzstd"),
    b"PK\x03\x04": ("a zip archive", "unpack it"),
    b"PAR1": ("a Parquet file", _AS_LINES),
    b"ARROW1": ("an Arrow file", _AS_LINES),
    b"SQLite format 3\x00": ("an SQLite database", _AS_LINES),
    b"\xff\xfe\x00\x00": ("UTF-32 text", _UTF8),
    b"\x00\x00\xfe\xff": ("UTF-32 text", _UTF8),
    b"\xff\xfe": ("UTF-16 text", _UTF8),
    b"\xfe\xff": ("UTF-16 text", _UTF8),
    **dict.fromkeys((b"[\x00", b"{\x00", b"\x00[", b"\x00{"), ("UTF-16 text", _UTF8)),
}
"""How files that are neither begin, with what they are and what to do; the longer of two beginnings first."""

_ENDINGS = {
    ".csv": ("a table of comma-separated values", _AS_LINES),
    ".tsv": ("a table of tab-separated values", _AS_LINES),
    ".parquet": ("a Parquet file", _AS_LINES),
    ".arrow": ("an Arrow file", _AS_LINES),
    ".gz": ("compressed by gzip", "unpack it with gunzip"),
    ".zip": ("a zip archive", "unpack it"),
}


@dataclass(frozen=True)
class Row:
    """A row as the file has it. `number` is None when the whole file is at fault; `value` may be a Fault."""

    number: int | None
    value: object


def place(path: Path, number: int | None) -> str:
    """How messages name a row of a file."""
    return str(path) if number is None else f"{path}, row {number}"


def read_rows(path: Path) -> list[Row]:
    """The rows of a .json or .jsonl file, unchecked; text that is not JSON becomes a Fault in the row's place.

    Raises LapilliError when the file cannot be read, or has another ending.
    """
    lines = is_lines(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise LapilliError(f"{path}: cannot be read: not a file; check the path")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise LapilliError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    if fault := signature_fault(raw, "JSON"):
        return [Row(None, fault)]
    text = raw.removeprefix(codecs.BOM_UTF8)  # editors on Windows put it in front
    return _rows_of_lines(text) if lines else _rows_of_list(text)


def signature_fault(raw: bytes, expected: str) -> Fault | None:
    """What a file is that begins like something else than text in UTF-8, where `expected` should be."""
    known = next((described for signature, described in _SIGNATURES.items() if raw.startswith(signature)), None)
    return Fault("file", f"{known[0]}, {expected} expected", known[1]) if known else None


def is_lines(path: Path) -> bool:
    """Whether a file of this name has one row a line. Raises LapilliError for an ending that no data file has."""
    if path.suffix in (".json", ".jsonl"):
        return path.suffix == ".jsonl"
    if path.suffix in _ENDINGS:
        what, remedy = _ENDINGS[path.suffix]
        raise LapilliError(f"{path}: {what}, JSON expected; {remedy}")
    raise LapilliError(f"{path}: ending {path.suffix!r}; name it .json (one list) or .jsonl (one row a line)")


def _rows_of_list(raw: bytes) -> list[Row]:
    value = _decode(raw, first_line=1)
    if isinstance(value, list):
        return [Row(number, row) for number, row in enumerate(value)]
    if isinstance(value, Fault):
        lines = _lines(raw)
        if len(lines) > 1 and isinstance(_decode(lines[0][1], 1), dict):  # one row a line, whatever its ending
            return [Row(row, _decode(line, number)) for row, (number, line) in enumerate(lines)]
    else:
        value = Fault("file", f"holds {json_kind(value)}, a list of rows expected", "wrap the rows in [ and ]")
    return [Row(None, value)]


def _rows_of_lines(raw: bytes) -> list[Row]:
    lines = _lines(raw)
    if lines and lines[0][1].lstrip().startswith(b"["):
        value = _decode(raw, first_line=1)
        if isinstance(value, list):  # one list of all rows, whatever its ending
            return [Row(number, row) for number, row in enumerate(value)]
    return [Row(row, _decode(line, first_line=number)) for row, (number, line) in enumerate(lines)]


def _lines(raw: bytes) -> list[tuple[int, bytes]]:
    """The lines that hold anything, with their numbers from 1."""
    # Not splitlines: JSON strings may hold other line breaks, such as U+2028, unescaped.
    return [(number, line) for number, line in enumerate(raw.split(b"\n"), start=1) if line.strip()]


def _decode(raw: bytes, first_line: int) -> Any:
    """The value of a JSON text, or a Fault that says where and why it is none."""
    try:
        text = raw.decode("utf-8-sig")  # in front of a later line, where files were joined
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
    if _is_table(text):
        return Fault("file", "a table of separated values, JSON expected", _AS_LINES)
    # Older Pythons point behind the comma, newer ones at it.
    comma = at if text[at : at + 1] == "," else len(text[:at].rstrip()) - 1
    if text[comma : comma + 1] == "," and text[comma + 1 :].lstrip()[:1] in ("]", "}"):
        return Fault("file", f"not JSON: {_line_column(text, comma, first_line)}: trailing comma", "remove the comma")
    where = _line_column(text, at, first_line)
    remedy = "name it .jsonl if it has one row a line" if error.msg == "Extra data" else "mend the text there"
    return Fault("file", f"not JSON: {where}: {error.msg}", remedy)


def _is_table(text: str) -> bool:
    """Whether the text begins with a line of names, separated by commas or tabs."""
    names = text.lstrip().partition("\n")[0].strip()
    return re.fullmatch(r"\"?[\w ]+\"?([,\t]\"?[\w ]+\"?)+", names) is not None


def _line_column(text: str, at: int, first_line: int) -> str:
    return f"line {first_line + text.count(chr(10), 0, at)}, column {at - text.rfind(chr(10), 0, at)}"
