"""Replacement pictures: blanks and other pictures that take a picture's place, to test whether an answer needs it.

A blurred picture keeps its overall color, and a blank of its mean color is nothing else. Only other pictures, and a
blank that is the same for all, show whether an answer needs its own picture.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.data.pictures import open_picture
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.scene import sample_scene

LEAST, MOST = 5, 50
"""The least and the largest number of a user's own pictures: fewer make no meaningful median."""

SCENES = tuple(f"swapped/{number}" for number in (0, 3, 4, 6, 11))
"""Seeds of the scenes among the shipped pictures: each color is in one or two of them."""

_GRAY = (128, 128, 128)
_NOISE = (3, 12, 48)  # random colors a side: from large fields to grain
_STRIPES = 8  # a side


def blank(side: int) -> Image.Image:
    """A mid-grey blank, `side` x `side`: the same for all pictures."""
    return Image.new("RGB", (side, side), _GRAY)


def shipped(side: int) -> list[Image.Image]:
    """Nine pictures, `side` x `side`, drawn by code and always the same: five scenes, noise, stripes, black, white.

    They have nothing in common that could be asked about; no stated color is in more than two. For a model of
    photographs they are out of distribution.
    """
    scenes = [draw_scene(sample_scene(seed))[0].resize((side, side), Image.Resampling.BICUBIC) for seed in SCENES]
    flat = [Image.new("RGB", (side, side), (level,) * 3) for level in (0, 255)]
    return [*scenes, _noise(side), _stripes(side), *flat]


def own(folder: Path, picture: Image.Image) -> list[str]:
    """The names of the pictures in a folder that differ from each other, and from `picture`, which is asked about.

    Hidden files and folders are skipped. Raises PictureError for a file that cannot be read as a picture, and
    LapilliError for fewer than LEAST pictures, and for more than MOST files.
    """
    if not folder.is_dir():
        raise LapilliError(f"{folder}: no folder of pictures; name one that holds {LEAST} to {MOST}")
    names = sorted(file.name for file in folder.iterdir() if not file.is_dir() and not file.name.startswith("."))
    if len(names) > MOST:
        raise LapilliError(f"{folder}: {len(names)} files; at most {MOST} are put in a picture's place: leave some out")
    contents = {_content(open_picture(folder, name)): name for name in reversed(names)}
    contents.pop(_content(picture), None)
    if len(contents) < LEAST:
        raise LapilliError(
            f"{folder}: {len(contents)} pictures that differ from each other and from the one that is asked about; "
            f"{LEAST} are the least: add some"
        )
    return sorted(contents.values())


def _content(picture: Image.Image) -> tuple[tuple[int, int], bytes]:
    return picture.size, sha256(picture.tobytes()).digest()


def _noise(side: int) -> Image.Image:
    """Random colors of several scales, with equal weights."""
    rng = np.random.default_rng(0)
    layers = []
    for count in _NOISE:
        colors = Image.fromarray(rng.integers(0, 256, (count, count, 3), np.uint8))
        layers.append(np.asarray(colors.resize((side, side), Image.Resampling.BICUBIC), np.float32))
    return Image.fromarray(np.mean(layers, axis=0).round().astype(np.uint8))


def _stripes(side: int) -> Image.Image:
    """Dark and light stripes that fade to black from top to bottom."""
    across = np.where(np.arange(side) * _STRIPES // side % 2, 60, 230)
    levels = np.linspace(1, 0, side)[:, None] * across
    return Image.fromarray(np.repeat(levels[..., None], 3, axis=2).round().astype(np.uint8))
