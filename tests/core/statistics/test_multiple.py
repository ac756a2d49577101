"""Corrections against a worked example, and their error rate by simulation."""

import numpy as np
import pytest

from lapilli.core.statistics.multiple import holm


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_of_true_hypotheses_one_is_rejected_as_seldom_as_stated():
    """Of ten tests, three of them of effects: a false rejection in 5 of 100 families at the most."""
    rng, families = np.random.default_rng(0), 4000
    p = rng.random((families, 10))
    p[:, :3] *= 1e-3
    false = np.mean([min(holm(row)[3:]) <= 0.05 for row in p])
    assert 0.03 <= false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / families)
