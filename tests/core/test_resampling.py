"""Intervals against known distributions, corrections against a worked example."""

import numpy as np
import pytest

from lapilli.core.resampling import holm, mean, resampled


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found, half = mean(values), 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean()) and found.n == 400
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_intervals_cover_what_they_should():
    rng = np.random.default_rng(1)
    found = [mean(rng.normal(0, 1, 60), seed, draws=1000) for seed in range(200)]
    assert 0.89 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.99


def test_the_same_seed_gives_the_same_interval():
    values = np.arange(30.0)
    assert mean(values, 5) == mean(values, 5) != mean(values, 6)


def test_of_one_value_and_of_none():
    one, none = mean([2.5]), mean([])
    assert (one.value, one.low, one.high, one.n) == (2.5, 2.5, 2.5, 1)
    assert none.n == 0 and np.isnan([none.value, none.low, none.high]).all()


def test_any_statistic_can_be_resampled():
    values = np.random.default_rng(2).exponential(size=300)
    found = resampled(lambda drawn: float(np.median(values[drawn])), 300)
    assert found.low < found.value == np.median(values) < found.high
    several = resampled(lambda drawn: float(values[drawn].mean()), 300)
    assert several.low == pytest.approx(mean(values).low, abs=0.02)


def test_draws_without_an_answer_are_left_out():
    values = np.array([0.0, 0, 0, 1])
    found = resampled(lambda drawn: 1.0 if values[drawn].any() else float("nan"), 4)
    assert (found.low, found.high) == (1, 1)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
