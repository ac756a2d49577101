"""What a map is worth, in numbers: of a map (patch,), and of what was measured or is known. No model is needed here.

Faithfulness (what the model used) and plausibility (what a person would point at) are two questions: a model may be
right for the wrong region, and a faithful map then scores low on plausibility. The two are never added up.
"""

import numpy as np
from numpy.typing import NDArray

SIZES = (0.03, 0.06, 0.12, 0.25)
"""Shares of the patches in the random groups of `calibration`."""

GROUPS = 16
"""Random groups of each size."""


def rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's; 0 where either is constant: of two things that say nothing, none foretells the other."""
    from scipy.stats import spearmanr  # here: a third of a second, that no model should wait for

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def calibration(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """How well a map's sums over groups of patches rank what the word loses without them, (size, group) both.

    The rank correlation among groups of one size, averaged over the sizes: sensitivity-n (Ancona et al. 2018, "Towards
    Better Understanding of Gradient-based Attribution Methods") with connected groups. Larger groups cost more whatever
    a map says; within a size that cannot help, and a constant map scores 0.
    """
    pairs = zip(predicted, measured, strict=True)
    return float(np.mean([rank_correlation(one, other) for one, other in pairs]))


def slope_terms(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> tuple[float, float]:
    """What the least-squares slope through 0 is the quotient of: sums of predicted * measured and of predicted ** 2.

    Summed over cases before they are divided, they give one slope for all groups of all cases.
    """
    return float((predicted * measured).sum()), float((predicted**2).sum())


def pointing(values: NDArray[np.float64], coverage: NDArray[np.float64], ties_hit: bool = False) -> float:
    """The share of the map's strongest patch that the mask covers: a hit's probability for a random point in it.

    The pointing game (Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop"). Among equal patches each
    is as likely to be pointed at: a constant map scores the mask's share of the picture. `coverage` (patch,) is the
    covered share of each. `ties_hit` counts as a released code is known to: any of the strongest being touched is a
    hit, so that a constant map never misses.
    """
    strongest = coverage[values == values.max()]
    return float(strongest.max() > 0) if ties_hit else float(strongest.mean())


def energy(values: NDArray[np.float64], coverage: NDArray[np.float64]) -> float:
    """The positive map's share inside the mask, over the mask's share of the picture: 1 for a constant map.

    The energy-based pointing game (Wang et al. 2020, "Score-CAM"), in units of chance. A map without a positive patch
    points nowhere: it scores as a constant one.
    """
    positive = np.maximum(values, 0)
    weights = positive if positive.sum() > 0 else np.ones_like(values)
    return float((weights * coverage).sum() / weights.sum() / coverage.mean())


def precision(values: NDArray[np.float64], coverage: NDArray[np.float64]) -> float:
    """Average precision of the patches as a ranking of the mask's area: no threshold is chosen.

    Over the patches from the strongest, the covered share of all so far, weighted by the patch's own coverage. Of
    equal patches, which are in a random order, what is to be expected: a constant map scores as random maps do.
    """
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.append(True, values[order][1:] != values[order][:-1]))
    sizes = np.diff(starts, append=len(order))
    total, squares = (np.add.reduceat(coverage[order] ** power, starts) for power in (1, 2))
    before = np.cumsum(total) - total
    two = (total**2 - squares) / np.maximum(sizes * (sizes - 1), 1)  # the mean product of two of the equal patches
    first, each = (np.repeat(part, sizes) for part in ((total * before + squares) / sizes, two))
    earlier = np.arange(len(order)) - np.repeat(starts, sizes)  # of those equal to it
    return float(((first + earlier * each) / np.arange(1, len(order) + 1)).sum() / total.sum())


def overlap(one: NDArray[np.float64], other: NDArray[np.float64], share: float) -> float:
    """How many of the strongest patches two maps have in common, as a share of those; chance is `share` itself.

    Of equal patches, which are drawn at random, what is to be expected.
    """
    count = max(1, round(len(one) * share))
    return float(_among(one, count) @ _among(other, count)) / count


def _among(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """How likely each patch is to be among the strongest when equal ones are drawn at random, (patch,)."""
    least = np.sort(values)[-count]
    above, equal = values > least, values == least
    shares: NDArray[np.float64] = above + equal * (count - above.sum()) / equal.sum()
    return shares
