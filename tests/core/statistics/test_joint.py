"""Figures at small levels: how often they miss the truth, and what has no interval."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, multinomial

from lapilli.core.statistics.bootstrap import ends
from lapilli.core.statistics.joint import largest_change_at, largest_mean_at, mean_at, place_of_largest_at, share_at

N, RUNS = 80, 400
LEVELS = (0.2, 0.05 / 16)


def misses(figure, truth):
    """How often intervals of so many draws of samples do not hold the truth."""
    count = 0
    for seed in range(RUNS):
        one = figure(np.random.default_rng(seed))
        count += not one.low <= truth <= one.high
    return count / RUNS


def most(level):
    """The share of misses that is no surprise: three standard errors above the level."""
    return level + 3 * math.sqrt(level * (1 - level) / RUNS)


@pytest.mark.parametrize("level", LEVELS)
def test_a_mean_and_a_share(level):
    assert misses(lambda rng: mean_at(rng.standard_normal(N), 0, level), 0.0) <= most(level)

    def share(rng):
        gains = 1 + rng.standard_normal(N)
        return share_at(0.5 * gains + 0.3 * rng.standard_normal(N), gains, 0, level)

    assert misses(share, 0.5) <= most(level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("items", [24, 176])
def test_the_largest_of_many_equal_means(level, items):
    """The case in which the largest that is measured is farthest above the largest that is true."""
    missed = misses(lambda rng: largest_mean_at(rng.exponential(1, (items, N)) - 1, 0, level), 0.0)
    assert missed <= most(level)


def test_a_smaller_level_is_a_wider_interval():
    values = np.random.default_rng(0).standard_normal((6, N))
    for figure in (lambda level: mean_at(values[0], 0, level), lambda level: largest_mean_at(values, 0, level)):
        wide, narrow = figure(0.003), figure(0.05)
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert ends(N, 0.003)[0] < ends(N)[0] == ends(N, 0.05)[0]


def test_what_does_not_differ_has_no_interval():
    """All samples alike say nothing of others; nor do none."""
    same, gains = np.full(N, 0.3), np.random.default_rng(0).random(N)
    for figure in (mean_at(same, 0, 0.05), share_at(gains, gains, 0, 0.05), largest_mean_at(same[None], 0, 0.05)):
        assert math.isnan(figure.low) and math.isnan(figure.high)
    assert mean_at(np.full(N, np.nan), 0, 0.05).n == 0
    assert math.isnan(place_of_largest_at(np.ones((4, N)), np.arange(4.0), 0, 0.05).low)


def test_an_item_without_spread_does_not_decide():
    values = np.vstack([np.full(N, 5.0), np.random.default_rng(0).standard_normal(N)])
    assert largest_mean_at(values, 0, 0.05).value < 1


def test_the_place_of_the_largest_leaves_out_what_was_not_measured():
    values = np.array([0.0, 1.0, 0.9, 0.0])[:, None] + 0.5 * np.random.default_rng(0).standard_normal((4, N))
    values[0], values[2, 3] = np.nan, np.nan
    one = place_of_largest_at(values, np.array([0.0, 0.25, 0.5, 0.75]), 0, 0.05)
    assert (one.low, one.high, one.n) == (0.25, 0.5, N - 1)


def test_the_interval_of_changed_answers_is_that_of_both_counts():
    """Of none the end is where (1 - p) ** n is a quarter of the level; two items have half a level each."""
    none, lost = np.zeros((1, 100)), np.zeros((1, 100))
    lost[0, :7], lost[0, 7:10] = 1, -1
    nothing, alone = largest_change_at(none, 0.04), largest_change_at(lost, 0.04)
    end = 1 - 0.01 ** (1 / 100)
    assert (nothing.value, nothing.low, nothing.high) == pytest.approx((0, -end, end))
    seven, three = (binomtest(count, 100).proportion_ci(0.98, "exact") for count in (7, 3))
    assert (alone.value, alone.low, alone.high) == pytest.approx((0.04, seven.low - three.high, seven.high - three.low))
    both = largest_change_at(np.concatenate([lost, none]), 0.08)
    assert (both.value, both.low, both.high) == pytest.approx((0.04, max(alone.low, -end), alone.high))
    assert largest_change_at(np.ones((1, 100)), 0.04).high == 1


@pytest.mark.parametrize("level", [0.05, 0.05 / 20])
@pytest.mark.parametrize(("lost", "won"), [(0.005, 0.0), (0.02, 0.0), (0.05, 0.05), (0.3, 0.1)])
def test_changes_of_few_and_of_many_answers_are_covered(level, lost, won):
    """By all outcomes of 60 answers, with their probabilities."""
    covered = 0.0
    for first in range(61):
        for second in range(61 - first):
            chance = multinomial.pmf([first, second, 60 - first - second], 60, [lost, won, 1 - lost - won])
            if chance > 1e-9:
                changes = np.repeat([1.0, -1.0, 0.0], [first, second, 60 - first - second])
                figure = largest_change_at(changes[None], level)
                covered += chance * (figure.low <= lost - won <= figure.high)
    assert covered >= 1 - level - 1e-6
