"""Intervals against scipy's, and their coverage worked out exactly."""

import math

import pytest
from scipy.stats import binom, binomtest

from lapilli.core.statistics.proportion import wilson


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (299, 300), (12345, 99999)])
def test_the_interval_is_scipys(correct, n):
    ours, theirs = wilson(correct, n), binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert ours.estimate == correct / n
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)


def test_the_ends_are_exact():
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == 1.0


@pytest.mark.parametrize("n", [20, 100])
def test_it_covers_the_truth_95_times_in_100_on_average(n):
    """The exact coverage, from the binomial probabilities, averaged over truths between 0.05 and 0.95."""
    truths = [0.05 + 0.9 * i / 200 for i in range(201)]
    intervals = [wilson(k, n) for k in range(n + 1)]
    coverage = [
        sum(binom.pmf(k, n, truth) for k, interval in enumerate(intervals) if interval.low <= truth <= interval.high)
        for truth in truths
    ]
    assert sum(coverage) / len(coverage) == pytest.approx(0.95, abs=0.01)


def test_nothing_observed_says_nothing():
    nothing = wilson(0, 0)
    assert math.isnan(nothing.estimate)
    assert (nothing.low, nothing.high) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "n"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(correct, n):
    with pytest.raises(ValueError, match=f"{correct} correct of {n}"):
        wilson(correct, n)
