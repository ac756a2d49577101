"""A number that is none reads as a dash, whoever made it."""

import math

import numpy as np
import pytest

from lapilli.report.kit import figures


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_no_number_is_a_dash(value):
    assert [write(value) for write in (figures.number, figures.percent, figures.points)] == [figures.NONE] * 3
    assert not figures.is_number(value) and figures.is_number(0.0)
