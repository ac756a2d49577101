"""The bootstrap against theory; its coverage is simulated in test_coverage.py."""

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit

from lapilli.core.statistics.bootstrap import DRAWS, draws, ends, mean, resampled, two_sided

RNG = np.random.default_rng(0)


def test_every_draw_is_of_as_many_samples():
    weights = draws(30, 1).weights
    assert weights.shape == (DRAWS, 30) and np.allclose(weights.sum(1), 1)
    counts = weights * 30
    assert np.allclose(counts, counts.round()) and counts.max() > 1
    assert np.array_equal(weights, draws(30, 1).weights) and not np.array_equal(weights, draws(30, 2).weights)


def test_the_interval_of_a_mean_is_the_normal_one_where_there_are_many():
    values = RNG.normal(3, 2, 400)
    estimate, error = mean(values), 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean()) and estimate.n == 400
    assert (estimate.low, estimate.high) == pytest.approx(
        (values.mean() - error, values.mean() + error), abs=0.15 * error
    )


@pytest.mark.parametrize("excess", [0, 3])
@pytest.mark.parametrize("n", [3, 8, 30, 1000])
def test_p_is_below_a_twentieth_just_where_the_interval_leaves_0_out(n, excess):
    tail, _ = ends(n, excess=excess)
    assert two_sided(tail, n, excess) == pytest.approx(0.05) and two_sided(0.5, n) == two_sided(0.7, n) == 1
    assert two_sided(0.9 * tail, n, excess) < 0.05 < two_sided(1.1 * tail, n, excess)
    assert np.isnan(two_sided(0.01, 1)) and two_sided(0.01, 10**6) == pytest.approx(0.02, rel=1e-3)


def test_the_degrees_of_freedom_are_those_of_a_variance_of_laplace_s_values():
    n, of = 40, np.random.default_rng(3).laplace(0, 1, (200_000, 40)).var(1, ddof=1)
    freedom = 2 * of.mean() ** 2 / of.var()  # of chi squared
    t = float(-ndtri(ends(n)[0]) / np.sqrt(n / (n - 1)))
    assert t == pytest.approx(stdtrit(freedom, 0.975), abs=0.01)
    assert t > stdtrit(n - 1, 0.975) + 0.03


def test_a_paired_difference_has_the_interval_of_the_differences():
    values = RNG.normal(0, 5, 100)
    estimate = mean((values + 0.1) - values)
    assert (estimate.low, estimate.high) == pytest.approx((0.1, 0.1))


def test_samples_without_a_value_are_left_out():
    estimate = draws(4, 0).mean(np.array([1.0, np.nan, 3.0, np.nan]))
    assert (estimate.value, estimate.n) == (2.0, 2) and estimate.low == 1.0 and estimate.high == 3.0
    none = draws(4, 0).mean(np.full(4, np.nan))
    assert none.n == 0 and np.isnan([none.value, none.low, none.high]).all()


def test_the_same_seed_gives_the_same_interval():
    values = np.arange(30.0)
    assert mean(values, 5) == mean(values, 5) != mean(values, 6)


def test_one_sample_has_no_interval_and_none_have_no_mean():
    one, none = mean([2.5]), mean([])
    assert (one.value, one.n) == (2.5, 1) and np.isnan([one.low, one.high]).all()
    assert none.n == 0 and np.isnan([none.value, none.low, none.high]).all()


def test_tables_are_drawn_as_their_cells_are():
    table, drawn = RNG.normal(size=(50, 3, 2)), draws(50, 0)
    low, high = drawn.bounds(table)
    for layer in range(3):
        for head in range(2):
            cell = drawn.mean(table[:, layer, head])
            assert (low[layer, head], high[layer, head]) == pytest.approx((cell.low, cell.high))


def test_any_statistic_can_be_resampled():
    values = np.random.default_rng(2).exponential(size=300)
    median = resampled(lambda drawn: float(np.median(values[drawn])), 300)
    assert median.low < median.value == np.median(values) < median.high
    again = resampled(lambda drawn: float(values[drawn].mean()), 300)
    assert again.low == pytest.approx(mean(values).low, abs=0.02)


def test_draws_without_an_answer_are_left_out():
    values = np.array([0.0, 0, 0, 1])
    estimate = resampled(lambda drawn: 1.0 if values[drawn].any() else float("nan"), 4)
    assert (estimate.low, estimate.high) == (1, 1)
