"""The bootstrap over questions, against drawing one by one and against the normal approximation."""

import numpy as np
import pytest

from lapilli.inspection.study.draws import DRAWS, draws

RNG = np.random.default_rng(0)


def test_every_draw_is_of_as_many_questions():
    found = draws(30, 1).weights
    assert found.shape == (DRAWS, 30) and np.allclose(found.sum(1), 1)
    counts = found * 30
    assert np.allclose(counts, counts.round()) and counts.max() > 1
    assert np.array_equal(found, draws(30, 1).weights) and not np.array_equal(found, draws(30, 2).weights)


def test_the_interval_of_a_mean_is_the_normal_one_where_there_are_many():
    values = RNG.normal(3, 2, 400)
    found = draws(400, 0).mean(values)
    error = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean()) and found.n == 400
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.15 * error)


def test_a_paired_difference_has_the_interval_of_the_differences():
    one = RNG.normal(0, 5, 100)
    found = draws(100, 0).mean((one + 0.1) - one)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_questions_without_a_value_are_left_out():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    found = draws(4, 0).mean(values)
    assert (found.value, found.n) == (2.0, 2) and found.low == 1.0 and found.high == 3.0
    none = draws(4, 0).mean(np.full(4, np.nan))
    assert none.n == 0 and np.isnan([none.value, none.low, none.high]).all()


def test_tables_are_drawn_as_their_cells_are():
    table = RNG.normal(size=(50, 3, 2))
    drawn = draws(50, 0)
    low, high = drawn.bounds(table)
    for layer in range(3):
        for head in range(2):
            cell = drawn.mean(table[:, layer, head])
            assert (low[layer, head], high[layer, head]) == pytest.approx((cell.low, cell.high))
