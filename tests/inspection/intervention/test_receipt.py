"""What a receipt says, and that a map that knows nothing is confirmed no more often than by chance."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapilli.inspection.intervention.receipt import AT_ONCE, Claim, draw_sets, removal_receipt, top, verdict
from lapilli.inspection.readings import Readings

CONTROLS = [-0.3, 0.1, 0.0, -0.2] * 5
GRID = (6, 6)


@pytest.mark.parametrize(
    ("predicted", "measured", "said"),
    [
        (-2.0, -2.4, "confirmed"),
        (-2.0, -1.0, "confirmed"),  # half is enough
        (-2.0, -4.0, "confirmed"),  # twice is not too much
        (-2.0, -0.9, "confirmed-but-smaller"),
        (-2.0, -4.1, "confirmed-but-larger"),
        (-1.5, -16.9, "confirmed-but-larger"),
        (-2.0, -0.3, "not-confirmed"),  # as much as a control
        (-2.0, 0.0, "not-confirmed"),
        (-2.0, 0.05, "not-confirmed"),
        (-2.0, 0.1, "not-confirmed"),
        (-2.0, 0.2, "opposite"),
        (2.0, 1.2, "confirmed"),  # a map may name what speaks against a word
        (2.0, 0.2, "confirmed-but-smaller"),
        (2.0, 9.0, "confirmed-but-larger"),
        (2.0, -0.4, "opposite"),
        (0.0, -3.0, "not-tested"),
    ],
)
def test_verdicts_follow_the_rule(predicted, measured, said):
    assert verdict(predicted, measured, CONTROLS, 20) == said


def test_a_verdict_needs_controls():
    assert verdict(-2.0, -5.0, [], 0) == "not-tested"
    assert verdict(-2.0, -5.0, CONTROLS[:19], 19) == "not-tested"
    assert verdict(-2.0, -0.1, CONTROLS[:6], 20) == "not-confirmed"  # six of twenty were enough to know


def test_a_change_to_the_right_side_of_bad_controls_alone_is_no_confirmation():
    assert verdict(-2.0, 0.1, [0.5, 0.6] * 10, 20) == "not-confirmed"  # less of a gain than at random, but a gain
    assert verdict(-2.0, -0.1, [-0.5, -0.6] * 10, 20) == "not-confirmed"


def test_the_top_is_an_eighth_of_the_patches_and_none_of_them_negative():
    assert top(np.arange(576.0)).tolist() == list(range(504, 576))
    values = np.full(36, -1.0)
    values[[3, 30]] = 40.0, 10.0
    assert top(values).tolist() == [3, 30]
    assert top(-np.arange(1.0, 17.0)).tolist() == [14, 15]  # of a picture that speaks against the word, those that do
    assert top(np.array([1.0, -5.0, 2.0])).tolist() == [1]
    assert top(np.array([0.0, 1.0])).tolist() == [1]


def listed(sets):
    return [one.tolist() for one in sets]


def test_controls_are_drawn_from_all_patches_and_follow_the_seed():
    named = np.array([0, 1, 7, 20])
    drawn = draw_sets(named, GRID, 20, seed=3)
    assert len(drawn.scattered) == len(drawn.contiguous) == 20 and {len(one) for one in drawn.sets} == {4}
    assert listed(drawn.sets) == listed(draw_sets(named, GRID, 20, seed=3).sets)
    assert listed(drawn.scattered) != listed(draw_sets(named, GRID, 20, seed=4).scattered)
    held = [np.isin(one, named).sum() for seed in range(15) for one in draw_sets(named, GRID, 20, seed).scattered]
    assert np.mean(held) == pytest.approx(4 * 4 / 36, abs=0.1)  # as many of the named ones as chance has it


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.data())
def test_no_two_sets_are_the_same_and_there_are_as_many_as_possible(rows, columns, data):
    count = rows * columns
    named = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count))), np.intp)
    drawn = draw_sets(named, (rows, columns), 20, data.draw(st.integers(0, 99)))
    controls = {tuple(one) for one in listed([*drawn.scattered, *drawn.contiguous])}
    assert len(controls) == len(drawn.sets) - 2
    assert not controls & {tuple(drawn.claimed), tuple(drawn.shuffled)}
    assert len(drawn.scattered) == len(drawn.contiguous) <= 20
    assert all(len(set(one)) == len(named) and 0 <= min(one) <= max(one) < count for one in listed(drawn.sets))
    if len(named) == 1:  # then both kinds are single patches: all others but the shuffled one are drawn
        assert len(drawn.scattered) == min(20, (count - len({*drawn.claimed, *drawn.shuffled})) // 2)


@pytest.mark.parametrize(("count", "pairs"), [(18, 20), (34, 20), (35, 17), (36, 0)])
def test_when_nearly_all_are_named_there_are_as_many_controls_as_different_sets(count, pairs):
    drawn = draw_sets(np.arange(count), GRID, 20, seed=0)
    assert len(drawn.scattered) == len(drawn.contiguous) == pairs <= comb(36, count) // 2


def test_a_picture_of_one_patch_has_no_controls():
    drawn = draw_sets(top(np.array([1.0])), (1, 1), 5, seed=0)
    assert drawn.claimed.tolist() == drawn.shuffled.tolist() == [0] and not drawn.scattered and not drawn.contiguous


def test_the_shuffled_patches_are_those_that_the_shuffled_map_names():
    values = np.random.default_rng(1).normal(1, 2, 36)
    shuffled = values[np.random.default_rng(7).permutation(36)]
    assert draw_sets(top(values), GRID, 5, seed=7).shuffled.tolist() == top(shuffled).tolist()


def world(worth, others=0.0):
    """Removing patches takes what they are worth from both queries, and `others` of it from the log-probability."""
    clean = np.array([9.0, 4.0, 6.0]), np.log([0.5, 0.5, 0.8]), np.array([1, 2, 3])

    def remove(sets):
        remove.seen.append(len(sets))
        lost = np.array([[0.0, worth(one) / 2, worth(one) / 2] for one in sets])
        likeliest = np.where(np.array([worth(one) > 3 for one in sets])[:, None], 9, [[1, 2, 3]])
        return Readings(clean[0] - lost, clean[1] - lost - others, likeliest, *clean)

    remove.seen = []
    return remove


def receipt_of(values, remove, seed=0, controls=20, named=None, all_controls=False):
    claim = Claim("direct", values, slice(1, 3))
    drawn = draw_sets(top(values) if named is None else named, GRID, controls, seed)
    return removal_receipt(claim, "blur", remove, drawn, lambda ids: str(ids.tolist()), all_controls)


def test_a_receipt_holds_what_removing_did():
    """In a world where a word's value is the sum of its patches, prediction and measurement are the same."""
    values = np.linspace(-1, 2, 36)
    found = receipt_of(values, world(lambda one: values[one].sum()))
    drawn = draw_sets(top(values), GRID, 20, seed=0)
    assert found.patches == (32, 33, 34, 35) and found.shuffled == tuple(drawn.shuffled)
    assert found.predicted == pytest.approx(-values[32:].sum()) and found.target.claimed == pytest.approx(
        found.predicted
    )
    assert found.texts == ("[2, 3]", "[9, 9]") and found.before == pytest.approx(np.log(0.4))
    assert found.target.shuffled == pytest.approx(-values[drawn.shuffled].sum())
    assert found.target.scattered == pytest.approx([-values[one].sum() for one in drawn.scattered])
    assert found.target.contiguous == pytest.approx([-values[one].sum() for one in drawn.contiguous])
    assert found.log_prob.controls == pytest.approx([-values[one].sum() for one in drawn.scattered + drawn.contiguous])
    assert found.changed_controls == sum(values[one].sum() > 3 for one in drawn.scattered + drawn.contiguous)
    assert found.verdict == "confirmed" and found.shuffled_verdict == "not-confirmed" and found.control_count == 40


