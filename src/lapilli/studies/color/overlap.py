"""How far two tables of heads agree, and how far they would by chance.

Of H heads, two sets of k share k * k / H by chance; that many or more have the hypergeometric tail. Some layers hold
more of the heads that count than others (what is added where the stream is short beside the final one counts for
little, see increase.py), so two sets may agree because of their layers alone. So the same is asked of sets whose heads
were shuffled within layers. Where they fill their layers, nearly all such sets agree, and no agreement could be called
rare: the smallest p that there can be is given too.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics import ranks
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.sets import expected, hypergeometric, least, tail
from lapilli.inspection.intervention.ablation import Head

PAPER = 10
"""How many heads are top heads in the paper, of 1,024."""

SHARES = (0.05, 0.1, 0.25)
"""Of all heads, how many are top heads besides."""


def sizes(heads: int) -> list[int]:
    """The paper's number, or all heads where there are fewer, and how many each of SHARES is; ascending, each once."""
    return sorted({min(PAPER, heads), *(max(1, round(share * heads)) for share in SHARES)})


def verdict_size(heads: int) -> int:
    """The one of the sizes that verdicts speak of: the paper's, but no more than a quarter of all heads."""
    return min(PAPER, max(1, round(SHARES[-1] * heads)))


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
    least_p    the p of the most that can be shared, and within_least_p
    """

    k: int
    shared: Estimate
    observed: int
    chance: float
    p: float
    least_p: float
    within: float
    within_p: float
    within_least_p: float


def overlap(one: NDArray[np.floating], other: NDArray[np.floating], k: int, seed: int = 0) -> Overlap:
    """Of the mean tables of two (question, layer, head), of the same questions."""
    first, second = (set(top(table.mean(0), k)) for table in (one, other))
    observed = len(first & second)
    chances = hypergeometric(one[0].size, k, k)
    within = within_layers(first, second, one.shape[2])
    return Overlap(
        k,
        ranks.shared_largest(one.reshape(len(one), -1), other.reshape(len(other), -1), k, seed),
        observed,
        chance=expected(chances),
        p=tail(chances, observed),
        least_p=least(chances),
        within=expected(within),
        within_p=tail(within, observed),
        within_least_p=least(within),
    )


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating], seed: int = 0) -> Estimate:
    """Spearman's correlation of the true mean tables of two (question, layer, head); 0 by chance."""
    return ranks.rank_correlation(one.reshape(len(one), -1), other.reshape(len(other), -1), seed)


def within_layers(one: set[Head], other: set[Head], width: int) -> NDArray[np.float64]:
    """The same of sets with these numbers of heads in every layer, of `width` heads."""
    counts = [Counter(layer for layer, _ in heads) for heads in (one, other)]
    found = np.ones(1)
    for layer in counts[0].keys() & counts[1].keys():
        found = np.convolve(found, hypergeometric(width, counts[0][layer], counts[1][layer]))
    return found
