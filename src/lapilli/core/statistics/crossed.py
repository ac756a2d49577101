"""Figures that are means over samples and over a few random draws of something else, all of the same samples.

A control of random changes is such a figure: other samples would give another, and so would other changes. The samples'
error is the bootstrap's. That of the draws is Student's t of their own figures, as they are few. Both are added as
errors of Behrens and Fisher are (Fisher 1935, Ann. Eugen. 6:391). The samples' noise in the figures of the draws is in
both, so that intervals are rather too wide than too narrow.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate


def means_over_draws(values: NDArray[np.floating], seed: int = 0) -> list[Estimate]:
    """The mean of each of several items over draws and samples, (draw, item, sample), at least two draws."""
    replicates = draws(values.shape[2], seed).means(values.mean(0).T)
    replicates = with_error_of_draws(replicates, values.mean(2), seed)
    means = values.mean((0, 2))
    return [interval(float(mean), replicates[:, item], values.shape[2]) for item, mean in enumerate(means)]


def with_error_of_draws(
    replicates: NDArray[np.floating], figures: NDArray[np.floating], seed: int
) -> NDArray[np.float64]:
    """Replicates over samples of a mean over draws, (replicate, item), with the error of that mean added.

    `figures` are those of every draw, (draw, item), of all samples. What is added is t s / sqrt(draws), with s their
    spread and t the quantiles of Student's t for draws - 1 degrees of freedom, each once, in an order of the seed.
    Raises ValueError for fewer than two draws, which have no spread.
    """
    count, number = len(replicates), len(figures)
    if number < 2:
        raise ValueError(f"{number} draws have no spread; two are the least")
    t = stdtrit(number - 1, (np.random.default_rng((seed, number)).permutation(count) + 0.5) / count)
    errors: NDArray[np.float64] = figures.std(0, ddof=1) / math.sqrt(number)
    return replicates + t[:, None] * errors
