"""Metrics of maps (patch,), by measured losses or by known regions. No model is needed here.

Faithfulness (what the model used) and plausibility (what a person would point at) are two questions: a model may be
right for the wrong region, and a faithful map then scores low on plausibility. The two are never added up.
"""

import numpy as np
from numpy.typing import NDArray

SIZES = (0.03, 0.06, 0.12, 0.25)
"""Shares of the patches in the random groups of `calibration`."""

GROUPS = 16
"""Random groups of each size."""


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; 0 where either is constant."""
    from scipy.stats import spearmanr  # imported here: it takes a third of a second

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def calibration(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    """The rank correlation of a map's sums over groups of patches with the word's losses, (size, group) both.

    It is computed among groups of one size and averaged over the sizes: sensitivity-n (Ancona et al. 2018, "Towards
    Better Understanding of Gradient-based Attribution Methods") with connected groups. Larger groups cost more for any
    map; within one size that does not help, and a constant map scores 0.
    """
    pairs = zip(predicted, measured, strict=True)
    return float(np.mean([rank_correlation(predicted_sums, losses) for predicted_sums, losses in pairs]))


def slope_terms(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> tuple[float, float]:
    """The terms of the least-squares slope through 0, to be summed over cases first.

    slope = sum(predicted * measured) / sum(predicted ** 2)
    """
    return float((predicted * measured).sum()), float((predicted**2).sum())


def pointing(values: NDArray[np.float64], coverage: NDArray[np.float64], ties_hit: bool = False) -> float:
    """The share of the map's strongest patch that the mask covers: a hit's probability for a random point in it.

    The pointing game (Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop"). Equal patches are
    averaged: a constant map scores the mask's share of the picture. `coverage` (patch,) is the covered share of each
    patch. `ties_hit` counts like a known released code: a hit if the mask touches any of the strongest patches, so that
    a constant map never misses.
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

        precision = sum_k coverage_k * (sum_{j <= k} coverage_j / k) / sum_k coverage_k

    with patches from the strongest on. Over equal patches, in random order, it is the expectation: a constant map
    scores as random maps do.
    """
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.append(True, values[order][1:] != values[order][:-1]))
    sizes = np.diff(starts, append=len(order))
    total, squares = (np.add.reduceat(coverage[order] ** power, starts) for power in (1, 2))
    before = np.cumsum(total) - total
    two = (total**2 - squares) / np.maximum(sizes * (sizes - 1), 1)  # the mean product of two equal patches
    first, each = (np.repeat(part, sizes) for part in ((total * before + squares) / sizes, two))
    earlier = np.arange(len(order)) - np.repeat(starts, sizes)  # among its equals
    return float(((first + earlier * each) / np.arange(1, len(order) + 1)).sum() / total.sum())


def overlap(first: NDArray[np.float64], second: NDArray[np.float64], share: float) -> float:
    """The share of the strongest patches that two maps have in common; by chance it is `share` itself.

    Over equal patches, drawn at random, it is the expectation.
    """
    count = max(1, round(len(first) * share))
    return float(_among(first, count) @ _among(second, count)) / count


def _among(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The probability that each patch is among the strongest when equal ones are drawn at random, (patch,)."""
    least = np.sort(values)[-count]
    above, equal = values > least, values == least
    shares: NDArray[np.float64] = above + equal * (count - above.sum()) / equal.sum()
    return shares
