"""Scenes for the vision encoder: a picture, a caption, and phrases that are true or almost true of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lapilli.data.scenes.describe import noun, short_caption, with_article
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.scene import Scene, Thing, sample_scene
from lapilli.data.scenes.vocabulary import CHARACTERS, COLOURS, PHRASES, PLACES, SHAPES, SIZES, TEXTURES

_WORDS = {
    "colour": tuple(COLOURS),
    "shape": SHAPES[:-1],
    "size": SIZES,
    "texture": TEXTURES,
    "character": tuple(CHARACTERS),
}
"""What else may be said of a thing, by the fact that is changed."""


@dataclass(frozen=True)
class Captioned:
    """What people say about one scene. `wrong` holds, for each of `phrases`, one that differs in a single fact."""

    caption: str
    phrases: tuple[str, ...]
    wrong: tuple[str, ...]


def draw_seed(seed: str) -> np.ndarray:
    """The picture of a seed as uint8 `(row, column, channel)`."""
    return np.asarray(draw_scene(sample_scene(seed))[0])


def caption_seed(seed: str, rng: random.Random) -> Captioned:
    """A fresh caption, and for each thing a fresh phrase and a wrong one, for the scene of a seed."""
    scene = sample_scene(seed)
    pairs = [_phrase_and_wrong(thing, scene, rng) for thing in scene.things]
    phrases, wrong = zip(*pairs, strict=True)
    return Captioned(short_caption(scene, rng), phrases, wrong)


def _phrase_and_wrong(thing: Thing, scene: Scene, rng: random.Random) -> tuple[str, str]:
    facts = ["colour", "shape", "place", "size", "texture"]
    if thing.shape == "card":
        facts = ["colour", "place", "character", "character"]
    changed = rng.choice(facts)
    other = _with_other(thing, changed, scene, rng)
    placed = changed == "place" or rng.random() < 0.6
    return _say(thing, thing.place, placed), _say(other[0], other[1], placed)


def _say(thing: Thing, place: str, placed: bool) -> str:
    return with_article(noun(thing)) + (" " + PHRASES[place] if placed else "")


def _with_other(thing: Thing, fact: str, scene: Scene, rng: random.Random) -> tuple[Thing, str]:
    """The thing and its place with one fact changed, where possible to that of another thing of the scene."""
    if fact == "place":
        return thing, rng.choice([place for place in PLACES if place != thing.place])
    words = _WORDS[fact]
    borrowed = [getattr(other, fact) for other in scene.things]
    options = [word for word in (borrowed if rng.random() < 0.5 else words) if word in words]
    options = [word for word in options if word != getattr(thing, fact)]
    options = options or [word for word in words if word != getattr(thing, fact)]
    change: dict[str, Any] = {fact: rng.choice(options)}
    return replace(thing, **change), thing.place
