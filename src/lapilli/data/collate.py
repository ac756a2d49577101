"""Encoded samples laid into one batch."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.data.encode import IGNORED


class Row(Protocol):
    """What a batch needs of a sample: an Encoded, or as much of one."""

    @property
    def images(self) -> tuple[str, ...]:
        """The names of its pictures."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Its tokens, (token,)."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """What is learned of them, (token,); the rest is -100."""


def collate(
    rows: Sequence[Row], pad_id: int, side: Literal["left", "right"] = "right", pixels: Tensor | None = None
) -> dict[str, Tensor]:
    """A batch of samples, padded on one side to the longest: on the right to train, on the left to generate.

    Gives `input_ids`, `attention_mask` (1 on the samples' tokens, 0 on the padding) and `labels` (-100 on the padding),
    int64 (batch, token). `pixels`, (image, 3, height, width), holds the pictures of all rows one after the other; it is
    passed on as `pixel_values`. Raises ValueError for no rows, and unless there is one picture for every image of the
    rows: one too few, and every later sample would be shown its neighbour's.
    """
    if not rows:
        raise ValueError("no rows to collate")
    lengths = [len(row.ids) for row in rows]
    shape = (len(rows), max(lengths))
    ids, labels, mask = np.full(shape, pad_id), np.full(shape, IGNORED), np.zeros(shape, np.int64)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        place = slice(0, length) if side == "right" else slice(shape[1] - length, None)
        ids[index, place], labels[index, place], mask[index, place] = row.ids, row.labels, 1
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return batch if pixels is None else {**batch, "pixel_values": _checked(pixels, rows)}


def _checked(pixels: Tensor, rows: Sequence[Row]) -> Tensor:
    images = sum(len(row.images) for row in rows)
    if len(pixels) != images:
        raise ValueError(f"{len(pixels)} pictures for the {images} images of {len(rows)} rows")
    return pixels
