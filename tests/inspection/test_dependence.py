import numpy as np
import pytest

from lapilli.inspection.dependence import dependence
from lapilli.inspection.readings import Readings


@pytest.mark.parametrize(
    ("blurred", "likeliest", "verdict"),
    [
        ([0.9, 0.8], [5, 6], "no visual dependence"),
        ([0.9, 0.41], [5, 6], "no visual dependence"),  # 0.369 of 0.72: more than half
        ([0.9, 0.39], [5, 6], "visual"),  # 0.351: less than half
        ([0.9, 0.8], [5, 7], "visual"),  # another word
    ],
)
def test_the_verdict_follows_the_rule(blurred, likeliest, verdict):
    clean = np.zeros(2), np.log([0.9, 0.8]), np.array([5, 6])
    gone = Readings(np.zeros((2, 2)), np.log([blurred, [0.1, 0.1]]), np.array([likeliest, [1, 2]]), *clean)
    found = dependence(gone, slice(0, 2), "said")
    assert found.verdict == verdict and found.said_blurred == "said"
    assert np.allclose([found.full, found.blurred, found.blank], np.log([0.72, np.prod(blurred), 0.01]))


def test_a_word_that_the_model_would_not_say_depends_no_more_on_the_picture_than_what_it_would_say():
    clean = np.zeros(1), np.log([0.01]), np.array([5])
    blurred = Readings(np.zeros((2, 1)), np.log([[0.01], [0.01]]), np.array([[5], [5]]), *clean)
    assert dependence(blurred, slice(0, 1), "said").verdict == "no visual dependence"
