"""Shares and means of trials in clusters: several questions about one picture, the words of one caption."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.proportion import Proportion, Z, score_interval

MANY = 5_000
"""Clusters beyond which a mean is normally distributed, whatever the values are: nothing is drawn."""


def clustered(right: Sequence[bool], cluster: Sequence[Hashable]) -> Proportion:
    """A share of trials with its 95 % interval; trials of one cluster may go right or wrong together.

    Wilson's interval at the effective number of independent trials (Franco et al. 2019, J. Surv. Stat. Methodol.
    7:334), which is estimated from the differences between clusters. It is that of `wilson` where each cluster has one
    trial. Near 0 and 1 few clusters tell how alike their trials are, those with the rarer result. So the estimate is
    drawn towards that of trials which are copies, by the weight of one such cluster; and where all or none are right,
    it is that.
    """
    trials = np.array(right, np.bool_)
    return score_interval(int(trials.sum()), len(trials), _independent(trials, numbered(cluster)))


def clustered_mean(values: Sequence[float] | NDArray[Any], cluster: Sequence[Hashable], seed: int = 0) -> Estimate:
    """The mean of values with its interval; values of one cluster may be alike, and the bootstrap draws clusters.

    Of more than `MANY` clusters the interval is that of the normal distribution, which is the same then, and takes no
    gigabytes of draws. n counts the values. nan and n = 0 without any.
    """
    n, numbers = len(values), numbered(cluster)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    sums, sizes = np.bincount(numbers, np.asarray(values, np.float64)), np.bincount(numbers)
    if len(sizes) > MANY:
        value, half = float(sums.sum() / n), Z * ratio_error(sums, sizes)
        return Estimate(value, value - half, value + half, n)
    weights = draws(len(sizes), seed).weights
    estimate = interval(float(sums.sum() / n), (weights @ sums) / (weights @ sizes), len(sizes))
    return replace(estimate, n=n)


def ratio_error(sums: NDArray[Any], sizes: NDArray[Any]) -> float:
    """The standard error of a mean of values in clusters, from each one's sum and size, (cluster,).

    Source: the linearised ratio of means (Cochran 1977, Sampling Techniques, section 6.4); for two clusters or more.
    """
    count, total = len(sizes), float(sizes.sum())
    apart = sums - sums.sum() / total * sizes
    return float(np.sqrt((apart**2).sum() * count / (count - 1)) / total)


def clustered_f1(predicted: Sequence[bool], actual: Sequence[bool], cluster: Sequence[Hashable]) -> Estimate:
    """F1, the harmonic mean of precision and recall, of trials in clusters, with its 95 % interval.

    F1 = 2 J / (1 + J), where J = TP / (TP + FP + FN) is a share of the trials that are predicted or actual; its
    interval is that of J so turned (the indirect method of arXiv 2309.14621). n counts those trials; nan without any.
    """
    counted = [index for index, either in enumerate(zip(predicted, actual, strict=True)) if any(either)]
    both = [predicted[index] and actual[index] for index in counted]
    share = clustered(both, [cluster[index] for index in counted])
    value, low, high = (2 * j / (1 + j) for j in (share.estimate, share.low, share.high))
    return Estimate(value, low, high, share.n)


def numbered(cluster: Sequence[Hashable]) -> NDArray[np.intp]:
    """The number of each trial's cluster, (trial,), from 0 in the order in which they appear."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(cluster))}
    return np.array([numbers[name] for name in cluster], np.intp)


def _independent(right: NDArray[np.bool_], cluster: NDArray[np.intp]) -> float:
    """The effective number of trials: that of independent trials whose share has the same variance."""
    n, sizes = len(right), np.bincount(cluster)
    count, copies = len(sizes), float((sizes**2).sum()) / max(n, 1)  # the design effect, were they copies
    if count == n:
        return n
    hits, share = np.bincount(cluster, right), float(right.mean())
    if count == 1 or share in (0, 1):
        return n / copies
    between = float(((hits - share * sizes) ** 2).sum()) * count / (count - 1)
    measured = min(max(1.0, between * (n - 1) / (n * n * share * (1 - share))), copies)
    rarer = min(np.count_nonzero(hits), np.count_nonzero(sizes - hits))
    effect = (rarer * measured + copies) / (rarer + 1)
    few = (Z / float(stdtrit(count - 1, 0.975))) ** 2  # the fewer they are, the less is known of their variance
    return n / effect * few
