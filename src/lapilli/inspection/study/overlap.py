"""How far two tables of heads agree, and how far they would by chance.

Of H heads, two sets of k share k * k / H by chance; that many or more have the hypergeometric tail. As deep layers hold
most heads that count (what early ones add is nearly 0 by construction, see increase.py), two sets may agree because
of their layers alone. So the same is asked of sets whose heads were shuffled within their layers.
"""

from collections import Counter
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from lapilli.core.resampling import Estimate
from lapilli.inspection.ablation import Head
from lapilli.inspection.study.draws import Draws

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

    shared     with the interval over questions
    chance     expected of two random sets, and p, how likely so many or more are
    within     the same of sets that have as many heads in every layer as these two
    """

    k: int
    shared: Estimate
    chance: float
    p: float
    within: float
    within_p: float


def overlap(one: NDArray[np.floating], other: NDArray[np.floating], k: int, draws: Draws) -> Overlap:
    """Of the mean tables of two (question, layer, head), of the same questions."""
    shape = one.shape[1:]
    first, second = (set(top(table.mean(0), k)) for table in (one, other))
    shared = len(first & second)
    drawn = (_tops(draws.means(one), k) & _tops(draws.means(other), k)).sum(1)
    chances = hypergeometric(int(np.prod(shape)), k, k)
    within = _within(first, second, shape[1])
    return Overlap(
        k,
        draws.of(float(shared), drawn.astype(np.float64)),
        _expected(chances),
        _tail(chances, shared),
        _expected(within),
        _tail(within, shared),
    )


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating], draws: Draws) -> Estimate:
    """Spearman's correlation of the mean tables of two (question, layer, head); 0 by chance."""
    value = _spearman(one.mean(0)[None], other.mean(0)[None])
    return draws.of(float(value[0]), _spearman(draws.means(one), draws.means(other)))


def hypergeometric(all_: int, one: int, other: int) -> NDArray[np.float64]:
    """The probabilities that random sets of `one` and `other` out of `all_` share 0, 1, 2, ... members."""
    whole = comb(all_, other)
    return np.array([comb(one, x) * comb(all_ - one, other - x) / whole for x in range(min(one, other) + 1)])


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


def _tops(tables: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """Which heads are the top `k` of (draw, layer, head); (draw, layer * head)."""
    flat = tables.reshape(len(tables), -1)
    found = np.zeros(flat.shape, np.bool_)
    np.put_along_axis(found, np.argsort(-flat, axis=1, kind="stable")[:, :k], True, axis=1)
    return found


def _spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of (draw, layer, head) each; (draw,). Equal values are as good as never, and ranked in their order."""
    ranks = []
    for tables in (one, other):
        flat = tables.reshape(len(tables), -1)
        ranks.append(flat.argsort(1).argsort(1) - (flat.shape[1] - 1) / 2)
    found: NDArray[np.float64] = (ranks[0] * ranks[1]).sum(1) / (ranks[0] ** 2).sum(1)
    return found
