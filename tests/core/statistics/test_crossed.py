"""Means over samples and over a few random draws: by hand, and beside the interval that forgets the draws."""

import math

import numpy as np
import pytest
from scipy.stats import t

from lapilli.core.statistics.bootstrap import draws, ends
from lapilli.core.statistics.crossed import means_over_draws, with_error_of_draws
from lapilli.core.statistics.joint import share_at, share_over_draws_at
from lapilli.core.statistics.recovery import shares_of_gain, shares_over_draws

RNG = np.random.default_rng(0)
GAINS = 1 + RNG.standard_normal(60)
ALIKE = np.tile(0.3 * GAINS + 0.1 * RNG.standard_normal((2, 60)), (5, 1, 1))
"""Five draws of two items that are the same in all of them."""


def width(one):
    return one.high - one.low


def test_draws_that_are_alike_add_nothing():
    for figure, plain in (
        (means_over_draws(ALIKE), [draws(60, 0).mean(row) for row in ALIKE[0]]),
        (shares_over_draws(ALIKE, GAINS), shares_of_gain(ALIKE[0], GAINS)),
        ([share_over_draws_at(ALIKE[:, 0], GAINS, 0, 0.01)], [share_at(ALIKE[0, 0], GAINS, 0, 0.01)]),
    ):
        for one, other in zip(figure, plain, strict=True):
            assert (one.value, one.low, one.high, one.n) == pytest.approx((other.value, other.low, other.high, other.n))


def test_samples_that_are_alike_leave_the_interval_of_students_t():
    """Of draws alone: mean -+ t s / sqrt(5), in which the ends lie a little further out, as those of 60 samples do."""
    figures = np.array([0.1, 0.4, -0.2, 0.3, 0.0])
    (one,) = means_over_draws(np.tile(figures[:, None, None], (1, 1, 60)))
    half = t.ppf(ends(60)[1], 4) * figures.std(ddof=1) / math.sqrt(5)
    assert one.value == pytest.approx(0.12)
    assert (one.value - one.low, one.high - one.value) == pytest.approx((half, half), rel=0.01)
    assert half > t.ppf(0.975, 4) * figures.std(ddof=1) / math.sqrt(5)


def test_draws_that_differ_widen_the_interval_and_items_have_each_their_own():
    apart = ALIKE + np.array([0.5, -0.5, 0.2, -0.2, 0.0])[:, None, None] * np.array([1.0, 0.0])[None, :, None]
    first, second = shares_over_draws(apart, GAINS)
    same, other = shares_over_draws(ALIKE, GAINS)
    assert first.value == pytest.approx(same.value) and width(first) > 2 * width(same)
    assert second == other


def test_a_single_draw_has_no_spread_and_no_gain_no_share():
    with pytest.raises(ValueError, match="1 draws have no spread"):
        with_error_of_draws(np.zeros((10, 1)), np.zeros((1, 1)), 0)
    none = shares_over_draws(ALIKE, np.random.default_rng(1).standard_normal(60))
    assert len(none) == 2 and all(math.isnan(one.value) and math.isnan(one.low) for one in none)
