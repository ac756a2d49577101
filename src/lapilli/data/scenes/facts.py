"""Scenes as their folder tells them: what is in every picture, and which thing a question is about."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.data.scenes.describe import with_article
from lapilli.data.scenes.questions import references
from lapilli.data.scenes.scene import Scene, Thing
from lapilli.data.scenes.vocabulary import PHRASES

_HIDDEN = ("", "colour", "shape", "place")  # what a question may ask for, and so does not name


def read_scenes(folder: Path) -> dict[str, Scene]:
    """Every scene of a folder that `lapilli data scenes` wrote, by the name of its picture.

    Raises LapilliError when the folder holds none.
    """
    file = folder / "scenes.jsonl"
    if not file.is_file():
        raise LapilliError(f"{file}: no such file; make the folder with: lapilli data scenes {folder} --split held_out")
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    names = [field.name for field in fields(Thing)]
    return {
        row["image"]: Scene(
            tuple(Thing(**{name: thing[name] for name in names}) for thing in row["things"]),
            row["background"],
            row["id"],
        )
        for row in rows
    }


def asked_about(scene: Scene, question: str) -> tuple[int, ...]:
    """The numbers of the things that a question names, ascending; none of what is not there."""
    text = question.lower()
    return tuple(
        number for number, thing in enumerate(scene.things) if any(_says(text, name) for name in _names(scene, thing))
    )


def _names(scene: Scene, thing: Thing) -> set[str]:
    """All that a question may call this thing."""
    names = {name for hidden in _HIDDEN for name in references(scene, thing, without=hidden)}
    names |= {f"the {kind} {PHRASES[thing.place]}" for kind in ("object", "card") if kind in ("object", thing.shape)}
    if scene.alike(thing, "colour", "shape") == 1:
        names.add(f"the {thing.colour} {thing.shape}")
    return names | {with_article(f"{thing.colour} {thing.shape}"), with_article(thing.shape)}


def _says(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None
