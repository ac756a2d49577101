"""How many members two sets share by chance."""

from math import comb

import numpy as np
from numpy.typing import NDArray


def hypergeometric(all_: int, first: int, second: int) -> NDArray[np.float64]:
    """The probabilities that random sets of `first` and `second` out of `all_` share 0, 1, 2, ... members."""
    whole = comb(all_, second)
    shared = range(min(first, second) + 1)
    return np.array([comb(first, x) * comb(all_ - first, second - x) / whole for x in shared])
