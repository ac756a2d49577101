"""Areas under ROC curves of samples that are not independent: several questions of a picture, several models' answers.

Pictures are drawn again, with all that was asked of them and all models' answers (the cluster bootstrap; Field & Welsh
2007, J. R. Stat. Soc. B 69:369). Pairs are of answers of one model: another's logits have another scale.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.resampling import Estimate

DRAWS = 2_000
_AT_ONCE = 250  # draws, whose weights are held together


@dataclass(frozen=True, eq=False)
class Sides:
    """Answers on two sides.

    positive  bool (answer,)  what a high score should find
    model     int  (answer,)  whose answer it is
    picture   int  (answer,)  what it is about; those of one picture are drawn together
    """

    positive: NDArray[np.bool_]
    model: NDArray[np.intp]
    picture: NDArray[np.intp]


@dataclass(frozen=True)
class Difference:
    """The area of one score less that of another, with its 95 % interval and two-sided p, from the same draws."""

    value: float
    low: float
    high: float
    p: float
    n: int


def area(scores: NDArray[np.float64], sides: Sides) -> float:
    """The share of pairs of one model in which the positive has the higher score, ties half; nan without a pair."""
    return float(_areas(scores, sides, np.ones((1, len(scores))))[0])


def resampled_areas(
    scores: NDArray[np.float64], sides: Sides, seed: int = 0, draws: int = DRAWS
) -> NDArray[np.float64]:
    """The areas of so many draws of the pictures, (draw,); the same draws for all scores of the same sides."""
    rng = np.random.default_rng(seed)
    _, cluster = np.unique(sides.picture, return_inverse=True)
    count = int(cluster.max(initial=-1)) + 1
    found = []
    for begun in range(0, draws if count else 0, _AT_ONCE):
        some = min(_AT_ONCE, draws - begun)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=some)
        found.append(_areas(scores, sides, drawn[:, cluster].astype(np.float64)))
    return np.concatenate([np.empty(0), *found])


def estimate(scores: NDArray[np.float64], sides: Sides, draws: NDArray[np.float64]) -> Estimate:
    """The area with its percentile interval over `draws`, those of `resampled_areas`; n counts both sides."""
    low, high = _interval(draws)
    return Estimate(area(scores, sides), low, high, len(scores))


def difference(
    one: NDArray[np.float64], other: NDArray[np.float64], sides: Sides, of_one: NDArray[np.float64],
    of_other: NDArray[np.float64],
) -> Difference:  # fmt: skip
    """The area of `one` less that of `other`, whose draws are `of_one` and `of_other`.

    p is twice the smaller share of draws on one side of 0, a draw more counted to each: 0.001 at the least.
    """
    apart = of_one - of_other
    apart = apart[np.isfinite(apart)]
    low, high = _interval(apart)
    tail = (min((apart <= 0).sum(), (apart >= 0).sum()) + 1) / (len(apart) + 1)
    return Difference(area(one, sides) - area(other, sides), low, high, float(min(1.0, 2 * tail)), len(one))


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    kept = draws[np.isfinite(draws)]
    low, high = np.quantile(kept, [0.025, 0.975]) if kept.size else (np.nan, np.nan)
    return float(low), float(high)


def _areas(scores: NDArray[np.float64], sides: Sides, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area under every row of weights (draw, answer), (draw,): pairs won over pairs, of all models together."""
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for model in np.unique(sides.model):
        (mine,) = np.nonzero(sides.model == model)
        order = mine[np.argsort(scores[mine], kind="stable")]
        starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # equal scores are one group
        high = np.add.reduceat(weights[:, order] * sides.positive[order], starts, axis=1)
        low = np.add.reduceat(weights[:, order] * ~sides.positive[order], starts, axis=1)
        won += (high * (low.cumsum(1) - low / 2)).sum(1)
        pairs += high.sum(1) * low.sum(1)
    areas: NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return areas
