"""What a reader asks for, of numbers that are made for it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from lapilli.core.run import RunDir
from lapilli.report.scorecard.card import read_card
from lapilli.report.scorecard.words import headline
from lapilli.studies.scorecard import table
from lapilli.studies.scorecard.curves import POINTS, Curves
from lapilli.studies.scorecard.halves import Used
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.sanity import file_of

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
    blind = np.where(np.arange(CASES)[:, None] < 30, [0.1, 1, 0.15], np.nan)
    blind[:10, [0, 2]] = [0.55, 0.6]  # a few large things: the mean is not the median
    return table.Numbers(
        METHODS, ("blur", "drop"), [], Curves(falling, late), {"gap": gaps}, empty.swapaxes(0, 1),
        dict.fromkeys(("pointing", "energy", "precision"), covered), blind,
        Used(np.arange(len(METHODS)), np.zeros((CASES, len(METHODS)), np.intp)),
    )  # fmt: skip


def losses(numbers):
    return table.losses(table.best_tests(numbers, 0))


def test_our_best_is_chosen_on_one_half_and_compared_on_the_other(numbers):
    """Two of ours, each lucky in one half: the one that is chosen is lucky in the half that it is not compared on."""
    gaps = numbers.metrics["gap"][0]
    even = np.arange(CASES) % 2 == 0
    gaps[:, 1], gaps[:, 2], gaps[:, 3] = 0.6, np.where(even, 0.9, 0.5), np.where(even, 0.4, 1.2)
    (best, _), found = table.bests(numbers, 0), table.best_tests(numbers, 0)
    assert (best["operator"], best["method"], best["chosen_on"], best["n"]) == ("blur", "mine", 20, 20)
    assert best["value"] == pytest.approx(0.5)
    rows = {row["other"]: row for row in found if row["operator"] == "blur"}
    assert set(rows) == {"random", "good"} and {row["one"] for row in rows.values()} == {"mine"}
    assert rows["good"]["difference"] == pytest.approx(-0.1) and rows["good"]["n"] == 20
    (lost,) = (row for row in losses(numbers) if row["operator"] == "blur")
    assert (lost["ours"], lost["other"], lost["n"]) == ("mine", "good", 20)
    assert lost["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("cases", "said"), [(10, "Cannot be tested: "), (20, "Ours is more faithful than every other.")]
)
def test_of_ten_questions_the_headline_names_no_winner(numbers, cases, said):
    """Ours is far ahead in every case: of ten, five are left to compare on, and no test of five is significant."""
    gaps = np.array([0.0, 0.1, 0.8, 0.7, 0.2]) + np.random.default_rng(0).normal(0, 0.01, (2, cases, len(METHODS)))
    few = replace(numbers, metrics={"gap": gaps})
    rows = [{"name": method.name, "family": method.family, "ours": method.ours} for method in METHODS]
    scores = [{"method": name, "operator": "blur", "metric": "gap", "value": 0.1} for name in MEANS]
    compared = table.best_tests(few, 0)
    card = read_card({
        "methods": rows, "scores": scores, "settings": {"primary": "blur"}, "best": table.bests(few, 0),
        "best_tests": compared, "losses": table.losses(compared),
    })  # fmt: skip
    assert headline(card).startswith(said)


def test_of_noise_our_best_is_ahead_of_nobody(numbers):
    """Of methods that are all alike, the best by the cases that it is tested on would be ahead."""
    rng = np.random.default_rng(4)
    ours = tuple(Method(f"mine {number}", "zero-pass", np.zeros_like, ours=True) for number in range(20))
    held_out, same = [], []
    for _ in range(60):
        gaps = rng.normal(0, 1, (1, CASES, 22))
        made = replace(numbers, methods=(*METHODS[:2], *ours), operators=("blur",), metrics={"gap": gaps})
        mine = table.best(made, 0)
        held_out.append(gaps[0, mine.compared, mine.method].mean() - gaps[0, mine.compared, 1].mean())
        same.append((gaps[0] - gaps[0, :, [1]].T).mean(0)[2:].max())
    assert abs(np.mean(held_out)) < 3 * np.std(held_out) / np.sqrt(60)
    assert np.mean(same) > 5 * np.std(same) / np.sqrt(60)


def test_where_none_of_ours_is_held_out_there_is_no_best(numbers):
    methods = tuple(replace(one, operators=("blur",)) if one.ours else one for one in METHODS)
    found = table.bests(replace(numbers, methods=methods), 0)
    assert [row["operator"] for row in found] == ["drop"]


def test_what_chance_is_depends_on_the_operator_where_it_must(numbers):
    found = table.chances(numbers)
    for name in ("insertion", "deletion"):
        assert found[name] == pytest.approx({"blur": (0.5 + 1 - 1 / 48) / 2, "drop": 0.5})
    assert found["early"] == pytest.approx({"blur": (0.875 + 1) / 2, "drop": 0.875})
    assert (found["gap"], found["flip"], found["slope"]) == (0.0, 0.0, None)
    place = [found[name] for name in ("pointing", "energy", "precision")]
    assert place == pytest.approx([0.25, 1, 0.3])  # where it is known what the question is about


def test_where_no_place_is_known_pointing_has_no_chance(numbers):
    found = table.chances(replace(numbers, chance=np.full((CASES, 3), np.nan)))
    assert (found["pointing"], found["precision"], found["energy"]) == (None, None, None)


def test_faults_of_released_codes_are_scored_but_neither_tested_nor_ranked(numbers):
    assert {row["method"] for row in table.scores(numbers, 0)} == set(MEANS)
    tested = table.tests(numbers, 0)
    assert not [row for row in tested if "wrong grid" in (row["one"], row["other"])]
    compared = table.best_tests(numbers, 0)
    assert not [row for row in (*compared, *table.losses(compared)) if row["other"] == "wrong grid"]
    assert "wrong grid" not in table.front(numbers, 0, dict.fromkeys(MEANS, 1.0) | {"wrong grid": 0.1})
    without = table.agreement(numbers, 0)
    numbers.metrics["gap"][0, :, -1] = -9
    assert table.agreement(numbers, 0) == without


def test_who_is_ahead_has_the_difference_and_the_wins(numbers):
    gaps = numbers.metrics["gap"][0]
    gaps[:, 2] = gaps[:, 1] + 0.2
    gaps[:10, 2] = gaps[:10, 1] - 0.2
    gaps[10:14, 2] = gaps[10:14, 1]  # ties count half
    found = {(row["one"], row["other"]): row for row in table.tests(numbers, 0) if row["operator"] == "blur"}
    assert found["mine", "good"]["difference"] == pytest.approx(0.2 * (26 - 10) / 40)
    assert found["mine", "good"]["wins"] == pytest.approx((26 + 4 / 2) / 40)
    assert found["good", "random"]["wins"] == found["mine, by drop", "random"]["wins"] == 1


def test_losses_say_by_how_much_ours_is_behind_and_how_often_it_is_not(numbers):
    numbers.metrics["gap"][1, :, 2] = numbers.metrics["gap"][1, :, 1] - 0.3
    numbers.metrics["gap"][1, :8, 2] += 0.4
    (lost,) = losses(numbers)
    assert lost["difference"] == pytest.approx(0.3 - 0.4 * 8 / 40) and lost["wins"] == 8 / 40
    assert lost["n"] == CASES  # it is the only one of ours that is held out: nothing was chosen
    assert 0 < lost["low"] < lost["difference"] < lost["high"] < 0.3


def test_p_values_hold_for_all_tests_of_an_operator_together(numbers):
    """Of six, five are won in all cases or in none: one way of 2 ** 40 to sign them, and its opposite."""
    found, least = table.tests(numbers, 0), 2 / 2**40
    for operator, gaps in numbers.under("gap"):
        tested = {(row["one"], row["other"]): row for row in found if row["operator"] == operator}
        last = tested.pop(("mine, by drop", "good"))
        p = wilcoxon(gaps[:, 3], gaps[:, 1]).pvalue
        assert last["p"] == last["holm"] == pytest.approx(p, abs=0) and p > 100 * least  # the largest stays as it is
        assert [row["p"] for row in tested.values()] == pytest.approx([least] * 5, abs=0)
        assert [row["holm"] for row in tested.values()] == pytest.approx([6 * least] * 5, abs=0)


def test_rankings_that_are_alike_agree_and_opposite_ones_do_not(numbers):
    gaps, plausible = numbers.metrics["gap"], numbers.plausible
    gaps[1, :, [1, 3]] = gaps[1, :, [3, 1]]  # one of six pairs is the other way round
    plausible["energy"], plausible["precision"] = -gaps[0], gaps[0]
    plausible["pointing"] = np.full_like(gaps[0], np.nan)
    found = {(row["one"], row["other"]): row for row in table.agreement(numbers, 0)}
    expected = {("blur", "drop"): 4 / 6, ("blur", "energy"): -1, ("blur", "precision"): 1,
                ("drop", "energy"): -4 / 6, ("drop", "precision"): 4 / 6}  # fmt: skip
    assert {pair: row["tau"] for pair, row in found.items()} == pytest.approx(expected)
    assert all(row["low"] <= row["tau"] <= row["high"] and row["n"] == CASES for row in found.values())


def test_a_curve_is_shown_under_its_direction_operator_and_method(numbers):
    numbers.curves.lerf[:, 1, 2] = numbers.curves.lerf[:, 0, 2]
    falling = np.linspace(1, 0, POINTS).round(4).tolist()
    late = [1.0] * (POINTS - 1) + [0.0]
    found = table.curves(numbers)
    assert found["blur"] == {name: {"morf": falling, "lerf": late} for name in MEANS}
    lerf = dict.fromkeys(MEANS, falling) | {"mine": late}
    assert found["drop"] == {name: {"morf": falling, "lerf": lerf[name]} for name in MEANS}


def test_a_map_is_held_against_the_one_of_its_own_case(numbers, tmp_path):
    """One method's map is as it was, one's is turned round, one's has only its strongest patch in common."""
    rng = np.random.default_rng(1)
    maps = [rng.permuted(np.tile(np.arange(8.0), (len(METHODS), 1)), axis=1) for _ in range(6)]
    changed = np.array(maps)
    changed[:, 1] *= -1
    changed[:, 2] = np.where(changed[:, 2] == 7, 7, -changed[:, 2])
    changed[4, 3] = np.nan
    run = RunDir.create(tmp_path / "run", {}, 0)
    for test in ("mirrored", "bfloat16"):
        run.save_arrays(file_of(test), {"maps": changed})
        run.save(file_of(test), {"cases": len(changed)})
    rows = table.sanity(replace(numbers, maps=maps), run, 0)
    found = {(row["test"], row["method"]): row for row in rows}
    names = ["mine", "mine, by drop", "random", "good", "wrong grid"]  # ours first
    assert list(found) == [(test, name) for test in ("mirrored", "bfloat16") for name in names]
    values = {test: [found[test, name]["value"] for name in names] for test in ("mirrored", "bfloat16")}
    left = 1 - 6 * sum((2 * rank - 6) ** 2 for rank in range(7)) / (8 * 63)  # seven ranks are turned round
    assert values["mirrored"] == pytest.approx([left, 1, 1, -1, 1])
    assert values["bfloat16"] == [1, 1, 1, 0, 1]
    assert [found["mirrored", name]["n"] for name in names] == [6, 5, 6, 6, 6]


