"""From samples to batches: encoded once, before the first step; pictures are read when a batch is made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lapilli.core.errors import LapilliError
from lapilli.data.collate import Example, collate
from lapilli.data.encode import IGNORED, SampleError
from lapilli.data.learnable import Requirements, learnable
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample
from lapilli.model.pixels import Pixels

_MOST_ROWS = 9  # that a message lists, beside the first
_WINDOW = 8  # batches: 5 to 7 % of padding on scenes, against 40 % in a wholly random order


class Examples(Dataset[Example]):
    """Encoded samples, five bytes a token.

    All are encoded before training begins, so that a sample that cannot be learned from is refused now and not at step
    900. `rows` are the samples' rows in their file, where some of the file is left out. Raises LapilliError with the
    number of refused samples, and the row and the fault of the first.
    """

    def __init__(
        self, samples: Iterable[Sample], requirements: Requirements, rows: Iterable[int] | None = None
    ) -> None:
        self._names: list[tuple[str, tuple[str, ...]]] = []
        ids: list[NDArray[np.int32]] = []
        learned: list[NDArray[np.bool_]] = []
        refused: list[str] = []
        for row, sample in zip(count() if rows is None else rows, samples, strict=False):
            try:
                encoded = learnable(sample, requirements)
            except SampleError as error:
                refused.append(f"row {row}, {error}")
                continue
            self._names.append((encoded.id, encoded.images))
            ids.append(encoded.ids.astype(np.int32))
            learned.append(encoded.labels != IGNORED)
        if refused:
            raise _refusal(refused)
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
    def lengths(self) -> NDArray[np.intp]:
        """The number of tokens of every sample, (sample,)."""
        return np.diff(self._starts)

    @property
    def tokens(self) -> int:
        """The number of tokens of all samples."""
        return len(self._ids)

    @property
    def learned_tokens(self) -> int:
        """The number of tokens that are learned."""
        return int(self._learned.sum())


def _refusal(refused: Sequence[str]) -> LapilliError:
    first, *others = refused
    if not others:
        return LapilliError(first)
    rows = ", ".join(refusal.partition(",")[0] for refusal in others[:_MOST_ROWS]) + (
        ", ..." if len(others) > _MOST_ROWS else ""
    )
    what = f"{len(refused)} samples cannot be learned from"
    return LapilliError(f"{what}: {first}; all are listed by `lapilli data validate --stage --model` ({rows})")


class SimilarLengths(Sampler[int]):
    """A random order in which the samples of a batch are about equally long, so that little of it is padding.

    Windows of a few batches are drawn at random, each is cut into batches by length, and all batches are shuffled, as
    LLaVA does. `seed` and epoch decide the order, so that a resumed run continues in the same one.
    """

    def __init__(self, lengths: NDArray[np.intp], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls it before every one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order, window = rng.permutation(len(self)), self._window()
        starts = range(0, len(order), window)
        batches = [batch for at in starts for batch in self._by_length(order[at : at + window])]
        # The Trainer cuts batches by number: one that is not full must come last, or all after it would shift.
        full = [batch for batch in batches if len(batch) == self._batch_size]
        for index in rng.permutation(len(full)):
            yield from full[index].tolist()
        yield from (index for batch in batches if len(batch) < self._batch_size for index in batch.tolist())

    def _window(self) -> int:
        """The number of samples in a window; few where samples are few, or every epoch would have the same batches."""
        batches = len(self) // self._batch_size
        return self._batch_size * max(1, min(_WINDOW, batches // _WINDOW))

    def _by_length(self, window: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        by_length = window[np.argsort(self._lengths[window], kind="stable")]
        return [by_length[at : at + self._batch_size] for at in range(0, len(window), self._batch_size)]


@dataclass(frozen=True)
class Batcher:
    """Makes the batch of a list of examples; runs in the data loader's workers, if there are any."""

    images: Path | None
    pixels: Pixels
    pad_id: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Return the batch that `collate` makes, padded on the right, with the pictures of all samples."""
        has_pictures = self.images is not None and any(example.images for example in examples)
        pictures = (picture for example in examples for picture in self._pictures(example))
        return collate(examples, self.pad_id, "right", self.pixels(pictures) if has_pictures else None)

    def _pictures(self, example: Example) -> Iterator[Image.Image]:
        if self.images is None:  # no sample names any, which was checked
            return
        try:
            for name in example.images:
                yield open_picture(self.images, name)
        except LapilliError as error:
            raise LapilliError(f"sample {example.id!r}: {error}") from error