@pytest.mark.parametrize(
    ("gain", "said", "batches"),
    [
        (4.0, "confirmed", 6),
        (1.0, "confirmed-but-smaller", 6),
        (9.0, "confirmed-but-larger", 6),
        (-1.0, "opposite", 6),
        (0.0, "not-confirmed", 1),  # nothing changes whatever is removed: as much as a control
    ],
)
def test_controls_are_removed_until_the_verdict_is_settled(gain, said, batches):
    """In a world where the named patches alone are worth something."""
    values = np.zeros(36)
    values[[3, 9, 20, 31]] = 1.0
    remove = world(lambda one: gain * (values[one].sum() == 4))
    found = receipt_of(values, remove)
    assert found.verdict == said and remove.seen == [8, 8, 8, 8, 8, 2][:batches]
    assert len(found.target.controls) == sum(remove.seen) - 2 and found.control_count == 40


@pytest.mark.parametrize("controls", [0, 3, 9])
def test_of_few_controls_all_are_shown_although_nothing_can_be_tested(controls):
    found = receipt_of(np.linspace(-1, 2, 36), world(lambda one: 0.0), controls=controls)
    assert found.verdict == found.shuffled_verdict == "not-tested"
    assert len(found.target.controls) == found.control_count == 2 * controls


@pytest.mark.parametrize("values", [np.zeros(36), np.repeat([1.0, -1.0], 18)], ids=["no map", "a map of both signs"])
@pytest.mark.parametrize("gain", [0.0, 3.0])
def test_where_no_change_is_predicted_one_batch_settles_it(values, gain):
    """Also where the patches matter: what the receipt tests is a prediction."""
    named = np.arange(16, 20)  # whose values sum to 0
    stopped, whole = (
        receipt_of(values, remove, named=named, all_controls=every)
        for every, remove in ((every, world(lambda one: gain * np.isin(one, named).sum())) for every in (False, True))
    )
    assert stopped.predicted == whole.predicted == 0
    verdicts = (stopped.verdict, stopped.shuffled_verdict, whole.verdict, whole.shuffled_verdict)
    assert set(verdicts) == {"not-tested"} and stopped.control_count == whole.control_count == 40
    assert (len(stopped.target.controls), len(whole.target.controls)) == (AT_ONCE - 2, 40)
    assert stopped.target.claimed == whole.target.claimed == -4 * gain


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 1.0, 5.0]), st.booleans(), st.integers(0, 25))
def test_verdicts_are_those_of_all_controls(seed, noise, whole_numbers, controls):
    """Whatever a map and the world have in common, and with ties, on both sides, and where nothing changes."""
    rng = np.random.default_rng(seed)
    values, other = rng.normal(0.3, 1, (2, 36))
    true = values * rng.integers(-1, 2) + noise * other
    values, true = (np.round(part) if whole_numbers else part for part in (values, true))
    named = np.flatnonzero(rng.random(36) < 0.3) if seed % 3 == 0 else None
    named = None if named is None or not named.size else named
    stopped, whole = (
        receipt_of(values, world(lambda one: true[one].sum()), seed, controls, named, every) for every in (False, True)
    )
    assert (stopped.verdict, stopped.shuffled_verdict) == (whole.verdict, whole.shuffled_verdict)
    run = len(stopped.target.controls)
    assert len(whole.target.controls) == stopped.control_count == whole.control_count >= run
    settled = "not-confirmed" if stopped.predicted else "not-tested"
    assert run == stopped.control_count or stopped.verdict == stopped.shuffled_verdict == settled
    assert (run + 2) % AT_ONCE == 0 or run == stopped.control_count
    assert stopped.target.scattered == whole.target.scattered[: len(stopped.target.scattered)]
    assert stopped.target.contiguous == whole.target.contiguous[: len(stopped.target.contiguous)]


def test_a_map_that_knows_nothing_is_confirmed_no_more_often_than_by_chance():
    """1 in 41 on either side. With controls from the other patches alone a tenth would be, where one patch decides."""
    found = []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        true = rng.normal(0, 0.1, 36)
        true[rng.choice(36, rng.integers(1, 4), replace=False)] += 3
        receipt = receipt_of(rng.permutation(true), world(lambda one, true=true: true[one].sum()), seed)
        found += [receipt.verdict, receipt.shuffled_verdict]
    assert np.mean([one.startswith("confirmed") for one in found]) <= 0.04
    assert np.mean([one == "opposite" for one in found]) <= 0.04
