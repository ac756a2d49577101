"""The number of members that two sets share by chance, and the rank of one set's figure among those of random sets.

Both p values have a smallest possible value, whatever is measured. Where that is not below the level of a test, the
test cannot be passed, and nothing was tested.
"""

from math import comb

import numpy as np
from numpy.typing import NDArray


def hypergeometric(all_: int, first: int, second: int) -> NDArray[np.float64]:
    """The probabilities that random sets of `first` and `second` out of `all_` share 0, 1, 2, ... members."""
    whole = comb(all_, second)
    shared = range(min(first, second) + 1)
    return np.array([comb(first, x) * comb(all_ - first, second - x) / whole for x in shared])


def expected(chances: NDArray[np.float64]) -> float:
    """The mean of a number whose probabilities of being 0, 1, 2, ... these are."""
    return float(chances @ np.arange(len(chances)))


def tail(chances: NDArray[np.float64], shared: int) -> float:
    """The probability of `shared` or more members by chance."""
    return float(min(1.0, chances[shared:].sum()))


def least(chances: NDArray[np.float64]) -> float:
    """The smallest possible p: that of the largest number with any probability."""
    return tail(chances, int(np.flatnonzero(chances)[-1]))


def rank_p(value: float, random: NDArray[np.float64]) -> float:
    """The p of a figure as low as `value` or lower, by its rank among random sets: (1 + lower) / (1 + all)."""
    return float((1 + (random <= value).sum()) / (1 + len(random)))


def least_rank_p(sets: int) -> float:
    """The smallest p by rank among so many random sets."""
    return 1 / (1 + sets)
