"""Curves: what smoothing and thinning leave, and which axis they get."""

import pytest

from lapilli.report.kit.curves import half_life, smoothed, thinned, upright_axis


def test_smoothing_leaves_a_constant_and_the_inside_of_a_straight_line_as_they_are():
    constant = smoothed([(step, 2.5) for step in range(1, 200, 7)], 20)
    assert [value for _, value in constant] == pytest.approx([2.5] * len(constant))
    line = smoothed([(float(step), 3.0 * step) for step in range(401)], 5)
    assert line[200][1] == pytest.approx(600.0, rel=1e-9)


def test_a_neighbour_one_half_life_away_weighs_half():
    smooth = smoothed([(0.0, 1.0), (10.0, 4.0)], 10)
    assert [value for _, value in smooth] == pytest.approx([(1 + 0.5 * 4) / 1.5, (4 + 0.5 * 1) / 1.5])


def test_thinning_keeps_the_spike():
    points = [(float(step), 9.0 if step == 4321 else 1.0) for step in range(10_000)]
    kept = thinned(points, buckets=100)
    assert len(kept) <= 200
    assert (4321.0, 9.0) in kept
    assert kept == sorted(kept)


def test_an_axis_is_logarithmic_only_when_the_values_span_a_lot():
    assert not upright_axis([2.0, 1.0], 200, 12).log
    assert upright_axis([2.0, 0.01], 200, 12).log
    assert upright_axis([2.0, 1.0], 200, 12).at(0.0) == 200
    assert not upright_axis([2.0, 0.0], 200, 12).log


def test_an_axis_holds_all_values_also_where_they_are_negative_or_all_alike():
    for values in ([-2.0, 3.0], [-2.0, -1.0], [0.0], [5.0], []):
        axis = upright_axis(values, 200, 12)
        assert axis.low < axis.high
        assert all(12 <= axis.at(value) <= 200 for value in values)


def test_the_half_life_is_a_fiftieth_of_the_run_but_no_less_than_a_line():
    assert half_life(list(range(0, 5001, 10))) == 100
    assert half_life([10, 20, 30]) == 10
    assert half_life([7]) == 1