def test_a_method_that_is_judged_by_its_own_way_is_not_our_best(numbers):
    lost = losses(numbers)
    assert [(row["operator"], row["ours"], row["other"]) for row in lost] == [("drop", "mine", "good")]


def test_a_few_large_losses_count_although_the_test_of_ranks_does_not_see_them(numbers):
    """Most cases are alike; in a few ours is far behind."""
    gaps = numbers.metrics["gap"]
    gaps[0, :, 3] = 0.8
    gaps[0, :, 1] = 0.8 + np.where(np.arange(CASES) % 4 == 3, 0.9, -0.01)
    (lost,) = (row for row in losses(numbers) if row["operator"] == "blur")
    assert lost["low"] > 0 and lost["holm"] > 0.05


def test_the_front_holds_what_nothing_is_both_faster_and_better_than(numbers):
    seconds = {"random": 0.1, "good": 0.2, "mine": 0.3, "mine, by drop": 0.3, "wrong grid": 9.0}
    assert table.front(numbers, 0, seconds) == ["random", "good", "mine, by drop"]
    numbers.metrics["gap"][1, :, 3] = 0.6
    assert table.front(numbers, 1, seconds) == ["random", "good"]


def test_examples_are_the_cases_that_they_are_said_to_be(numbers):
    gaps = numbers.metrics["gap"]
    gaps[0, :, 1] = 0.85
    gaps[0, :, 3] = np.where(np.arange(CASES) % 2, 0.7, 0.9)
    gaps[0, [7, 9, 11, 13], 3] = [3, 2, -2, -1]
    gaps[0, [20, 23], 1] = [-1, 0.1]
    gaps[0, [26, 28, 30], 3] = 0.8  # the median
    best = "mine, by drop"
    expected = [(7, "at its best"), (9, "at its best, another one"), (11, "at its worst"),
                (13, "at its worst, another one"), (20, "furthest ahead of the others"),
                (23, "furthest ahead of the others, another one")]  # fmt: skip
    found = table.examples(numbers)
    assert found[:6] == [(case, f"{best} {why}") for case, why in expected]
    assert found[6:] == [(26, f"a usual case of {best}"), (28, f"a usual case of {best}, another one")]


def test_furthest_ahead_is_only_what_is_ahead(numbers):
    gaps = numbers.metrics["gap"]
    gaps[0, :, 3] = np.linspace(0.3, 0.95, CASES)
    gaps[0, :, 1] = 0.97
    gaps[0, 5, 1] = 0.0
    said = [why for _, why in table.examples(numbers)]
    assert said.count("mine, by drop furthest ahead of the others") == 1
    assert "mine, by drop furthest ahead of the others, another one" not in said
