"""What the patches of a prepared picture show of the original: padding, resizing and cropping taken back."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.model.processor import pads_to_square

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the top left corner of the upright original."""

Span: TypeAlias = tuple[Fraction, Fraction]
"""Where a row or column of pixels begins and ends."""


@dataclass(frozen=True)
class Framing:
    """The part of a picture that a model is shown, and how it is cut into patches.

    size       (width, height) of the upright original, in pixels
    across     from where to where the patches reach, in the original's pixels; beyond 0 or the width is padding
    down       the same from top to bottom
    grid       (rows, columns) of patches
    """

    size: tuple[int, int]
    across: Span
    down: Span
    grid: tuple[int, int]

    def box(self, row: int, column: int) -> Box:
        """What one patch shows of the original; where it is padding, the box reaches beyond the picture.

        Rows count from 0 at the top, columns from 0 at the left. Raises IndexError for a patch that is not there.
        """
        rows, columns = self.grid
        if not (0 <= row < rows and 0 <= column < columns):
            raise IndexError(f"patch ({row}, {column}): there are {rows} rows and {columns} columns, from 0")
        left, right = _part(self.across, column, columns)
        top, bottom = _part(self.down, row, rows)
        return left, top, right, bottom

    @property
    def bounds(self) -> Box:
        """What all patches together show of the original; where they show padding, it reaches beyond the picture."""
        left, right = self.across
        top, bottom = self.down
        return float(left), float(top), float(right), float(bottom)

    @property
    def hidden(self) -> float:
        """The share of the picture's area that no patch shows; 0 when it was padded."""
        width, height = self.size
        return float(1 - _shown(self.across, width) * _shown(self.down, height))


def framing(image_processor: Any, size: tuple[int, int], side: int, patch_size: int) -> Framing:
    """How a Hugging Face image processor frames a picture of (width, height) for an encoder of `side` x `side` pixels.

    It is asked for its pad-to-square, its resizing (of the shortest edge, or of both to given lengths) and its crop
    from the centre. Where patches do not fill the side, the rest at the right and the bottom is not shown either.
    Raises LapilliError for another way of resizing.
    """
    padded = _padded(image_processor, size)
    resized = _resized(image_processor, padded)
    framed = _cropped(image_processor, resized)
    patches = side // patch_size
    across, down = (
        _span(Fraction(before, after), (after - kept) // 2, (before - length) // 2, patches * patch_size)
        for length, before, after, kept in zip(size, padded, resized, framed, strict=True)
    )
    return Framing(size, across, down, (patches, patches))


def _span(scale: Fraction, cut: int, padding: int, pixels: int) -> Span:
    """From the first of the pixels that are left to the last, in the original: a pixel there is `1 / scale` here."""
    return scale * cut - padding, scale * (cut + pixels) - padding


def _padded(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    return (max(size), max(size)) if pads_to_square(processor) else size


def _resized(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    if not processor.do_resize:
        return size
    wanted = dict(processor.size)
    if wanted.keys() == {"height", "width"}:
        return wanted["width"], wanted["height"]
    if wanted.keys() != {"shortest_edge"}:
        raise LapilliError(f"size {wanted} of the image processor: shortest_edge, or height and width, is understood")
    width, height = size
    edge = wanted["shortest_edge"]
    # Down to whole pixels, in floating point, as transformers does it.
    return (edge, int(edge * height / width)) if width <= height else (int(edge * width / height), edge)


def _cropped(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    if not getattr(processor, "do_center_crop", False):
        return size
    return processor.crop_size["width"], processor.crop_size["height"]


def _part(span: Span, index: int, count: int) -> tuple[float, float]:
    begin, end = span
    step = (end - begin) / count
    return float(begin + step * index), float(begin + step * (index + 1))


def _shown(span: Span, length: int) -> Fraction:
    begin, end = max(span[0], Fraction(0)), min(span[1], Fraction(length))
    return max(end - begin, Fraction(0)) / length
