"""Paint a scene, and the exact pixels of each thing in it."""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lapilli.data.scenes.scene import SIDE, Scene, Thing
from lapilli.data.scenes.vocabulary import COLORS

SCALE = 2
"""Everything is painted this much larger and averaged down, for smooth edges."""

PERIOD = 4 * SCALE
"""From one stripe or dot to the next, in pixels of the larger canvas."""

BACKGROUNDS = {"light": (236, 234, 228), "gray": (158, 160, 162), "dark": (38, 40, 46), "tinted": (206, 220, 224)}


def draw_scene(scene: Scene) -> tuple[Image.Image, np.ndarray]:
    """The picture (RGB, `SIDE` x `SIDE`) and the visible masks, bool `(thing, row, column)`.

    Every pixel belongs to at most one thing: the last one painted there. The same scene gives the same pixels.
    """
    rng = random.Random(scene.seed + "/paint")
    canvas = _background(scene, rng)
    masks = np.zeros((len(scene.things), SIDE, SIDE), dtype=bool)
    for index, thing in enumerate(scene.things):
        outline, corner = _silhouette(thing)
        canvas.paste(_surface(thing, outline.width, rng), corner, outline)
        if thing.character:
            _print_character(canvas, thing)
        sheet = Image.new("L", canvas.size, 0)
        sheet.paste(outline, corner)
        covered = np.asarray(sheet.reduce(SCALE)) > 127
        masks[:index, covered] = False
        masks[index] = covered
    return canvas.reduce(SCALE), masks


def boxes(masks: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The box around each mask as x1, y1, x2, y2 in shares of the picture's side. `masks`: `(thing, row, column)`."""
    return [_box(mask) for mask in masks]


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x1, y1, x2, y2 = (round(float(edge) / SIDE, 3) for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return x1, y1, x2, y2


def _background(scene: Scene, rng: random.Random) -> Image.Image:
    """A plain color with a slope of light across it and a little grain."""
    noise = np.random.default_rng(rng.getrandbits(32))
    base = np.array(BACKGROUNDS[scene.background], dtype=np.float32) + noise.uniform(-10, 10, 3)
    slope = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = noise.uniform(-12, 12) * slope[:, None] + noise.uniform(-12, 12) * slope[None, :]
    pixels = base + (light + noise.normal(0, 3, (SIDE, SIDE)))[:, :, None]
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return picture.resize((SIDE * SCALE, SIDE * SCALE), Image.Resampling.NEAREST)


def _surface(thing: Thing, side: int, rng: random.Random) -> Image.Image:
    """A square in the thing's color and texture; the second tone is a darker or lighter one of the same color."""
    tone = tuple(max(0, min(255, value + rng.randint(-9, 9))) for value in COLORS[thing.color])
    surface = Image.new("RGB", (side, side), tone)
    if thing.texture == "plain":
        return surface
    other = tuple(int(value * 0.62) if sum(tone) > 300 else int(value * 0.6 + 70) for value in tone)
    paint = _stripes if thing.texture == "striped" else _dots
    paint(ImageDraw.Draw(surface), side, other)
    return surface


def _stripes(pen: ImageDraw.ImageDraw, side: int, tone: tuple[int, ...]) -> None:
    for offset in range(-side, side, PERIOD):
        pen.line((offset, 0, offset + side, side), fill=tone, width=int(1.5 * SCALE))


def _dots(pen: ImageDraw.ImageDraw, side: int, tone: tuple[int, ...]) -> None:
    for x in range(PERIOD // 2, side, PERIOD):
        for y in range(PERIOD // 2, side, PERIOD):
            pen.ellipse((x - SCALE, y - SCALE, x + SCALE, y + SCALE), fill=tone)


def _silhouette(thing: Thing) -> tuple[Image.Image, tuple[int, int]]:
    """The thing's outline, white on a black square that just holds it, and where the square's corner belongs."""
    reach = math.ceil(1.2 * thing.radius * SCALE)
    corner = (math.floor(thing.x * SCALE) - reach, math.floor(thing.y * SCALE) - reach)
    mask = Image.new("L", (2 * reach + 1, 2 * reach + 1), 0)
    pen = ImageDraw.Draw(mask)
    x, y, radius = thing.x * SCALE - corner[0], thing.y * SCALE - corner[1], thing.radius * SCALE
    if thing.shape in ("circle", "ring"):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if thing.shape == "ring":
            hole = 0.55 * radius
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        pen.polygon([_turned(x, y, radius, thing.angle, *point) for point in _outline(thing.shape)], fill=255)
    return mask, corner


@lru_cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """The corners of a shape of radius one around the origin."""
    if shape == "triangle":
        return tuple((math.sin(math.tau * k / 3), -math.cos(math.tau * k / 3)) for k in range(3))
    if shape == "star":
        reach = (1.0, 0.42) * 5
        return tuple((r * math.sin(math.tau * k / 10), -r * math.cos(math.tau * k / 10)) for k, r in enumerate(reach))
    if shape == "cross":
        quarter = ((-0.33, -1.0), (0.33, -1.0), (0.33, -0.33))
        return tuple((x * c - y * s, x * s + y * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in quarter)
    x, y = (0.68, 0.86) if shape == "card" else (0.8, 0.8)
    return ((-x, -y), (x, -y), (x, y), (-x, y))


def _turned(x: float, y: float, radius: float, angle: float, px: float, py: float) -> tuple[float, float]:
    """Where the corner (px, py) of an outline lies, turned by `angle` and drawn of this radius around (x, y)."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return x + radius * (px * cosine - py * sine), y + radius * (px * sine + py * cosine)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _print_character(canvas: Image.Image, card: Thing) -> None:
    """The card's character, dark on a light card and light on a dark one, turned with the card."""
    ink = (20, 20, 24) if sum(COLORS[card.color]) > 330 else (250, 250, 246)
    side = int(2 * card.radius * SCALE)
    stamp = Image.new("L", (side, side), 0)
    ImageDraw.Draw(stamp).text(
        (side / 2, side / 2), card.character, font=_font(int(1.45 * card.radius * SCALE)), fill=255, anchor="mm",
        stroke_width=1,
    )  # fmt: skip
    stamp = stamp.rotate(-card.angle, resample=Image.Resampling.BICUBIC)
    corner = (round(card.x * SCALE - side / 2), round(card.y * SCALE - side / 2))
    canvas.paste(Image.new("RGB", stamp.size, ink), corner, stamp)
