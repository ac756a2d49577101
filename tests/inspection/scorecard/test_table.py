"""What a reader asks for, of numbers that are made for it."""

import numpy as np
import pytest

from lapilli.inspection.scorecard import table
from lapilli.inspection.scorecard.curves import POINTS, Curves
from lapilli.inspection.scorecard.methods.method import Method

CASES = 40
MEANS = {"random": 0.0, "good": 0.8, "mine": 0.5, "mine, by drop": 0.9, "wrong grid": 0.95}
METHODS = (
    Method("random", "floor", np.zeros_like),
    Method("good", "zero-pass", np.zeros_like),
    Method("mine", "zero-pass", np.zeros_like, ours=True),
    Method("mine, by drop", "many-pass", np.zeros_like, ours=True, operators=("drop",)),
    Method("wrong grid", "zero-pass", np.zeros_like, released=True),
)


@pytest.fixture
def numbers():
    """Two operators; under the first one words fall all the way as the strongest go, at the end as the weakest do."""
    rng = np.random.default_rng(0)
    gaps = np.array(list(MEANS.values())) + rng.normal(0, 0.05, (2, CASES, len(METHODS)))
    falling = np.linspace(0, -1, POINTS) + np.zeros((CASES, 2, len(METHODS), 1))
    late = np.where(np.arange(POINTS) < POINTS - 1, 0.0, falling)
    late[:, 1] = falling[:, 1]
    covered = rng.random((CASES, len(METHODS)))
    empty = np.zeros((CASES, 2, len(METHODS), 2))
    return table.Numbers(
        METHODS, ("blur", "drop"), [], Curves(falling, late), {"gap": gaps}, empty.swapaxes(0, 1),
        dict.fromkeys(("pointing", "energy", "precision"), covered),
    )  # fmt: skip


def test_what_chance_is_depends_on_the_operator_where_it_must(numbers):
    found = table.chances(numbers)
    for name in ("insertion", "deletion"):
        assert found[name] == pytest.approx({"blur": (0.5 + 1 - 1 / 48) / 2, "drop": 0.5})
    assert found["early"] == pytest.approx({"blur": (0.875 + 1) / 2, "drop": 0.875})
    assert (found["gap"], found["flip"], found["slope"]) == (0.0, 0.0, None)


def test_faults_of_released_codes_are_scored_but_neither_tested_nor_ranked(numbers):
    assert {row["method"] for row in table.scores(numbers, 0)} == set(MEANS)
    tested = table.tests(numbers, 0)
    assert not [row for row in tested if "wrong grid" in (row["one"], row["other"])]
    assert not [row for row in table.losses(numbers, tested) if row["other"] == "wrong grid"]
    assert "wrong grid" not in table.front(numbers, 0, dict.fromkeys(MEANS, 1.0) | {"wrong grid": 0.1})
    without = table.agreement(numbers, 0)
    numbers.metrics["gap"][0, :, -1] = -9
    assert table.agreement(numbers, 0) == without


def test_a_method_that_is_judged_by_its_own_way_is_not_our_best(numbers):
    lost = table.losses(numbers, table.tests(numbers, 0))
    assert [(row["operator"], row["ours"], row["other"]) for row in lost] == [("drop", "mine", "good")]


def test_a_few_large_losses_count_although_the_test_of_ranks_does_not_see_them(numbers):
    """Most cases are alike; in a few ours is far behind."""
    gaps = numbers.metrics["gap"]
    gaps[0, :, 3] = 0.8
    gaps[0, :, 1] = 0.8 + np.where(np.arange(CASES) < 8, 0.9, -0.01)
    (lost,) = (row for row in table.losses(numbers, table.tests(numbers, 0)) if row["operator"] == "blur")
    assert lost["low"] > 0 and lost["holm"] > 0.05


def test_the_front_holds_what_nothing_is_both_faster_and_better_than(numbers):
    seconds = {"random": 0.1, "good": 0.2, "mine": 0.3, "mine, by drop": 0.3, "wrong grid": 9.0}
    assert table.front(numbers, 0, seconds) == ["random", "good", "mine, by drop"]


def test_furthest_ahead_is_only_what_is_ahead(numbers):
    gaps = numbers.metrics["gap"]
    gaps[0, :, 3] = np.linspace(0.3, 0.95, CASES)
    gaps[0, :, 1] = 0.97
    gaps[0, 5, 1] = 0.0
    said = [why for _, why in table.examples(numbers)]
    assert said.count("mine, by drop furthest ahead of the others") == 1
    assert "mine, by drop furthest ahead of the others, another one" not in said
