"""Areas under ROC curves of samples that are not independent: several questions of a picture, several models' answers.

The bootstrap draws pictures, with all questions about them and all models' answers (the cluster bootstrap; Field &
Welsh 2007, J. R. Stat. Soc. B 69:369). Pairs are of answers of one model: another's logits have another scale. The
ends of an interval lie as far out as for as many samples as there are pictures on the smaller side, whose chance is
most of an area's (`benchmarks/intervals.py`: 95 instead of 94 times in 100 for 18 of 60). An area is a mean of ranks,
which have no long tails: the degrees of freedom are those of normal values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.bootstrap import DRAWS, RANKS, draws, interval, two_sided
from lapilli.core.statistics.estimate import Estimate, Tested

_AT_ONCE = 250  # draws whose weights are in memory together


@dataclass(frozen=True, eq=False)
class Sides:
    """Answers on two sides.

    positive  bool (answer,)  the side that should have the higher scores
    model     int  (answer,)  the model that gave the answer
    picture   int  (answer,)  the picture that it is about; answers about one picture are drawn together
    """

    positive: NDArray[np.bool_]
    model: NDArray[np.intp]
    picture: NDArray[np.intp]

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(np.unique(self.picture))

    @property
    def fewer(self) -> int:
        """The number of pictures on the smaller side."""
        return min(len(np.unique(self.picture[side])) for side in (self.positive, ~self.positive))


def area(scores: NDArray[np.float64], sides: Sides) -> float:
    """The share of pairs of one model in which the positive has the higher score, ties half; nan without a pair."""
    return float(_areas(scores, sides, np.ones((1, len(scores))))[0])


def resampled_areas(
    scores: NDArray[np.float64], sides: Sides, seed: int = 0, count: int = DRAWS
) -> NDArray[np.float64]:
    """The areas in `count` draws of the pictures, (draw,); the same draws for all scores of the same sides."""
    if not len(scores):
        return np.empty(0)
    _, cluster = np.unique(sides.picture, return_inverse=True)
    weights = draws(sides.pictures, seed, count).weights
    parts = [weights[start : start + _AT_ONCE][:, cluster] for start in range(0, count, _AT_ONCE)]
    return np.concatenate([_areas(scores, sides, part) for part in parts])


def estimate(scores: NDArray[np.float64], sides: Sides, replicates: NDArray[np.float64]) -> Estimate:
    """The area with its interval; `replicates` are its `resampled_areas`, and n counts the answers of both sides."""
    area_, n = area(scores, sides), len(scores)
    ends = interval(area_, replicates, sides.fewer, excess=RANKS)
    return Estimate(area_, ends.low, ends.high, n)


def difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    sides: Sides,
    replicates: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Tested:
    """The area of the first score less that of the second; `replicates` are the `resampled_areas` of both.

    p is `two_sided` of the smaller share of replicates on one side of 0, with one more counted on each side. For few
    pictures it is more than twice that share, as intervals of few are wider.
    """
    apart = replicates[0] - replicates[1]
    apart = apart[np.isfinite(apart)]
    ends = interval(area(first, sides) - area(second, sides), apart, sides.fewer, excess=RANKS)
    tail = (min((apart <= 0).sum(), (apart >= 0).sum()) + 1) / (len(apart) + 1)
    return Tested(ends.value, ends.low, ends.high, len(first), two_sided(tail, sides.fewer, RANKS))


def _areas(scores: NDArray[np.float64], sides: Sides, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area for weights (draw, answer), (draw,): pairs won over pairs, summed over all models."""
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
