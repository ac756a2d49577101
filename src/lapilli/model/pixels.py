"""Pictures to pixel values: what the image processor would make of them, without its cost where they already fit."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.pictures import ALPHA
from lapilli.model.framing import Framing, framing
from lapilli.model.padding import reduced, require_side
from lapilli.model.processor import background_of

_LEVELS = 256  # of one channel of a picture
_FILE = "preprocessor_config.json"


class Pixels:
    """Makes pixel values bit for bit as `image_processor` does, a Hugging Face one for pictures of `side` pixels.

    A picture that is `side` x `side` already is neither padded, resized nor cropped. All that is left is one function
    of each channel's value, so that a table of 256 values a channel, made by the processor itself, replaces it. One
    that is to be padded to a very long square is first reduced (padding.py).

    cell  pixels of a side of what one image token stands for: framing says where it lies in a picture
    """

    def __init__(self, image_processor: Any, side: int, cell: int) -> None:
        self._image_processor = image_processor
        self._side = side
        self.cell = cell
        self._table = self._tried()
        self._background = background_of(image_processor)

    def __call__(self, pictures: Iterable[Image.Image]) -> Tensor:
        """The pixel values of RGB pictures, float32, shape (picture, 3, side, side). They are asked for one by one.

        Where a picture is transparent, as its `info` says, the processor's background takes the place of white.
        """
        return torch.from_numpy(np.stack([self._values(picture) for picture in pictures]))

    def view(self, picture: Image.Image) -> Image.Image:
        """A picture as the vision encoder gets it: padded, resized and cropped, `side` x `side`, RGB in 8 bits.

        Its pixel values are those of `picture`, up to the rounding of a processor that does not resize to 8 bits.
        """
        values = self([picture])[0].numpy()
        levels = [np.interp(values[channel], *_ascending(self._table[channel])) for channel in range(3)]
        return Image.fromarray(np.stack(levels, axis=-1).round().astype(np.uint8))

    def framing(self, size: tuple[int, int]) -> Framing:
        """What every patch shows of a picture of (width, height), and the share of it that none shows.

        Raises LapilliError for an image processor that resizes in a way unheard of in LLaVA.
        """
        return framing(self._image_processor, size, self._side, self.cell)

    def _values(self, picture: Image.Image) -> NDArray[np.float32]:
        shown = self._on_background(picture)
        return self._look_up(shown) if self._fits(shown) else self._process(shown)

    def _on_background(self, picture: Image.Image) -> Image.Image:
        alpha = picture.info.get(ALPHA)
        darker = tuple(255 - level for level in self._background)
        if alpha is None or not any(darker):
            return picture
        nothing, all_of_it = Image.new("RGB", picture.size), Image.new("RGB", picture.size, darker)
        return ImageChops.subtract(picture, Image.composite(nothing, all_of_it, alpha))

    def _fits(self, picture: Image.Image) -> bool:
        return picture.mode == "RGB" and picture.size == (self._side, self._side)

    def _look_up(self, picture: Image.Image) -> NDArray[np.float32]:
        levels = np.asarray(picture)
        return np.stack([self._table[channel].take(levels[..., channel]) for channel in range(3)])

    def _process(self, picture: Image.Image) -> NDArray[np.float32]:
        shown = reduced(self._image_processor, picture)
        values = self._image_processor(shown, return_tensors="np")["pixel_values"][0]
        return np.asarray(values, dtype=np.float32)

    def _tried(self) -> NDArray[np.float32]:
        """The table, where the processor is of use. Raises LapilliError where it is not."""
        require_side(self._image_processor, self._side)
        try:
            with np.errstate(all="ignore"):
                table = self._values_of_levels()
        except ValueError as error:
            raise LapilliError(f"{_FILE}: cannot be followed: {error}; fetch the file again") from error
        if not np.isfinite(table).all():
            raise LapilliError(f"{_FILE}: makes no numbers of pictures; fetch the file again")
        return table

    def _values_of_levels(self) -> NDArray[np.float32]:
        """The processor's value of each level of each channel, shape (3, 256), from pictures that hold them all."""
        count = self._side * self._side
        pictures = -(-_LEVELS // count)
        levels = np.resize(np.arange(_LEVELS, dtype=np.uint8), (pictures, self._side, self._side))
        values = np.stack([self._process(Image.fromarray(np.stack([level] * 3, axis=-1))) for level in levels])
        return values.transpose(1, 0, 2, 3).reshape(3, -1)[:, :_LEVELS].copy()


def _ascending(table: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The values of the levels and the levels, in ascending order of the values."""
    order = np.argsort(table)
    return table[order], order
