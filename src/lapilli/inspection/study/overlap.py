"""How far two tables of heads agree, and how far they would by chance.

Of H heads, two sets of k share k * k / H by chance; that many or more have the hypergeometric tail. As deep layers hold
most heads that count (what is added to a stream that is short beside the final one is nearly 0, see increase.py), two
sets may agree because of their layers alone. So the same is asked of sets whose heads were shuffled within layers.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics import ranks
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.sets import hypergeometric
from lapilli.inspection.ablation import Head

SHARES = (0.05, 0.1, 0.25)
"""Of all heads, how many are top heads; the last one is what verdicts are about."""


def sizes(heads: int) -> list[int]:
    """How many heads each of SHARES is, at least one; ascending, each once."""
    return sorted({max(1, round(share * heads)) for share in SHARES})


def top(table: NDArray[np.floating], k: int) -> list[Head]:
    """The `k` heads of a table (layer, head) with the largest values, the largest first; of equals the first."""
    order = np.argsort(-table, axis=None, kind="stable")[:k]
    layers, heads = np.unravel_index(order, table.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


@dataclass(frozen=True)
class Overlap:
    """How many of their top `k` heads two tables share.

    shared     of the true means, with the interval over questions
    observed   of the means as they were measured; chance and p are about these
    chance     expected of two random sets, and p, how likely so many or more are
    within     the same of sets that have as many heads in every layer as these two
    """

    k: int
    shared: Estimate
    observed: int
    chance: float
    p: float
    within: float
    within_p: float


def overlap(one: NDArray[np.floating], other: NDArray[np.floating], k: int, seed: int = 0) -> Overlap:
    """Of the mean tables of two (question, layer, head), of the same questions."""
    first, second = (set(top(table.mean(0), k)) for table in (one, other))
    observed = len(first & second)
    chances = hypergeometric(one[0].size, k, k)
    within = _within(first, second, one.shape[2])
    return Overlap(
        k,
        ranks.shared_largest(one.reshape(len(one), -1), other.reshape(len(other), -1), k, seed),
        observed,
        _expected(chances),
        _tail(chances, observed),
        _expected(within),
        _tail(within, observed),
    )


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating], seed: int = 0) -> Estimate:
    """Spearman's correlation of the true mean tables of two (question, layer, head); 0 by chance."""
    return ranks.rank_correlation(one.reshape(len(one), -1), other.reshape(len(other), -1), seed)


def _within(one: set[Head], other: set[Head], width: int) -> NDArray[np.float64]:
    """The same of sets with these numbers of heads in every layer, of `width` heads."""
    counts = [Counter(layer for layer, _ in heads) for heads in (one, other)]
    found = np.ones(1)
    for layer in counts[0].keys() & counts[1].keys():
        found = np.convolve(found, hypergeometric(width, counts[0][layer], counts[1][layer]))
    return found


def _expected(chances: NDArray[np.float64]) -> float:
    return float(chances @ np.arange(len(chances)))


def _tail(chances: NDArray[np.float64], shared: int) -> float:
    return float(min(1.0, chances[shared:].sum()))
