"""The region of a picture that a question is about, where its folder says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion
from lapilli.data.scenes.facts import asked_about
from lapilli.data.scenes.scene import SIDE, Scene

PixelBox = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the top left corner."""


def region(folder: Path, question: PictureQuestion, scenes: Mapping[str, Scene]) -> NDArray[np.float64] | None:
    """Return the region that the question is about, 1 inside and 0 elsewhere, (height, width); None where unknown.

    It is the question's `boxes`; else, for one of `scenes`, the mask of the thing that it names, if it is a single one.
    """
    if question.boxes:
        width, height = open_picture(folder / "images", question.image).size
        return _filled(question, width, height)
    scene = scenes.get(question.image)
    numbers = asked_about(scene, question.question) if scene else ()
    if len(numbers) != 1:
        return None
    return _mask(folder / "masks", Path(question.image).with_suffix(".png").name, numbers[0])


def covered(pixels: NDArray[np.float64], boxes: Sequence[PixelBox]) -> NDArray[np.float64]:
    """The share of each box that the region covers, (box,); a box may begin and end within pixels, or outside."""
    total = np.pad(pixels.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    edges = np.array(boxes)
    left, top, right, bottom = edges.T
    inside = (
        _upto(total, bottom, right) - _upto(total, top, right) - _upto(total, bottom, left) + _upto(total, top, left)
    )
    shares: NDArray[np.float64] = np.clip(np.round(inside / ((right - left) * (bottom - top)), 9), 0, 1)
    return shares


def _upto(total: NDArray[np.float64], down: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """The region's area above and left of points, from the sums at the corners of pixels."""
    down, across = (np.clip(at, 0, length - 1) for at, length in zip((down, across), total.shape, strict=True))
    row, column = (
        np.minimum(at.astype(np.intp), length - 2) for at, length in zip((down, across), total.shape, strict=True)
    )
    below, beside = down - row, across - column
    upper = total[row, column] * (1 - beside) + total[row, column + 1] * beside
    lower = total[row + 1, column] * (1 - beside) + total[row + 1, column + 1] * beside
    area: NDArray[np.float64] = upper * (1 - below) + lower * below
    return area


def _filled(question: PictureQuestion, width: int, height: int) -> NDArray[np.float64]:
    pixels = np.zeros((height, width))
    for x1, y1, x2, y2 in question.boxes:
        pixels[
            round(y1 * height) : max(round(y2 * height), round(y1 * height) + 1),
            round(x1 * width) : max(round(x2 * width), round(x1 * width) + 1),
        ] = 1
    return pixels


def _mask(folder: Path, name: str, thing: int) -> NDArray[np.float64] | None:
    again = "draw the scenes again with: lapilli data scenes"
    if not (folder / name).is_file():
        raise LapilliError(f"{folder / name}: no such file; {again}")
    labels = np.asarray(open_picture(folder, name))[..., 0]  # it is gray, so that the channels are alike
    if labels.shape != (SIDE, SIDE):
        raise LapilliError(
            f"{folder / name}: {labels.shape[1]} x {labels.shape[0]} pixels, {SIDE} x {SIDE} expected; {again}"
        )
    inside = labels == thing + 1
    return inside.astype(np.float64) if inside.any() else None  # a thing may lie behind others
