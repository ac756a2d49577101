"""The layout of a token sequence: the role of every position, and the only source of the positions of image patches.

A TokenLayout is made once, by the encoder, and travels with the sequence. All code that looks inside a model reads
positions from it; nothing else computes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.intp]
OFF = -1  # off an image, or outside the turns


class Role(IntEnum):
    """The role of a token. The numbers are stored in files: they never change."""

    TEMPLATE = 0  # the beginning-of-sequence token and fixed text such as "USER:"
    SYSTEM = 1
    QUESTION = 2
    IMAGE = 3
    ANSWER = 4
    STOP = 5
    PADDING = 6


_DTYPES: dict[str, type[np.signedinteger[Any]]] = {
    "role": np.int8,
    "turn": np.int16,
    "image": np.int16,
    "row": np.int16,
    "column": np.int16,
}


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """The role, turn, image and patch of every position of one sequence of `token` tokens.

    Arrays of shape (token,), read-only, and copies of what was passed in:
      role    int8   a Role
      turn    int16  the exchange (a question and its answer) that the token belongs to, from 0; -1 outside the turns
      image   int16  the image, from 0 in the order of the sequence; -1 off the images
      row     int16  the patch's row in its image, from 0 at the top; -1 off the images
      column  int16  the patch's column, from 0 at the left; -1 off the images

    Raises ValueError unless the arrays have one length, the IMAGE tokens are exactly those with an image, row and
    column, and every image is one complete grid of patches, row by row from the top left.
    """

    role: NDArray[np.int8]
    turn: NDArray[np.int16]
    image: NDArray[np.int16]
    row: NDArray[np.int16]
    column: NDArray[np.int16]

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, _frozen(name, getattr(self, name), dtype))
        # One layout is made for every sample of a training run: the messages are not composed unless they are needed.
        lengths = {name: len(getattr(self, name)) for name in _DTYPES}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the arrays of a layout differ in length: {lengths}")
        if not 0 <= self.role.min(initial=0) <= self.role.max(initial=0) < len(Role):
            raise ValueError(f"unknown role among {np.unique(self.role)}")
        if self.turn.min(initial=0) < OFF:
            raise ValueError(f"a turn below {OFF}: {self.turn.min()}")
        is_image = self.role == Role.IMAGE
        for name in ("image", "row", "column"):
            self._require_image_tokens(name, is_image)
        self._require_whole_images(np.nonzero(is_image)[0])

    def _require_image_tokens(self, name: str, is_image: NDArray[np.bool_]) -> None:
        values = getattr(self, name)
        if values.min(initial=0) < OFF:
            raise ValueError(f"{name}: a number below {OFF}")
        if not np.array_equal(values >= 0, is_image):
            raise ValueError(f"{name}: set on other tokens than IMAGE tokens")

    def _require_whole_images(self, patches: Positions) -> None:
        _, first = np.unique(self.image[patches], return_index=True)
        _require(bool((np.diff(first) > 0).all()), "the images are not numbered in the order of the sequence")
        for image in range(self.image_count):
            at = patches[self.image[patches] == image]
            _require(at.size > 0, f"image {image} of {self.image_count} has no patches")
            rows, columns = int(self.row[at].max()) + 1, int(self.column[at].max()) + 1
            flat = self.row[at].astype(np.intp) * columns + self.column[at]
            whole = np.array_equal(flat, np.arange(rows * columns))
            _require(whole, f"image {image}: {at.size} patches are not a {rows} x {columns} grid, row by row")

    def __eq__(self, other: object) -> bool:
        """Whether all arrays are equal."""
        if not isinstance(other, TokenLayout):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _DTYPES)

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.role)

    @property
    def image_count(self) -> int:
        """The number of images in the sequence."""
        return int(self.image.max(initial=OFF)) + 1

    @property
    def last_answer(self) -> NDArray[np.bool_]:
        """Whether each token belongs to the answer of the last turn, its end included, (token,)."""
        last: NDArray[np.bool_] = self.turn == self.turn.max(initial=OFF)
        return np.isin(self.role, (Role.ANSWER, Role.STOP)) & last

    def positions(self, role: Role, turn: int | None = None, image: int | None = None) -> Positions:
        """The positions of a role, ascending, shape (n,); optionally of one turn or one image alone."""
        chosen = self.role == role
        if turn is not None:
            chosen &= self.turn == turn
        if image is not None:
            chosen &= self.image == image
        return np.nonzero(chosen)[0]

    def patches(self, image: int) -> Positions:
        """The positions of an image's patches, shape (rows, columns). Raises IndexError for an unknown image."""
        if not 0 <= image < self.image_count:
            raise IndexError(f"image {image}: the sequence has {self.image_count} images, numbered from 0")
        (at,) = np.nonzero(self.image == image)
        return at.reshape(int(self.row[at].max()) + 1, int(self.column[at].max()) + 1)

    def grid(self, image: int) -> tuple[int, int]:
        """The rows and columns of an image's patches. Raises as `patches` does."""
        rows, columns = self.patches(image).shape
        return rows, columns

    def padded(self, length: int, side: Literal["left", "right"]) -> TokenLayout:
        """Return the layout with PADDING on one side up to `length` tokens. Raises ValueError when it is longer."""
        missing = length - self.length
        _require(missing >= 0, f"a layout of {self.length} tokens cannot be padded to {length}")
        _require(side in ("left", "right"), f"side {side!r}: left or right")
        width = (missing, 0) if side == "left" else (0, missing)
        fill = {name: Role.PADDING if name == "role" else OFF for name in _DTYPES}
        return TokenLayout(**{n: np.pad(getattr(self, n), width, constant_values=fill[n]) for n in _DTYPES})

    @staticmethod
    def concatenate(layouts: Sequence[TokenLayout]) -> TokenLayout:
        """Return one layout of sequences laid end to end, as in packing; turns and images are numbered through.

        Raises ValueError for no layouts at all.
        """
        _require(len(layouts) > 0, "no layouts to concatenate")
        turns = np.cumsum([0, *(int(part.turn.max(initial=OFF)) + 1 for part in layouts)])
        images = np.cumsum([0, *(part.image_count for part in layouts)])
        arrays = {name: [getattr(part, name) for part in layouts] for name in _DTYPES}
        arrays["turn"] = [_shifted(part.turn, by) for part, by in zip(layouts, turns, strict=False)]
        arrays["image"] = [_shifted(part.image, by) for part, by in zip(layouts, images, strict=False)]
        return TokenLayout(**{name: np.concatenate(parts) for name, parts in arrays.items()})


def _shifted(numbers: NDArray[np.int16], by: int) -> NDArray[np.intp]:
    return np.where(numbers >= 0, numbers + np.intp(by), numbers)


def _frozen(name: str, values: Any, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """A read-only copy in `dtype`. Raises ValueError for numbers that the type cannot hold."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: shape {array.shape}, expected (token,)")
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name}: {array.dtype} numbers, expected integers")
    frozen = array.astype(dtype)
    if array.dtype != frozen.dtype and not np.array_equal(frozen, array):
        raise ValueError(f"{name}: a number outside the range of {np.dtype(dtype)}")
    frozen.setflags(write=False)
    return frozen


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
