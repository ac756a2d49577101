"""From samples to batches: encoded once, before the first step, and given their pictures when they are drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lapilli.core.codec import Codec
from lapilli.core.errors import LapilliError
from lapilli.data.collate import collate
from lapilli.data.encode import IGNORED, encode
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample
from lapilli.model.pixels import Pixels


@dataclass(frozen=True, eq=False)
class Example:
    """One sample as the loss needs it: an Encoded without the layout, which takes more room than all the rest."""

    id: str
    images: tuple[str, ...]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]


class Examples(Dataset[Example]):
    """Encoded samples, five bytes a token.

    All are encoded before training begins, so that a sample that cannot be is found now and not at step 900. Raises
    LapilliError naming it, also when it has more than `longest` tokens.
    """

    def __init__(self, samples: Iterable[Sample], codec: Codec, longest: int) -> None:
        self._names: list[tuple[str, tuple[str, ...]]] = []
        ids: list[NDArray[np.int32]] = []
        learned: list[NDArray[np.bool_]] = []
        for sample in samples:
            encoded = encode(sample, codec)
            if len(encoded.ids) > longest:
                count = len(encoded.ids)
                raise LapilliError(
                    f"sample {sample.id!r}: {count} tokens, the language model reads at most {longest}; shorten it"
                )
            self._names.append((encoded.id, encoded.images))
            ids.append(encoded.ids.astype(np.int32))
            learned.append(encoded.labels != IGNORED)
        self._starts = np.cumsum([0, *map(len, ids)])
        self._ids = np.concatenate(ids) if ids else np.zeros(0, np.int32)
        self._learned = np.concatenate(learned) if learned else np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        span = slice(self._starts[index], self._starts[index + 1])
        ids = self._ids[span].astype(np.int64)
        return Example(*self._names[index], ids, np.where(self._learned[span], ids, IGNORED))

    @property
    def tokens(self) -> int:
        """The number of tokens of all samples."""
        return len(self._ids)

    @property
    def learned_tokens(self) -> int:
        """The number of those that are learned."""
        return int(self._learned.sum())


@dataclass(frozen=True)
class Batcher:
    """Makes the batch of a list of examples; runs in the data loader's workers, if there are any."""

    images: Path | None
    pixels: Pixels
    pad_id: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """What `collate` makes of them, padded on the right, with the pictures of those that have any."""
        pictures = [picture for example in examples for picture in self._pictures(example)]
        return collate(examples, self.pad_id, "right", self.pixels(pictures) if pictures else None)

    def _pictures(self, example: Example) -> list[Image.Image]:
        if self.images is None:  # then no sample has any, which was checked
            return []
        try:
            return [open_picture(self.images, name) for name in example.images]
        except LapilliError as error:
            raise LapilliError(f"sample {example.id!r}: {error}") from error
