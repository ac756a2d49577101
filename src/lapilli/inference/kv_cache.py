"""The KV cache of a conversation, with the tokens and pictures that its keys and values were computed from."""

from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import OFF, TokenLayout
from lapilli.model.upstream import cut_cache, new_cache


def content_ids(ids: NDArray[np.int64], layout: TokenLayout, pictures: Sequence[int]) -> NDArray[np.int64]:
    """Return the content of every position, int64 (token,): the id, or -1 - n on the patches of picture number n.

    `pictures` are the numbers of the sequence's images, since the ids of two pictures are the same.
    """
    numbers = np.array([*pictures, 0], np.int64)  # the last entry is that of OFF, -1
    return np.where(layout.image == OFF, ids, -1 - numbers[layout.image])


@final
class CachedSequence:
    """The KV cache of one sequence, and the content ids of its first positions.

    The cache may hold more positions than there are ids: ids are added after the model has read them. So a forward pass
    that is interrupted at any moment leaves a cache that `truncate` makes consistent.
    """

    def __init__(self) -> None:
        self.cache = new_cache()
        self._ids: list[int] = []

    def shared_length(self, sequence: NDArray[np.int64], layout: TokenLayout) -> int:
        """Return how many first positions the cache shares with a sequence: whole images, and never all positions."""
        most = min(len(self._ids), len(sequence) - 1)
        (other,) = np.nonzero(np.array(self._ids[:most], np.int64) != sequence[:most])
        length = int(other[0]) if other.size else most
        image = int(layout.image[length])
        return length if image == OFF else int(layout.patches(image)[0, 0])

    def truncate(self, length: int) -> None:
        """Drop all positions but the first `length`."""
        del self._ids[length:]
        if not length:
            self.cache = new_cache()
            return
        cut_cache(self.cache, length)

    def extend(self, ids: Iterable[int]) -> None:
        """Add the content ids of the positions that the cache holds now beyond those before."""
        self._ids.extend(ids)
