"""What a language model has read already: its keys and values, and what they are of."""

from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import OFF, TokenLayout
from lapilli.model.upstream import cut_cache, new_cache


def reading(ids: NDArray[np.int64], layout: TokenLayout, pictures: Sequence[int]) -> NDArray[np.int64]:
    """What a model reads at every position, int64 (token,): the id, or -1 - n on the patches of picture number n.

    `pictures` has the number of each of the sequence's images: the ids alone do not tell one picture from another.
    """
    numbers = np.array([*pictures, 0], np.int64)  # the last entry is that of OFF, -1
    return np.where(layout.image == OFF, ids, -1 - numbers[layout.image])


@final
class Memory:
    """The KV cache of one sequence, and what was read at its first positions.

    The cache may hold more than is written down: whoever reads writes down what is certain, after it has happened. So
    a reading that is broken off at any moment leaves a memory that `forget` makes whole.
    """

    def __init__(self) -> None:
        self.cache = new_cache()
        self._read: list[int] = []

    def begun(self, sequence: NDArray[np.int64], layout: TokenLayout) -> int:
        """How many positions of a sequence are known; one at least has to be read, and images are known whole."""
        length = min(len(self._read), len(sequence) - 1)
        (other,) = np.nonzero(np.array(self._read[:length], np.int64) != sequence[:length])
        known = int(other[0]) if other.size else length
        image = int(layout.image[known])
        return known if image == OFF else int(layout.patches(image)[0, 0])

    def forget(self, known: int) -> None:
        """Keep the first `known` positions alone."""
        del self._read[known:]
        if not known:
            self.cache = new_cache()
            return
        cut_cache(self.cache, known)

    def note(self, read: Iterable[int]) -> None:
        """Write down what the cache holds now after the positions known before."""
        self._read.extend(read)
