"""Scenes for the vision encoder: a picture, a caption, a phrase about each thing, and every fact in words."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from lapilli.data.scenes.describe import noun, short_caption, with_article
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.scene import MOST, SIDE, Scene, Thing, sample_scene
from lapilli.data.scenes.vocabulary import CHARACTERS, COLORS, PHRASES, PLACES, SHAPES, SIZES, TEXTURES

UNSAID = -100
"""The index of a fact that has no value: a circle has no character."""


def _count_phrases(singular: str, plural: str) -> tuple[str, ...]:
    return f"the only {singular}", *(f"one of {count} {plural}" for count in range(2, MOST + 1))


SPOTS = ("the middle of an object", "beside the middle of an object", "the background")

FACTS: dict[str, tuple[str, ...]] = {
    "color": tuple(with_article(f"{color} object") for color in COLORS),
    "shape": tuple(with_article(shape) for shape in SHAPES),
    "size": tuple(f"a {size} object" for size in SIZES),
    "texture": tuple(f"a {texture} object" for texture in TEXTURES),
    "character": tuple(f"the {'digit' if c.isdigit() else 'letter'} {c}" for c in CHARACTERS),
    "place": tuple(f"an object {PHRASES[place]}" for place in PLACES),
    "color_count": _count_phrases("object of its color", "objects of the same color"),
    "shape_count": _count_phrases("object of its shape", "objects of the same shape"),
    "count": _count_phrases("object", "objects"),
    "spot": SPOTS,
}
"""The phrases of every fact: exactly one of each line is true of a patch, or the fact does not apply to it."""

_WORDS = {
    "color": tuple(COLORS), "shape": SHAPES, "size": SIZES, "texture": TEXTURES, "character": tuple(CHARACTERS),
    "place": PLACES,
}  # fmt: skip


@dataclass(frozen=True)
class Captioned:
    """A caption of a scene, and for each thing a phrase and the patch that holds its centre."""

    caption: str
    phrases: tuple[str, ...]
    patches: tuple[int, ...]


def draw_seed(seed: str) -> np.ndarray:
    """The picture of a seed as uint8 `(row, column, channel)`."""
    return np.asarray(draw_scene(sample_scene(seed))[0])


def caption_seed(seed: str, rng: random.Random, patch: int) -> Captioned:
    """A fresh caption, and for each thing a fresh phrase, for the scene of a seed; patches of `patch` pixels."""
    scene = sample_scene(seed)
    phrases = tuple(_phrase(thing, rng) for thing in scene.things)
    return Captioned(short_caption(scene, rng), phrases, tuple(patch_of(thing, patch) for thing in scene.things))


def patch_of(thing: Thing, patch: int) -> int:
    """The patch that holds the thing's centre, row by row."""
    return SIDE // patch * int(thing.y // patch) + int(thing.x // patch)


def facts_seed(seed: str, patch: int) -> np.ndarray:
    """Return the facts of a seed's picture: indices into the lines of `FACTS`, or `UNSAID`; (patch, fact).

    The patch with a thing's centre has the facts of the thing, the others only that of their spot. The background is
    where no thing can reach.
    """
    scene, across = sample_scene(seed), SIDE // patch
    facts = np.full((across * across, len(FACTS)), UNSAID, dtype=np.int16)
    facts[:, -1] = [_spot(scene, index, patch) for index in range(across * across)]
    for thing in scene.things:
        facts[patch_of(thing, patch)] = [*_facts(thing), *_counts(scene, thing), SPOTS.index("the middle of an object")]
    return facts


def _facts(thing: Thing) -> list[int]:
    values = {name: getattr(thing, name) for name in _WORDS}
    if thing.shape == "card":
        values["size"] = values["texture"] = ""  # not of a card
    return [_WORDS[name].index(value) if value else UNSAID for name, value in values.items()]


def _counts(scene: Scene, thing: Thing) -> list[int]:
    """Return the indices of the numbers of things of its color, of its shape, and of all; the number 1 has index 0."""
    counts = scene.alike(thing, "color"), scene.alike(thing, "shape"), len(scene.things)
    return [count - 1 for count in counts]


def _spot(scene: Scene, index: int, patch: int) -> int:
    row, column = divmod(index, SIDE // patch)
    x, y = (column + 0.5) * patch, (row + 0.5) * patch
    reach = patch * math.sqrt(0.5)
    free = all(math.hypot(thing.x - x, thing.y - y) > 1.2 * thing.radius + reach for thing in scene.things)
    return SPOTS.index("the background" if free else "beside the middle of an object")


def _phrase(thing: Thing, rng: random.Random) -> str:
    return with_article(noun(thing)) + (" " + PHRASES[thing.place] if rng.random() < 0.6 else "")
