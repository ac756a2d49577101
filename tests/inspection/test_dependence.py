"""Whether a word needs its picture: the rule on readings, and the whole on models that do and that cannot."""

import numpy as np
import pytest

from lapilli.inspection.dependence import dependence, survives
from lapilli.inspection.readings import Readings

CLEAN = np.zeros(2), np.log([0.9, 0.8]), np.array([5, 6])
KEPT, RARER, OTHER = ((0.9, 0.8), (5, 6)), ((0.9, 0.39), (5, 6)), ((0.9, 0.8), (5, 7))
"""A word of two pieces, 0.72 probable: as it was; less than half as probable, 0.351; and another word."""


def readings(*pictures, clean=CLEAN):
    probs, likeliest = zip(*pictures, strict=True)
    return Readings(np.zeros((len(pictures), len(clean[0]))), np.log(probs), np.array(likeliest), *clean)


def verdict(*pictures):
    return dependence(readings(*pictures), slice(0, 2), ("blur", "blank")).verdict


@pytest.mark.parametrize("blurred", [RARER, OTHER, ((0.5, 0.5), (1, 2))])
@pytest.mark.parametrize("others", [[], [KEPT] * 5, [OTHER] * 5], ids=["none", "kept", "changed"])
def test_a_word_that_the_blurred_picture_changes_depends_on_it_whatever_others_do(blurred, others):
    assert verdict(blurred, KEPT, *others) == "visual"


@pytest.mark.parametrize(
    ("blank", "others"),
    [
        (KEPT, [OTHER] * 5),
        (KEPT, [RARER] * 5),
        (KEPT, [KEPT] * 2 + [OTHER] * 3),
        (KEPT, [KEPT] * 2 + [RARER] * 3),
        (KEPT, [KEPT] * 3 + [OTHER] * 3),  # half of them are not most
        (OTHER, [KEPT] * 5),
        (RARER, [KEPT] * 5),
        (RARER, [OTHER] * 5),
    ],
)
def test_of_a_word_that_only_blurring_leaves_the_overall_colour_is_enough(blank, others):
    assert verdict(KEPT, blank, *others) == "overall colour"


@pytest.mark.parametrize("others", [[KEPT] * 5, [KEPT] * 3 + [OTHER] * 2, [KEPT] * 5 + [RARER] * 4])
@pytest.mark.parametrize("kept", [KEPT, ((0.9, 0.41), (5, 6))], ids=["as it was", "more than half"])  # 0.369 of 0.72
def test_what_every_picture_leaves_has_no_visual_dependence(others, kept):
    assert verdict(kept, kept, *others) == "no visual dependence"


def test_without_other_pictures_nothing_is_said_of_a_word_that_survives_blurring():
    with pytest.raises(ValueError, match="no other pictures"):
        verdict(KEPT, KEPT)


def test_a_word_that_the_model_would_not_say_depends_no_more_on_the_picture_than_what_it_would_say():
    clean = np.zeros(1), np.log([0.01]), np.array([5])
    read = readings(*[((0.01,), (5,))] * 7, clean=clean)
    assert survives(read, slice(0, 1))
    assert dependence(read, slice(0, 1), ("", "")).verdict == "no visual dependence"


def test_the_numbers_are_those_of_the_word():
    found = dependence(readings(KEPT, RARER, KEPT, OTHER, KEPT), slice(0, 2), ("blur", "blank"))
    assert np.allclose([found.full, found.blurred, found.blank], np.log([0.72, 0.72, 0.351]))
    assert np.allclose(found.swapped, np.log(0.72)) and found.same == 2
    assert (found.said_blurred, found.said_blank) == ("blur", "blank")
