"""Pictures to pixel values: what the image processor would make of them, without its cost where they already fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapilli.model.framing import Framing, framing

_LEVELS = 256  # of one channel of a picture


class Pixels:
    """Makes pixel values bit for bit as `image_processor` does, a Hugging Face one for pictures of `side` pixels.

    A picture that is `side` x `side` already is neither padded, resized nor cropped. All that is left is one function
    of each channel's value, so that a table of 256 values a channel, made by the processor itself, replaces it.
    """

    def __init__(self, image_processor: Any, side: int, patch_size: int) -> None:
        self._image_processor = image_processor
        self._side = side
        self._patch_size = patch_size
        self._table = self._values_of_levels()

    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        """The pixel values of RGB pictures, float32, shape (picture, 3, side, side)."""
        made = np.empty((len(pictures), 3, self._side, self._side), dtype=np.float32)
        for index, picture in enumerate(pictures):
            made[index] = self._look_up(picture) if self._fits(picture) else self._process(picture)
        return torch.from_numpy(made)

    def framing(self, size: tuple[int, int]) -> Framing:
        """What every patch shows of a picture of (width, height), and the share of it that none shows.

        Raises LapilliError for an image processor that resizes in a way unheard of in LLaVA.
        """
        return framing(self._image_processor, size, self._side, self._patch_size)

    def _fits(self, picture: Image.Image) -> bool:
        return picture.mode == "RGB" and picture.size == (self._side, self._side)

    def _look_up(self, picture: Image.Image) -> NDArray[np.float32]:
        levels = np.asarray(picture)
        return np.stack([self._table[channel].take(levels[..., channel]) for channel in range(3)])

    def _process(self, picture: Image.Image) -> NDArray[np.float32]:
        values = self._image_processor(picture, return_tensors="np")["pixel_values"][0]
        return np.asarray(values, dtype=np.float32)

    def _values_of_levels(self) -> NDArray[np.float32]:
        """The processor's value of each level of each channel, shape (3, 256), from pictures that hold them all."""
        count = self._side * self._side
        pictures = -(-_LEVELS // count)
        levels = np.resize(np.arange(_LEVELS, dtype=np.uint8), (pictures, self._side, self._side))
        values = np.stack([self._process(Image.fromarray(np.stack([level] * 3, axis=-1))) for level in levels])
        return values.transpose(1, 0, 2, 3).reshape(3, -1)[:, :_LEVELS].copy()
