"""Which grounded yes stands beside which made-up one, on answers whose partners are known, and what pairs show."""

import numpy as np
import pytest
from scipy.stats import binom
from tests.studies.hallucination.test_analysis import found

from lapilli.data.questions import PictureQuestion
from lapilli.data.scenes.absent import object_of
from lapilli.studies.hallucination.analysed_answers import AnalysedAnswer
from lapilli.studies.hallucination.matching import CALIPER, Yes, caliper, compared, matched


def yes(first, *about):
    return [Yes(first + at, name, margin) for at, (name, margin) in enumerate(about)]


SPREAD = [("cat", -40.0), ("cat", 40.0)]  # grounded yes far from all others: the caliper is 5 logits or so


def test_the_nearest_of_the_same_object_is_found_among_planted_pairs():
    made_up = yes(0, ("red ring", 1.0), ("red ring", 5.0), ("blue star", 2.0))
    grounded = yes(10, ("red ring", 5.2), ("blue star", 9.0), ("red ring", 0.9), ("blue star", 2.1), *SPREAD)
    found = matched(made_up, grounded)
    assert found.pairs == ((0, 12), (1, 10), (2, 13)) and (found.without, found.far) == (0, 0)


def test_an_object_that_no_grounded_yes_is_about_and_one_of_which_none_is_as_sure_are_counted():
    made_up = yes(0, ("green card", 1.0), ("red ring", 1.0), ("green card", 2.0), ("red ring", 1.0))
    grounded = yes(10, ("red ring", 1.0), ("red ring", 30.0), ("green cross", 1.0), *SPREAD)
    found = matched(made_up, grounded)
    assert len(found.pairs) == 1 and found.pairs[0][1] == 10
    assert (found.without, found.far) == (2, 1)


def test_without_made_up_or_grounded_answers_there_is_no_pair():
    some = yes(0, ("red ring", 1.0))
    assert matched([], some) == matched([], []) and matched([], some).pairs == ()
    assert (matched(some, []).pairs, matched(some, []).without) == ((), 1)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_of_equal_margins_each_is_taken_once(copies):
    found = matched(yes(0, *[("ring", 2.0)] * 3), yes(10, *[("ring", 2.0)] * copies))
    assert len({wrong for wrong, _ in found.pairs}) == len({right for _, right in found.pairs}) == copies
    assert found.far == 3 - copies


def test_as_many_as_can_be_are_paired_and_of_those_the_closest():
    """Taking the closest first would leave the second without: its only partner is gone."""
    made_up, grounded = yes(0, ("ring", 2.0), ("ring", 5.0)), yes(10, ("ring", 3.0), ("ring", 0.0), *SPREAD)
    assert caliper(made_up, grounded) > 3
    assert matched(made_up, grounded).pairs == ((0, 11), (1, 10))


def test_no_pair_is_wider_than_the_caliper_and_none_that_could_be_is_missing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        made_up, grounded = (
            yes(first, *[(str(rng.integers(4)), float(rng.normal(mean, 3))) for _ in range(count)])
            for first, mean, count in ((0, 2, 12), (100, 5, 30))
        )
        found = matched(made_up, grounded)
        of = {one.number: one for one in (*made_up, *grounded)}
        margins = [[one.margin for one in some] for some in (made_up, grounded)]
        widest = CALIPER * np.sqrt((np.var(margins[0]) + np.var(margins[1])) / 2)
        used = {number for pair in found.pairs for number in pair}
        for wrong, right in found.pairs:
            assert of[wrong].object == of[right].object and abs(of[wrong].margin - of[right].margin) <= widest
        for wrong in made_up:
            for right in grounded:
                alike = wrong.object == right.object and abs(wrong.margin - right.margin) <= widest
                assert not alike or {wrong.number, right.number} & used
        assert len(found.pairs) + found.far + found.without == len(made_up)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Is there a red ring?", "red ring"),
        ("Do you see an orange star?", "orange star"),
        ("do you see a card", "do you see a card"),
        ("Is there an umbrella?", "umbrella"),
        ("Is there any dog in the image?", "is there any dog in the image?"),
        ("Is there a dog in the image?", "dog in the image"),
        ("Do you see?", "do you see?"),
    ],
)
def test_the_object_is_what_the_question_asks_about(text, about):
    assert object_of(PictureQuestion("q", "a.png", text, "no")) == about


def pairs(rng, count, falls, pictures=10_000, lift=0.0):
    """Made-up and grounded yes, of which a share falls, made-up ones by `lift` more; the pictures may be few."""

    def one(number, wrong):
        turns = rng.random() < falls + lift * wrong
        question = PictureQuestion(str(number), f"{rng.integers(pictures)}.png", "Is there a ring?", "no", "random")
        group = "wrong yes" if wrong else "right yes"
        return AnalysedAnswer(0, number, question, group, found(2.0, 1.0, 0.5, rng, turns))

    return [(one(number, True), one(number, False)) for number in range(count)]


def test_who_falls_as_often_is_told_apart_no_more_often_than_stated():
    rng, claimed, times = np.random.default_rng(0), 0, 200
    for _ in range(times):
        apart = compared(pairs(rng, 60, 0.85), 0)["named"]
        claimed += apart["low"] > 0 or apart["high"] < 0
    assert claimed <= binom.ppf(0.999, times, 0.05)


def test_who_falls_more_often_is_found():
    rng = np.random.default_rng(1)
    apart = [compared(pairs(rng, 120, 0.6, lift=0.35), 0)["named"] for _ in range(20)]
    assert all(one["low"] > 0 for one in apart)
    assert np.mean([one["estimate"] for one in apart]) == pytest.approx(0.35, abs=0.03)


def test_pairs_of_one_picture_are_no_independent_ones():
    rng = np.random.default_rng(2)
    (made_up, grounded) = pairs(rng, 1, 0.5)[0]
    once, copied = compared([(made_up, grounded)], 0), compared([(made_up, grounded)] * 30, 0)
    assert copied["named"] == once["named"] and copied["pairs"] == 30


def test_without_a_pair_nothing_is_compared():
    nothing = compared([], 0)
    assert (nothing["pairs"], nothing["groups"], nothing["named"]) == (0, [], None)
