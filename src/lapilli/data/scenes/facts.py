"""The scenes of a folder: the things in every picture, and the things that a question names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core import spelling
from lapilli.core.errors import LapilliError
from lapilli.core.read import checked, read_json_lines
from lapilli.data.scenes.describe import with_article
from lapilli.data.scenes.questions import references
from lapilli.data.scenes.scene import MOST, SIDE, Scene, Thing
from lapilli.data.scenes.vocabulary import COLORS, PHRASES, SHAPES, SIZES, TEXTURES

_AGAIN = "make the folder again with: lapilli data scenes"
_HIDDEN = ("", "color", "shape", "place")  # attributes that a question may ask for, and so does not name


def read_scenes(folder: Path) -> dict[str, Scene]:
    """Read every scene of a folder that `lapilli data scenes` wrote, by the name of its picture.

    Raises LapilliError when the folder holds none, and with the line that is none, or is of something else.
    """
    file = folder / "scenes.jsonl"
    if not file.is_file():
        raise LapilliError(f"{file}: no such file; make the folder with: lapilli data scenes {folder} --split held_out")
    rows = [_row(place, _respelled(value)) for place, value in read_json_lines(file, _AGAIN)]
    return {row.image: Scene(row.things, row.background, row.id) for row in rows}


@dataclass(frozen=True)
class _Row:
    """A line of scenes.jsonl, as far as a scene needs it."""

    id: str
    image: str
    background: str
    things: tuple[Thing, ...]


def _respelled(value: Any) -> Any:
    """A line with the attributes of its things as they are spelled today."""
    things = value.get("things") if isinstance(value, dict) else None
    return value | {"things": [spelling.keys(thing) for thing in things]} if isinstance(things, list) else value


def _row(place: str, value: object) -> _Row:
    row = checked(_Row, value, place, _AGAIN)
    if not 1 <= len(row.things) <= MOST:
        raise LapilliError(f"{place}: {len(row.things)} things; a scene has 1 to {MOST}; {_AGAIN}")
    for thing in row.things:
        _require_drawn(thing, place)
    return row


def _require_drawn(thing: Thing, place: str) -> None:
    """Refuse attributes that no scene has: there are no words for them."""
    vocabularies = {"color": COLORS, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}
    for name, words in vocabularies.items():
        if getattr(thing, name) not in words:
            choices = ", ".join(words)
            raise LapilliError(f"{place}: {name} {getattr(thing, name)[:60]!r}; there are {choices}; {_AGAIN}")
    if not (0 <= thing.x < SIDE and 0 <= thing.y < SIDE):
        raise LapilliError(f"{place}: x {thing.x}, y {thing.y}; a picture has {SIDE} x {SIDE} pixels; {_AGAIN}")


def asked_about(scene: Scene, question: str) -> tuple[int, ...]:
    """Return the numbers of the things that a question names, ascending."""
    text = question.lower()
    return tuple(
        number for number, thing in enumerate(scene.things) if any(_says(text, name) for name in _names(scene, thing))
    )


def _names(scene: Scene, thing: Thing) -> set[str]:
    """Return every name that a question may have for this thing."""
    names = {name for hidden in _HIDDEN for name in references(scene, thing, without=hidden)}
    names |= {f"the {kind} {PHRASES[thing.place]}" for kind in ("object", "card") if kind in ("object", thing.shape)}
    if scene.alike(thing, "color", "shape") == 1:
        names.add(f"the {thing.color} {thing.shape}")
    return names | {with_article(f"{thing.color} {thing.shape}"), with_article(thing.shape)}


def _says(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None
