import numpy as np
import pytest

from lapilli.inspection.readings import Readings
from lapilli.inspection.receipt import Claim, draw, take, top, verdict

CONTROLS = [-0.3, 0.1, 0.0, -0.2] * 5


@pytest.mark.parametrize(
    ("predicted", "measured", "said"),
    [
        (-2.0, -2.4, "confirmed"),
        (-2.0, -1.0, "confirmed"),  # half is enough
        (-2.0, -0.9, "weaker"),
        (-2.0, -0.3, "not-confirmed"),  # as much as a control
        (-2.0, 0.05, "not-confirmed"),
        (-2.0, 0.2, "opposite"),
        (2.0, 1.2, "confirmed"),  # a map may name what speaks against a word
        (2.0, -0.4, "opposite"),
        (0.0, -3.0, "not-tested"),
    ],
)
def test_verdicts_follow_the_rule(predicted, measured, said):
    assert verdict(predicted, measured, CONTROLS) == said


def test_a_verdict_needs_controls():
    assert verdict(-2.0, -5.0, []) == "not-tested"
    assert verdict(-2.0, -5.0, CONTROLS[:19]) == "not-tested"


def test_a_change_to_the_right_side_of_bad_controls_alone_is_no_confirmation():
    assert verdict(-2.0, 0.1, [0.5, 0.6] * 10) == "not-confirmed"  # less of a gain than at random, but still a gain
    assert verdict(-2.0, -0.1, [-0.5, -0.6] * 10) == "not-confirmed"


def test_the_top_is_an_eighth_of_the_patches_and_none_of_them_negative():
    assert top(np.arange(576.0)).tolist() == list(range(504, 576))
    values = np.full(36, -1.0)
    values[[3, 30]] = 40.0, 10.0
    assert top(values).tolist() == [3, 30]
    assert top(-np.arange(1.0, 17.0)).tolist() == [14, 15]  # of a picture that speaks against the word, those that do
    assert top(np.array([1.0, -5.0, 2.0])).tolist() == [1]
    assert top(np.array([0.0, 1.0])).tolist() == [1]


def test_controls_avoid_the_named_patches_and_follow_the_seed():
    named = np.array([0, 1, 7])
    drawn = draw(named, (6, 6), 20, seed=3)
    sets = [*drawn.scattered, *drawn.contiguous]
    assert len(sets) == 40 and all(len(one) == 3 and not np.isin(one, named).any() for one in sets)
    again, other = draw(named, (6, 6), 20, seed=3), draw(named, (6, 6), 20, seed=4)
    assert [one.tolist() for one in sets] == [one.tolist() for one in [*again.scattered, *again.contiguous]]
    assert [one.tolist() for one in drawn.scattered] != [one.tolist() for one in other.scattered]


def test_a_receipt_holds_what_removing_did():
    """In a world where a word's value is the sum of its patches, prediction and measurement are the same."""
    worth = np.linspace(-1, 2, 36)
    clean = np.array([9.0, 4.0, 6.0]), np.log([0.5, 0.5, 0.8]), np.array([1, 2, 3])

    def remove(sets):
        lost = np.array([[0.0, worth[one].sum() / 2, worth[one].sum() / 2] for one in sets])
        likeliest = np.repeat([[1, 2, 3]], len(sets), 0)
        likeliest[0, 1] = likeliest[5:8, 2] = likeliest[10:20, 0] = 9  # the first column is another word
        return Readings(clean[0] - lost, clean[1] - lost, likeliest, *clean)

    claim = Claim("direct", worth, slice(1, 3))
    found = take(claim, "blur", remove, draw(top(worth), (6, 6), 20, seed=0), lambda ids: str(ids.tolist()))
    assert found.patches == (32, 33, 34, 35)
    assert found.predicted == pytest.approx(-worth[32:].sum()) and found.target.named == pytest.approx(found.predicted)
    assert found.said == ("[2, 3]", "[9, 3]") and found.turned == 3
    assert found.before == pytest.approx(np.log(0.4))
    assert len(found.target.scattered) == len(found.target.contiguous) == 20
    drawn = draw(top(worth), (6, 6), 20, seed=0)
    assert found.target.contiguous == pytest.approx([-worth[one].sum() for one in drawn.contiguous])
    assert found.log_prob.controls == pytest.approx([-worth[one].sum() for one in drawn.scattered + drawn.contiguous])
    assert found.verdict == "confirmed"


@pytest.mark.parametrize(("count", "sets"), [(18, 5), (19, 0), (36, 0)])
def test_more_than_half_of_the_patches_have_no_controls(count, sets):
    drawn = draw(np.arange(count), (6, 6), 5, seed=0)
    assert len(drawn.scattered) == len(drawn.contiguous) == sets


def test_a_picture_of_one_patch_has_no_controls():
    drawn = draw(top(np.array([1.0])), (1, 1), 5, seed=0)
    assert drawn.named.tolist() == [0] and not drawn.scattered and not drawn.contiguous
