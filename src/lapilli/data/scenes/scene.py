"""A scene as facts: sampled from a seed, before it is drawn or described."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from operator import attrgetter

from lapilli.data.scenes.vocabulary import CHARACTERS, COLORS, PLACES, SHAPES, SIZES, TEXTURES, is_withheld

SIDE = 96
"""Width and height of a picture, in pixels."""

MOST = 6
"""The most things in a scene; the fewest is one."""

CELL = SIDE / 3
MARGIN = 3.0
RADII = {"small": (7.5, 9.5), "large": (12.5, 15.5)}


@dataclass(frozen=True)
class Thing:
    """One object. `x`, `y` (centre) and `radius` are in pixels of the picture, `angle` in degrees."""

    color: str
    shape: str
    size: str
    texture: str
    character: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def cell(self) -> int:
        """The cell of the three by three grid that holds the centre, 0 to 8, row by row."""
        return 3 * int(self.y // CELL) + int(self.x // CELL)

    @property
    def place(self) -> str:
        """The name of the cell."""
        return PLACES[self.cell]


@dataclass(frozen=True)
class Scene:
    """One to six things, painted in order: a later thing may hide part of an earlier one."""

    things: tuple[Thing, ...]
    background: str
    seed: str

    def alike(self, thing: Thing, *attributes: str) -> int:
        """Return the number of things, this one included, that share its values of the attributes."""
        chosen = attrgetter(*attributes)
        return [chosen(other) for other in self.things].count(chosen(thing))


def sample_scene(seed: str, compositional: bool = False) -> Scene:
    """The scene of this seed; always the same one.

    Ordinary scenes hold no withheld combination, `compositional` ones nothing else. Centres keep `MARGIN` pixels from
    the borders between cells, so that a place is never ambiguous; no two things share a cell.
    """
    rng = random.Random(seed)
    count = rng.randint(1, MOST)
    colors = _palette(rng, list(COLORS))
    shapes = _palette(rng, list(SHAPES))
    things: list[Thing] = []
    for cell in rng.sample(range(9), count):
        thing = _sample_thing(rng, cell, colors, shapes, compositional)
        for _ in range(20):
            if _has_room(thing, things):
                things.append(thing)
                break
            thing = _moved(rng, thing, cell)
    return Scene(_distinct_cards(tuple(things)), rng.choice(("light", "gray", "dark", "tinted")), seed)


def _palette(rng: random.Random, words: list[str]) -> list[str]:
    """All words or, half of the time, two or three of them, so that attributes repeat and can be counted."""
    return words if rng.random() < 0.5 else rng.sample(words, rng.randint(2, 3))


def _sample_thing(rng: random.Random, cell: int, colors: list[str], shapes: list[str], compositional: bool) -> Thing:
    pairs = [(c, s) for c in colors for s in shapes if is_withheld(c, s, cell) == compositional]
    everything = [(c, s) for c in COLORS for s in SHAPES if is_withheld(c, s, cell) == compositional]
    color, shape = rng.choice(pairs or everything)
    size = rng.choice(SIZES) if shape != "card" else "large"
    texture = "plain" if shape == "card" or rng.random() < 0.6 else rng.choice(TEXTURES[1:])
    character = rng.choice(CHARACTERS) if shape == "card" else ""
    angle = rng.uniform(-12, 12) if shape in ("card", "square") else rng.uniform(0, 360)
    radius = rng.uniform(*RADII[size])
    thing = Thing(color, shape, size, texture, character, x=0.0, y=0.0, radius=radius, angle=angle)
    return _moved(rng, thing, cell)


def _moved(rng: random.Random, thing: Thing, cell: int) -> Thing:
    """The thing somewhere else in the same cell, inside the picture."""

    def along(index: int) -> float:
        low = max(index * CELL + MARGIN, thing.radius + 1)
        high = min((index + 1) * CELL - MARGIN, SIDE - thing.radius - 1)
        return rng.uniform(low, high)

    return replace(thing, x=along(cell % 3), y=along(cell // 3))


def _has_room(thing: Thing, others: list[Thing]) -> bool:
    """Things may touch and overlap a little; most of each stays visible."""
    return all(
        math.hypot(thing.x - other.x, thing.y - other.y) > 0.85 * (thing.radius + other.radius) for other in others
    )


def _distinct_cards(things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """Put cards on top: a character that is half covered could not be read."""
    return tuple(sorted(things, key=lambda thing: thing.shape == "card"))
