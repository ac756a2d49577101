"""The faults of a row: reading stops at the first, `lapilli data validate` lists them all."""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.read import half_character, json_kind
from lapilli.data.extra_fields import excerpt, extra_fields, names_pictures

Speaker = Literal["user", "assistant"]

SPEAKERS: Mapping[str, Speaker] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
"""Every name that a row may give a speaker."""

IMAGE_FIELDS = ("image", "images")
"""The fields that may name a row's pictures; one of them does."""

_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode's categories of invisible characters
_WHOLE = "write the whole surrogate pair"

_SYNONYMS = {"from": "role", "value": "content"}  # of a turn's fields


@dataclass(frozen=True)
class Fault:
    """A fault of a row: the field, if it is in one, the fault, and the remedy."""

    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}; {self.remedy}" if self.field else f"{self.message}; {self.remedy}"


def faults(row: object) -> Iterator[Fault]:
    """Yield every fault of a row, apart from its pictures' files."""
    if isinstance(row, Fault):
        yield row
    elif not isinstance(row, dict):
        yield Fault(
            "row", f"{json_kind(row)}, an object expected", 'write {"id": .., "image": .., "conversations": [..]}'
        )
    else:
        yield from _id_faults(row)
        yield from _image_faults(row)
        yield from _unread_faults(row)
        yield from _conversation_faults(row)
        yield from _count_faults(row)


def _id_faults(row: dict[str, Any]) -> Iterator[Fault]:
    value = row.get("id")
    if value is None or value == "":
        yield Fault("id", "missing", "give every row an id of its own")
    elif isinstance(value, bool) or not isinstance(value, str | int):
        yield Fault("id", f"{json_kind(value)}, a string or a whole number expected", "give every row an id of its own")
    elif half := half_character(str(value)):
        yield Fault("id", f"half a character, {half}", _WHOLE)


def _image_faults(row: dict[str, Any]) -> Iterator[Fault]:
    name = _image_field(row)
    if all(row.get(field) for field in IMAGE_FIELDS):
        yield Fault("images", "a second list of pictures, beside image", "name all pictures in one of the two")
    if not isinstance(row.get(name), str | list | None):
        yield Fault(name, f"{json_kind(row[name])}, a path or a list of paths expected", "name the picture's file")
        return
    for index, path in enumerate(images_of(row)):
        if not isinstance(path, str):
            yield Fault(name, f"number {index} is {json_kind(path)}, a path expected", "name the picture's file")
        elif not path.strip():
            yield Fault(name, f"number {index} is empty", "name the picture's file, or leave the field out")


def _unread_faults(row: dict[str, Any]) -> Iterator[Fault]:
    """Yield the fields that name a picture in a row without one; with one, they may hold a mask or an address."""
    if images_of(row):
        return
    for field, text in extra_fields(row):
        if names_pictures(field, text):
            remedy = f"name a picture in the field image, with {IMAGE_MARK} in the question, or remove the field"
            yield Fault(field, f"{excerpt(text)} is a picture or a video in a field that is not read", remedy)


def _conversation_faults(row: dict[str, Any]) -> Iterator[Fault]:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        what = "missing" if turns is None else f"{json_kind(turns)}, a list of turns expected"
        yield Fault("conversations", what, 'write [{"from": "human", "value": ..}, {"from": "gpt", "value": ..}]')
    elif not turns:
        yield Fault("conversations", "no turns", "write a question and its answer, or remove the row")
    else:
        for index, turn in enumerate(turns):
            yield from _turn_faults(turn, f"conversations[{index}]")
        yield from _order_faults([_role(turn) for turn in turns])


def _turn_faults(turn: object, name: str) -> Iterator[Fault]:
    if not isinstance(turn, dict):
        yield Fault(name, f"{json_kind(turn)}, an object expected", 'write {"from": "human", "value": ..}')
        return
    speaker, text = speaker_of(turn), text_of(turn)
    for field, synonym in _SYNONYMS.items():
        if field in turn and synonym in turn and turn[field] != turn[synonym]:
            yield Fault(name, f'"{field}" and "{synonym}" differ', "keep one of the two")
    if speaker is None:
        yield Fault(name, 'no "from"', "say who speaks, human or gpt")
    elif _role(turn) is None:
        yield Fault(name, f"unknown role {speaker!r}", f"known roles: {', '.join(SPEAKERS)}")
    if not isinstance(text, str):
        what = 'no "value"' if text is None else f"value is {json_kind(text)}, a string expected"
        yield Fault(name, what, "write what is said")
        return
    yield from _text_faults(text, _role(turn), name)


def _text_faults(text: str, role: Speaker | None, name: str) -> Iterator[Fault]:
    if role == "assistant" and all(unicodedata.category(char) in _INVISIBLE for char in text):
        yield Fault(name, "empty answer", "write the answer, or remove the question too")
    if role == "assistant" and IMAGE_MARK in text:
        yield Fault(name, f"{IMAGE_MARK} in an answer", f"only questions show pictures: remove {IMAGE_MARK}")
    if half := half_character(text):
        yield Fault(name, f"half a character, {half}", _WHOLE)


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
    turns, name = row.get("conversations"), _image_field(row)
    if not isinstance(turns, list) or not isinstance(row.get(name), str | list | None):
        return
    texts = [text_of(turn) for turn in turns if isinstance(turn, dict) and _role(turn) != "assistant"]
    marks = sum(text.count(IMAGE_MARK) for text in texts if isinstance(text, str))
    images = len(images_of(row))
    if marks != images:
        message = f"{marks} {IMAGE_MARK} in the questions for {_counted(images)}"
        yield Fault(name, message, _count_remedy(marks, images, name))


def _count_remedy(marks: int, images: int, name: str) -> str:
    if images == 0:
        return f"name the pictures in the field image, or remove {IMAGE_MARK}"
    if marks == 0:
        return f"write {IMAGE_MARK} where a question shows the picture, or remove the field {name}"
    return f"write one {IMAGE_MARK} for every picture"


def _counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"


def images_of(row: dict[str, Any]) -> list[Any]:
    """Return the pictures that a row names, checked or not."""
    value = row.get(_image_field(row))
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _image_field(row: dict[str, Any]) -> str:
    return next((name for name in IMAGE_FIELDS if row.get(name)), IMAGE_FIELDS[0])


def speaker_of(turn: dict[str, Any]) -> Any:
    """Return the speaker of a turn: `from`, or else `role`."""
    return turn.get("from", turn.get("role"))


def text_of(turn: dict[str, Any]) -> Any:
    """Return the text of a turn: `value`, or else `content`."""
    return turn.get("value", turn.get("content"))


def _role(turn: object) -> Speaker | None:
    speaker = speaker_of(turn) if isinstance(turn, dict) else None
    return SPEAKERS.get(speaker) if isinstance(speaker, str) else None
