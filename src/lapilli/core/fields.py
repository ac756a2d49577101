"""Meanings and ranges of a recipe's fields, noted at the definition: `Annotated[int, "In one pass.", Range(1, 64)]`.

These notes are the source of the check of a recipe's numbers, of the list that `lapilli train --fields` prints, and of
the documentation.
"""

import sys
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lapilli.core.plain import plain

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` to `most`, both included, or more than `above`, or less than `below`."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            abs(number) <= sys.float_info.max  # neither infinite nor NaN; an int of any length compares exactly
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        low = f"more than {self.above:,}" if self.above is not None else f"{self.least:,}"
        if self.most is not None:
            return f"{low} to {self.most:,}" if self.above is None else f"{low}, at most {self.most:,}"
        if self.below is not None:
            return f"{low} to less than {self.below:,}"
        return low if self.above is not None else f"{low} or more"


@dataclass(frozen=True)
class FieldInfo:
    """A field of a recipe: its dotted name, as for `--set`, its type in words, and its meaning.

    `default` is in plain values, and also None where `required`. An entry of a list has `[]` in its name.
    """

    field: str
    type: str
    required: bool
    default: Any
    meaning: str


def require_ranges(recipe: Any) -> None:
    """Raise ValueError, which the reader of recipes reports, for the first number outside the range of its field.

    Every entry of a list or tuple is checked. None passes.
    """
    for name, hint in get_type_hints(type(recipe), include_extras=True).items():
        for range_ in _notes(hint, Range):
            value = getattr(recipe, name)
            numbers = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(number, (int, float)) and number not in range_ for number in numbers):
                listed = list(value) if isinstance(value, tuple) else value
                raise ValueError(f"{name}: {listed}; it must be {range_}")


def list_fields(kind: type[Any], below: str = "") -> list[FieldInfo]:
    """Return every field of a recipe's dataclass in order, those of its groups in their place."""
    hints = get_type_hints(kind, include_extras=True)
    return [info for field in fields(kind) for info in _infos(field, hints[field.name], below)]


def _infos(field: Field[Any], hint: Any, below: str) -> Iterator[FieldInfo]:
    name, bare = below + field.name, _bare(hint)
    if is_dataclass(bare):
        yield from list_fields(bare, f"{name}.")  # type: ignore[arg-type]
        return
    required = field.default is MISSING and field.default_factory is MISSING
    factory = field.default_factory
    default = None if required else plain(field.default if factory is MISSING else factory())
    meaning = " ".join(_notes(hint, str))
    ranges = "".join(f", {range_}" for range_ in _notes(hint, Range))
    yield FieldInfo(name, _describe(bare, ranges), required, default, meaning)
    if get_origin(bare) is list and is_dataclass(entry := get_args(bare)[0]):
        yield from list_fields(entry, f"{name}[].")  # type: ignore[arg-type]


def _describe(kind: Any, ranges: str = "") -> str:
    """Describe a type in words, with its range."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kinds = [_describe(argument, ranges) for argument in arguments if argument is not type(None)]
        return ", or ".join([*kinds, "null"] if type(None) in arguments else kinds)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is list:
        return "list, of the fields below" if is_dataclass(arguments[0]) else f"list: {_describe(arguments[0])}"
    if origin is tuple and arguments[-1] is ...:
        return f"list: {_describe(arguments[0])}{ranges}"
    if origin is tuple:
        return f"[{', '.join(map(_describe, arguments))}]{ranges}"
    return _KINDS[kind] + ranges


def _notes(hint: Any, kind: type[Any]) -> list[Any]:
    """The notes of this kind beside a type."""
    return [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, kind)]


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint
