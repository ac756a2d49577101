"""What the patches of a prepared picture show of the original: padding, resizing and cropping taken back.

A patch is here what one image token stands for: as large as one of the encoder's, or several where the connector merges
them (connector.py).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from lapilli.model.padding import Span, spans

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels from the top left corner of the upright original."""


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

    @property
    def lost(self) -> Literal["cropped", "padded", "nothing"]:
        """What was done to the picture's shape: some of it is hidden, or patches show padding, or neither."""
        if self.hidden:
            return "cropped"
        left, top, right, bottom = self.bounds
        width, height = self.size
        return "padded" if left < 0 or top < 0 or right > width or bottom > height else "nothing"


def framing(image_processor: Any, size: tuple[int, int], side: int, cell: int) -> Framing:
    """How a Hugging Face image processor frames a picture of (width, height) for an encoder of `side` x `side` pixels.

    A patch shows `cell` x `cell` of them. Where patches do not fill the side, the rest at the right and the bottom is
    not shown either. Raises LapilliError as `padding.spans` does.
    """
    patches = side // cell
    across, down = spans(image_processor, size, patches * cell)
    return Framing(size, across, down, (patches, patches))


def _part(span: Span, index: int, count: int) -> tuple[float, float]:
    begin, end = span
    step = (end - begin) / count
    return float(begin + step * index), float(begin + step * (index + 1))


def _shown(span: Span, length: int) -> Fraction:
    begin, end = max(span[0], Fraction(0)), min(span[1], Fraction(length))
    return max(end - begin, Fraction(0)) / length
