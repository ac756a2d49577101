"""Overlap: the agreement of two tables of heads, beside chance.

Two random sets of k of H heads share k * k / H on average, with a hypergeometric tail. Some layers contain more top
heads than others (increase.py), so two sets may agree because of their layers alone. A second null shuffles heads
within layers. Where sets fill their layers, nearly all shuffled sets agree, and no agreement is rare: the smallest
possible p is stated too.
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
"""The number of top heads in the paper, of 1,024."""

SHARES = (0.05, 0.1, 0.25)
"""Further numbers of top heads, as shares of all heads."""


def sizes(heads: int) -> list[int]:
    """The paper's number, at most all heads, and the numbers of SHARES; ascending, each once."""
    return sorted({min(PAPER, heads), *(max(1, round(share * heads)) for share in SHARES)})


def verdict_size(heads: int) -> int:
    """The size that verdicts are about: the paper's, but at most a quarter of all heads."""
    return min(PAPER, max(1, round(SHARES[-1] * heads)))


def top(table: NDArray[np.floating], k: int) -> list[Head]:
    """The `k` heads of a table (layer, head) with the largest values, the largest first; of equals the first."""
    order = np.argsort(-table, axis=None, kind="stable")[:k]
    layers, heads = np.unravel_index(order, table.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


@dataclass(frozen=True)
class Overlap:
    """The number of their top `k` heads that two tables share.

    shared     estimated for the true means, with the interval over questions
    observed   of the measured means; chance and p are about these
    chance     the expectation for two random sets; p is the probability of so many or more
    within     the expectation, with within_p, for sets with as many heads in every layer as these two
    least_p    the p of the largest possible number; within_least_p likewise
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


def overlap(first: NDArray[np.floating], second: NDArray[np.floating], k: int, seed: int = 0) -> Overlap:
    """The overlap of the mean tables of two (question, layer, head), of the same questions."""
    tops, other_tops = (set(top(table.mean(0), k)) for table in (first, second))
    observed = len(tops & other_tops)
    chances = hypergeometric(first[0].size, k, k)
    within = within_layers(tops, other_tops, first.shape[2])
    return Overlap(
        k=k,
        shared=ranks.shared_largest(first.reshape(len(first), -1), second.reshape(len(second), -1), k, seed),
        observed=observed,
        chance=expected(chances),
        p=tail(chances, observed),
        least_p=least(chances),
        within=expected(within),
        within_p=tail(within, observed),
        within_least_p=least(within),
    )


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating], seed: int = 0) -> Estimate:
    """Spearman's correlation of the true mean tables of two (question, layer, head); 0 by chance."""
    return ranks.rank_correlation(first.reshape(len(first), -1), second.reshape(len(second), -1), seed)


def within_layers(first: set[Head], second: set[Head], width: int) -> NDArray[np.float64]:
    """The distribution of the overlap of random sets with as many heads in every layer, each of `width` heads."""
    counts = [Counter(layer for layer, _ in heads) for heads in (first, second)]
    chances = np.ones(1)
    for layer in counts[0].keys() & counts[1].keys():
        chances = np.convolve(chances, hypergeometric(width, counts[0][layer], counts[1][layer]))
    return chances
