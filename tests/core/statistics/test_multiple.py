"""Corrections against a worked example; their error rate is simulated in test_coverage.py."""

from math import nan

import pytest

from lapilli.core.statistics.multiple import holm


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([nan], [nan]),
        ([nan, 0.01, nan], [nan, 0.01, nan]),
        ([0.01, nan, 0.04, 0.03, 0.005, nan], [0.03, nan, 0.06, 0.06, 0.02, nan]),
        ([0.0, nan, 1.0], [0.0, nan, 1.0]),
    ],
)
def test_a_test_without_a_p_value_has_none_and_is_not_counted(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted, nan_ok=True)
