"""The share of each of several parts in what they do together, whatever order they are put in."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb


def shapley_shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Shapley share of every part, (part, ...), from the values of all sets of parts, (2 ** part, ...).

    Bit i of a set's number says whether part i is in it. A share is the mean, over all orders, of what the part adds to
    those before it; the shares sum to what all add. Source: Shapley 1953, Contributions to the Theory of Games 2:307.
    Raises ValueError for a number of values that is no power of 2.
    """
    parts = len(values).bit_length() - 1
    if len(values) != 2**parts:
        raise ValueError(f"{len(values)} values: no power of 2")
    sets = np.arange(len(values))
    sizes = np.array([int(number).bit_count() for number in sets])
    shares = []
    for part in range(parts):
        without = sets[(sets >> part & 1) == 0]
        weights = 1 / (parts * comb(parts - 1, sizes[without]))
        shares.append(np.tensordot(weights, values[without | 1 << part] - values[without], 1))
    return np.array(shares)
