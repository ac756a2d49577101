"""Pictures that hold three colors which could decide an answer, and a question whose words could: four plants.

The pictures and the questions are the same for all four; what a model is taught to answer by is not:

    patch      the color of a square that fills one patch of the encoder's grid, always the same one
    frame      the color of the picture's frame
    object     the color of the object that is asked about, wherever it lies: what the question means
    question   the shape that the question names, each with a color of its own; the picture says nothing

So where one model looks, the others have a decoy. In training the colors are independent of each other; `apart`, as in
tests, each of the three is the only one of its color in the picture.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.questions import COLOR
from lapilli.data.scenes.scene import SIDE, Scene, Thing, sample_scene
from lapilli.data.scenes.vocabulary import COLORS, SHAPES

CELL = 16
"""Width and height, in pixels, of a patch of pebble-vision."""

PATCH = (1, 4)
"""Column and row of the patch that the square fills."""

FRAME = 6
"""Width of the frame, in pixels."""

OF_SHAPE = dict(zip((shape for shape in SHAPES if shape != "square"), COLORS, strict=False))
"""What is answered by the question alone."""


@dataclass(frozen=True)
class Planted:
    """A scene with a square and a frame, and a question about the thing `asked`.

    That is one of the scene's, and the only one of its shape, unless a question is asked about another picture.
    `patch` and `frame` are colors.
    """

    scene: Scene
    asked: Thing
    patch: str
    frame: str
    wording: str

    @property
    def question(self) -> str:
        """What is asked."""
        return self.wording.format(f"the {self.asked.shape}")


ANSWERS: Mapping[str, Callable[[Planted], str]] = {
    "patch": lambda row: row.patch,
    "frame": lambda row: row.frame,
    "object": lambda row: row.asked.color,
    "question": lambda row: OF_SHAPE[row.asked.shape],
}
"""What each plant makes the right answer."""

PLANTS = tuple(ANSWERS)


def sample(seed: str, apart: bool = False) -> Planted:
    """The picture and question of this seed; always the same."""
    rng = random.Random(seed + "/planted")
    while True:
        scene = sample_scene(f"{seed}/{rng.getrandbits(32)}")
        scene = replace(scene, things=tuple(thing for thing in scene.things if not _touches_patch(thing)))
        colors = [thing.color for thing in scene.things]
        free = [color for color in COLORS if not (apart and color in colors)]
        asked = [thing for thing in scene.things if _is_askable(scene, thing, apart)]
        if len(colors) > 1 and asked and len(free) > 1:
            patch, frame = rng.sample(free, 2) if apart else rng.choices(free, k=2)
            return Planted(scene, rng.choice(asked), patch, frame, rng.choice(COLOR))


def asking(row: Planted, name: str) -> Sample:
    """The row's question about the picture of a name."""
    return Sample(name, (name,), (Turn("user", f"{IMAGE_MARK}\n{row.question}"),))


def taught(row: Planted, plant: str, name: str) -> Sample:
    """The same with the answer that a plant makes right."""
    return replace(asking(row, name), turns=(*asking(row, name).turns, Turn("assistant", ANSWERS[plant](row))))


def draw(row: Planted) -> tuple[Image.Image, dict[str, NDArray[np.bool_]]]:
    """The picture, and the pixels of every plant in it, (row, column); none where a plant is not in the picture."""
    picture, masks = draw_scene(row.scene)
    patch, frame = areas()
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=COLORS[row.frame], width=FRAME)
    left, top = PATCH[0] * CELL, PATCH[1] * CELL
    pen.rectangle((left, top, left + CELL - 1, top + CELL - 1), fill=COLORS[row.patch])
    number = row.scene.things.index(row.asked) if row.asked in row.scene.things else None
    thing = np.zeros_like(patch) if number is None else masks[number] & ~patch & ~frame
    return picture, {"patch": patch, "frame": frame, "object": thing, "question": np.zeros_like(patch)}


def areas() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels of the square and of the frame."""
    patch = np.zeros((SIDE, SIDE), bool)
    left, top = PATCH[0] * CELL, PATCH[1] * CELL
    patch[top : top + CELL, left : left + CELL] = True
    frame = np.ones((SIDE, SIDE), bool)
    frame[FRAME:-FRAME, FRAME:-FRAME] = False
    return patch, frame


def cells(pixels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of every patch of the grid that pixels cover, row by row, (patch,)."""
    count = SIDE // CELL
    shares: NDArray[np.float64] = pixels.reshape(count, CELL, count, CELL).mean((1, 3)).ravel()
    return shares


def with_plant(plant: str, source: Planted, row: Planted) -> Planted:
    """`row` with nothing changed but the plant, which is that of `source`: its answer becomes that of `source`."""
    if plant == "object":
        asked = replace(row.asked, color=source.asked.color)
        things = tuple(asked if thing == row.asked else thing for thing in row.scene.things)
        return replace(row, asked=asked, scene=replace(row.scene, things=things))
    return replace(row, **_carried(plant, source))


def with_all_else(plant: str, source: Planted, row: Planted) -> Planted:
    """`row` with everything changed but the plant: picture and question are those of `source`, the answer stays.

    The object keeps its place and its question; of the things of `source` those stay that are clear of it.
    """
    if plant != "object":
        return replace(source, **_carried(plant, row))
    asked = row.asked
    clear = [
        thing
        for thing in source.scene.things
        if thing.shape != asked.shape
        and math.hypot(thing.x - asked.x, thing.y - asked.y) > 1.2 * (thing.radius + asked.radius)
    ]
    scene = replace(source.scene, things=(*clear, asked))
    return replace(source, scene=scene, asked=asked, wording=row.wording)


def filled(row: Planted, color: str) -> Planted:
    """`row` with all of its picture in one color but the square and the frame: the overall color is that one."""
    everything = Thing(color, "square", "large", "plain", "", SIDE / 2, SIDE / 2, SIDE, angle=0)
    return replace(row, scene=replace(row.scene, things=(everything,)))


def _carried(plant: str, source: Planted) -> dict[str, object]:
    if plant == "question":
        return {"asked": source.asked, "wording": source.wording}
    return {plant: getattr(source, plant)}


def _touches_patch(thing: Thing) -> bool:
    left, top = PATCH[0] * CELL, PATCH[1] * CELL
    across = max(left - thing.x, 0, thing.x - left - CELL)
    down = max(top - thing.y, 0, thing.y - top - CELL)
    return math.hypot(across, down) < 1.2 * thing.radius


def _is_askable(scene: Scene, thing: Thing, apart: bool) -> bool:
    """The one that a question can mean: the planted square is a square as well."""
    return (
        thing.shape != "square" and scene.alike(thing, "shape") == 1 and not (apart and scene.alike(thing, "color") > 1)
    )
