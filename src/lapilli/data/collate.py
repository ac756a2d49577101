"""Encoded samples laid into one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.data.encode import IGNORED


class HasTokens(Protocol):
    """The fields of an encoded sample that a batch needs; Encoded has them."""

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the pictures."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens, (token,)."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The ids of the tokens that are learned, (token,); -100 elsewhere."""


@dataclass(frozen=True, eq=False)
class Example:
    """What a batch needs of a sample or a part of one: an Encoded without its layout, which takes more memory."""

    id: str
    images: tuple[str, ...]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]


def collate(
    samples: Sequence[HasTokens], pad_id: int, side: Literal["left", "right"] = "right", pixels: Tensor | None = None
) -> dict[str, Tensor]:
    """A batch of samples, padded on one side to the longest: on the right to train, on the left to generate.

    Gives `input_ids`, `attention_mask` (1 on the samples' tokens, 0 on the padding) and `labels` (-100 on the padding),
    int64 (batch, token). `pixels`, (image, 3, height, width), holds the pictures of all samples one after the other; it
    is returned as `pixel_values`. Raises ValueError for no samples, and unless there is one picture for every image of
    the samples: with one too few, every later sample would get its neighbour's.
    """
    if not samples:
        raise ValueError("no rows to collate")
    lengths = [len(sample.ids) for sample in samples]
    shape = (len(samples), max(lengths))
    ids, labels, mask = np.full(shape, pad_id), np.full(shape, IGNORED), np.zeros(shape, np.int64)
    for index, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
        place = slice(0, length) if side == "right" else slice(shape[1] - length, None)
        ids[index, place], labels[index, place], mask[index, place] = sample.ids, sample.labels, 1
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return batch if pixels is None else {**batch, "pixel_values": _checked(pixels, samples)}


def _checked(pixels: Tensor, samples: Sequence[HasTokens]) -> Tensor:
    images = sum(len(sample.images) for sample in samples)
    if len(pixels) != images:
        raise ValueError(f"{len(pixels)} pictures for the {images} images of {len(samples)} rows")
    return pixels
