"""Files that somebody may have spoilt, read into what they should hold, or refused in one line.

A remedy is what a message ends with: "make the folder again with: lapilli data scenes".
"""

import json
import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from lapilli.core.errors import LapilliError

T = TypeVar("T")

_EXCERPT = 60  # characters of a value that is not what it should be
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", int: "a number", float: "a number"}


class MissingFileError(LapilliError):
    """There is no file of that name: what that means, the reader of its folder can say."""


def read_bytes(file: Path, remedy: str) -> bytes:
    """Return the content of a file.

    Raises MissingFileError where there is none, and LapilliError where it cannot be read, or is a pipe or a device.
    """
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for without end
            raise LapilliError(f"{file}: not a file; {remedy}")
        return file.read_bytes()
    except (OSError, ValueError) as error:  # no permission, a name that is too long; a zero byte in it
        kind = MissingFileError if isinstance(error, FileNotFoundError | NotADirectoryError) else LapilliError
        reason = getattr(error, "strerror", None) or error
        raise kind(f"{file}: cannot be read: {reason}; {remedy}") from error


def read_text(file: Path, remedy: str) -> str:
    """Return the content of a file as text in UTF-8. Raises LapilliError as `read_bytes`, and for other encodings."""
    try:
        return read_bytes(file, remedy).decode("utf-8-sig")  # editors on Windows put a byte order mark in front
    except UnicodeDecodeError as error:
        raise LapilliError(f"{file}: not UTF-8 at byte {error.start}; {remedy}") from error


def read_json(file: Path, remedy: str, finite: bool = False) -> Any:
    """Return the value in a JSON file. Raises LapilliError as `read_text` and `parsed` do."""
    return parsed(read_text(file, remedy), str(file), remedy, finite)


def read_json_lines(file: Path, remedy: str) -> Iterator[tuple[str, Any]]:
    """Yield the place, for messages, and the value of every line that is not empty. Raises as `read_json` does."""
    lines = read_text(file, remedy).split("\n")  # not splitlines: texts may hold other line breaks
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{file}:{number}", parsed(line, f"{file}:{number}", remedy)


def parsed(text: str, place: str, remedy: str, finite: bool = False) -> Any:
    """Return the value of a JSON text. `place` says where it stands, for the message of the LapilliError.

    That is raised for other text, for deep nesting and, if all is to be `finite`, for the NaN and Infinity that Python
    writes and JSON has not.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant if finite else None)
    except RecursionError as error:
        raise LapilliError(f"{place}: JSON that is nested too deeply; {remedy}") from error
    except ValueError as error:  # syntax, or a number of thousands of digits
        raise LapilliError(f"{place}: not JSON: {error}; {remedy}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def control_character(text: str) -> str | None:
    """The first control character in `text` that is no tab or line break, spelled out; no text is meant to have one."""
    return f"U+{ord(match[0]):04X}" if (match := _CONTROL.search(text)) else None


def half_character(text: str) -> str | None:
    """The first half of a surrogate pair in `text`, spelled out: JSON can hold one, UTF-8 and tokenizers cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])
    return None


def json_kind(value: object) -> str:
    """A JSON value, in words."""
    return _KINDS.get(type(value), "null")


def checked(kind: type[T], value: Any, place: str, remedy: str) -> T:
    """Return a value of JSON as `kind`: a dataclass or TypedDict of plain types, lists, tuples, dicts and dataclasses.

    Fields that `kind` does not have are left out. Raises LapilliError, which begins with `place` and names the field,
    for a field that is missing or of another type, half a character in a text, and a number that is not finite.
    """
    return cast(T, _Check(place, remedy).value(kind, value, ""))


class _Check:
    """A check of one value, with its place and the remedy for every message."""

    def __init__(self, place: str, remedy: str) -> None:
        self._place, self._remedy = place, remedy

    def value(self, kind: Any, value: Any, path: str) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return None if value is None else self.value(inner, value, path)
        if origin is Literal:
            same_type = [choice for choice in arguments if type(choice) is type(value)]
            return value if value in same_type else self._no(value, path)
        if origin in (list, tuple):
            return origin(self._entries(arguments if origin is tuple else (*arguments, ...), value, path))
        if origin in (dict, Mapping):
            entries = value if isinstance(value, dict) else self._no(value, path, "an object")
            inner = arguments[1]
            return {self._text(key, path): self.value(inner, entry, f"{path}.{key}") for key, entry in entries.items()}
        if is_dataclass(kind) or is_typeddict(kind):
            return self._fields(kind, value, path)
        return self._scalar(kind, value, path)

    def _entries(self, kinds: tuple[Any, ...], value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            self._no(value, path, "a list")
        if kinds[-1] is ...:
            kinds = kinds[:1] * len(value)
        if len(value) != len(kinds):
            self._no(value, path, f"{len(kinds)} entries")
        pairs = zip(kinds, value, strict=True)
        return [self.value(kind, entry, f"{path}[{i}]") for i, (kind, entry) in enumerate(pairs)]

    def _fields(self, kind: Any, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            self._no(value, path, "an object")
        hints = _hints(kind)
        needed = (
            kind.__required_keys__
            if is_typeddict(kind)
            else {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
        )
        if missing := sorted(needed - value.keys()):
            self._fail(f"{_below(path, missing[0])}: missing")
        values = {
            name: self.value(hint, value[name], _below(path, name)) for name, hint in hints.items() if name in value
        }
        return kind(**values)

    def _scalar(self, kind: Any, value: Any, path: str) -> Any:
        if kind is Any:
            return value
        if kind is str:
            return self._text(value, path)
        if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
            return float(value)
        return value if type(value) is kind and kind in (bool, int) else self._no(value, path, _WORDS[kind])

    def _text(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            self._no(value, path, "text")
        if half_character(value):
            self._fail(f"{path}: half a character, {value[:_EXCERPT]!a}")
        return value

    def _no(self, value: Any, path: str, expected: str = "something else") -> NoReturn:
        actual = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
        self._fail(f"{path + ': ' if path else ''}{actual[:_EXCERPT]}, {expected} expected")

    def _fail(self, what: str) -> NoReturn:
        raise LapilliError(f"{self._place}: {what}; {self._remedy}")


_hints = cache(get_type_hints)
"""The types of a class's fields, which a log of many lines asks for at each."""

_WORDS = {bool: "true or false", int: "a whole number", float: "a finite number"}


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
