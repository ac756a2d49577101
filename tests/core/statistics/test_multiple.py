"""Corrections against a worked example; their error rate is simulated in test_coverage.py."""

import pytest

from lapilli.core.statistics.multiple import holm


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []
