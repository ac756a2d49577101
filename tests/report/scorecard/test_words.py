import math
import re

import pytest
from tests.report.scorecard.fake import fake_scorecard

from lapilli.report.kit.figures import THIN
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import figure, read_card
from lapilli.report.scorecard.page import render


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.4712, "0.47"),
        (-0.031, "−0.03"),
        (-0.001, "0.00"),
        (12.34, "12.3"),
        (9.996, "10.0"),
        (345.6, "346"),
        (None, "–"),
    ],
)
def test_plain_numbers(value, said):
    assert words.plain(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (2e-5, "20 µs"),
        (0.0213, "21 ms"),
        (0.001, "1.0 ms"),
        (2.74, "2.7 s"),
        (95, "95 s"),
        (200, "3.3 min"),
        (0, "0 s"),
    ],
)
def test_spans_of_time(seconds, said):
    assert words.span(seconds) == said.replace(" ", THIN)


@pytest.mark.parametrize("row", [{"low": None, "high": None}, {"low": math.nan, "high": 0.5}, {"low": 0.1}, {}])
def test_a_figure_of_too_few_samples_has_no_interval(row):
    few = figure({"value": 0.25, "n": 1, **row})
    assert (words.with_interval(few), words.interval(few)) == ("0.25", "")
    whole = figure({"value": 0.25, "low": 0.25, "high": 0.25})  # an interval of equal samples is one
    assert (words.with_interval(whole), words.interval(whole)) == ("0.25 (0.25 to 0.25)", "0.25 to 0.25")


def test_of_one_question_the_page_has_no_interval():
    told = fake_scorecard()
    for key in ("scores", "best", "best_tests", "tests", "sanity", "agreement"):
        told[key] = [row | {"low": None, "high": None, "n": 1} for row in told[key]]
    page = render(told | {"losses": []})
    assert re.findall(r"\bnan\b|\bNone\b|\(\)", re.sub(r"(?s)<script.*?</script>|data:[^\")]*", "", page)) == []
    assert re.findall(r"(−?\d\.\d\d) to \1|– to –", page) == []


def test_ticks_have_no_empty_decimal():
    assert words.span(0.01, True) == f"10{THIN}ms"
    assert words.span(1.0, True) == f"1{THIN}s"
    assert words.span(2.5, True) == f"2.5{THIN}s"


def test_ticks_have_the_decimals_that_their_step_needs():
    assert words.ticks([0.0, 0.025, 0.05]) == ["0.000", "0.025", "0.050"]
    assert words.ticks([-0.2, 0.0, 0.2], sign=True) == ["−0.20", "0.00", "+0.20"]
    assert words.ticks([]) == []


def card(losses, **more):
    methods = [
        {"name": "ours", "ours": True, "seconds": {"value": 0.1}},
        {"name": "slow", "operators": ["blur"], "seconds": {"value": 2.0}},
        {"name": "fast", "seconds": {"value": 0.05}},
    ]
    gaps = {"ours": 0.4, "slow": 0.6, "fast": 0.5}
    scores = [
        {"method": name, "operator": operator, "metric": "gap", "value": value}
        for operator in ("blur", "drop")
        for name, value in gaps.items()
    ]
    best = [
        {"operator": operator, "method": "ours", "value": 0.42, "low": 0.4, "high": 0.44, "n": 20, "chosen_on": 21}
        for operator in ("blur", "drop")
    ]
    lost = {} if losses is None else {"losses": losses}
    return read_card({"methods": methods, "scores": scores, "best": best, **lost, **more})


def loss(other, difference, low, high, operator="blur"):
    return {
        "operator": operator, "ours": "ours", "other": other, "difference": difference, "low": low, "high": high,
        "holm": 0.01, "wins": 0.2,
    }  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_a_loss_is_how_far_the_other_is_ahead_whichever_was_taken_from_which(sign):
    ends = sorted((sign * 0.15, sign * 0.25))
    (found,) = words.losses(card([loss("slow", sign * 0.2, *ends)]))
    assert (found.ahead.value, found.ahead.low, found.ahead.high) == pytest.approx((0.2, 0.15, 0.25))
    assert found.own


def test_losses_come_by_operator_the_primary_first_and_the_largest_first():
    given = [loss("fast", 0.1, 0, 1, "drop"), loss("fast", 0.1, 0, 1), loss("slow", 0.2, 0, 1)]
    found = words.losses(card(given))
    assert [(row.operator, row.other) for row in found] == [("blur", "slow"), ("blur", "fast"), ("drop", "fast")]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([("slow", "blur"), ("fast", "blur"), ("slow", "drop")], "Two methods are more faithful than ours."),
        ([("slow", "blur")], "One method is more faithful than ours."),
        ([("slow", "drop")], "Ours loses under another operator."),
        ([], "None is measurably more faithful than ours."),
        (None, "Not tested against each other."),
    ],
)
def test_the_headline_counts_who_is_above_our_best(losses, said):
    rows = None if losses is None else [loss(other, 0.2, 0.1, 0.3, operator) for other, operator in losses]
    assert words.headline(card(rows)) == said


def planted(**sides):
    """A scorecard whose paired tests say of each rival what was planted: up, down, even, or torn; losses follow."""
    rows = []
    for other, side in sides.items():
        ahead = -0.1 if side in ("down", "mean", "torn") else 0.1
        rows.append({
            "operator": "blur", "metric": "gap", "one": "ours", "other": other, "difference": ahead,
            "low": ahead - 0.05, "high": ahead + 0.05, "holm": 0.4 if side in ("even", "mean") else 0.01,
            "wins": 0.8 if (ahead > 0) != (side == "torn") else 0.2,
        })  # fmt: skip
    lost = [{"ours": "ours", **{key: row[key] for key in row if key != "one"}} for row in rows if row["difference"] < 0]
    return card(lost, best_tests=rows)


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ({"slow": "up", "fast": "up"}, "Ours is more faithful than every other."),
        ({"slow": "down", "fast": "up"}, "One method is more faithful than ours."),
        ({"slow": "down", "fast": "mean"}, "One method is more faithful than ours."),
        ({"slow": "mean", "fast": "up"}, "Ours is not told apart from slow."),  # ahead by its mean alone
        ({"slow": "torn", "fast": "up"}, "Ours is not told apart from slow."),
        ({"slow": "even", "fast": "mean"}, "Ours is not told apart from 2 others."),
        ({"slow": "even", "fast": "up"}, "Ours is not told apart from slow."),
        ({"slow": "down", "fast": "down"}, "Two methods are more faithful than ours."),
    ],
)
def test_the_headline_says_what_the_paired_test_says(sides, said):
    given = planted(**sides)
    assert words.headline(given) == said
    page = render(given.raw)
    assert said in page
    assert ("Where ours loses" in page) == ("down" in sides.values())
    assert ("Ahead by the mean alone" in page) == bool({"mean", "torn"} & set(sides.values()))
    assert page.index("<b>gap</b>") < page.index("has a gap of")  # defined where it first stands


def compared(rivals, questions, holm=0.01):
    """A scorecard whose best of ours was compared with so many others on so many questions, far ahead of them all."""
    names = [f"other {number}" for number in range(rivals)]
    head = {"operator": "blur", "metric": "gap", "one": "ours"}
    rows = [
        head | {"other": name, "difference": 0.5, "low": 0.4, "high": 0.6, "holm": holm, "wins": 1.0, "n": questions}
        for name in names
    ]
    raw = card([]).raw
    methods = [row for row in raw["methods"] if row.get("ours")] + [{"name": name} for name in names]
    scores = [{"method": name, "operator": "blur", "metric": "gap", "value": 0.1} for name in ("ours", *names)]
    return read_card(raw | {"methods": methods, "scores": scores, "best_tests": rows})


@pytest.mark.parametrize(("rivals", "enough"), [(1, 6), (2, 7), (3, 7), (14, 10), (24, 10), (26, 11)])
def test_the_headline_names_nobody_where_no_outcome_could_be_significant(rivals, enough):
    """As many rivals need so many questions: p = 2 / 2^n times the rivals, below .05."""
    for questions in (1, 2, enough - 1):
        few = compared(rivals, questions)
        assert words.headline(few) == f"Cannot be tested: too few questions ({questions} to compare on)."
        assert "Ours is more faithful" not in render(few.raw) and words.headline(few) in render(few.raw)
    assert words.headline(compared(rivals, enough)) == "Ours is more faithful than every other."


def test_the_page_says_on_which_questions_our_best_was_chosen():
    given = planted(slow="up", fast="down")
    assert words.strongest(given) == ("fast", pytest.approx(0.42 + 0.1))
    page = " ".join(render(given.raw).split())
    assert "has a gap of <strong>0.42</strong>" in page and "on 20 questions" in page
    assert "fast has the largest there, <strong>0.52</strong>" in page
    assert "best of ours on 21 other questions" in page
    alone = [row | {"chosen_on": 0} for row in given.raw["best"]]  # of one there is nothing to choose
    assert "best of ours on" not in render(given.raw | {"best": alone})


def test_a_scorecard_that_chose_no_best_claims_none():
    told = {key: value for key, value in card([]).raw.items() if key != "best"}
    assert words.headline(read_card(told)) == "Not tested against each other."


def test_who_is_ahead_by_the_mean_alone_has_no_price():
    given = planted(slow="mean", fast="up")
    assert words.price(given, words.losses(given)) == ""


def test_without_one_of_ours_that_is_held_out_nothing_is_claimed():
    told = card([]).raw | {"best": []}
    own = [row | {"operators": ["blur"] if row.get("ours") else []} for row in told["methods"]]
    others = [row for row in own if not row.get("ours")]
    for methods, said in (
        (own, "None of ours is held out under blur."),
        (others, "None of our own methods was scored."),
    ):
        without = told | {"methods": methods}
        assert words.headline(read_card(without)) == said
        assert "No method’s" not in (page := render(without)) and "No method's mean gap" not in page


def test_beside_floors_alone_nothing_is_claimed():
    told = card([]).raw
    rows = [row | ({} if row.get("ours") else {"family": "floor"}) for row in told["methods"]]
    assert words.headline(read_card(told | {"methods": rows})) == "Ours, beside floors alone."


def test_a_loss_by_the_mean_alone_is_said_to_be_that():
    unsure, torn = loss("fast", 0.1, 0.01, 0.2) | {"holm": 0.3}, loss("fast", 0.05, 0.01, 0.2) | {"wins": 0.9}
    found = words.losses(card([loss("slow", 0.2, 0.1, 0.3), unsure, torn]))
    assert [one.significant for one in found] == [True, False, False]  # most cases speak against the last one


def test_the_price_of_those_ahead_names_who_is_faster_as_well():
    both = card([loss("slow", 0.2, 0.1, 0.3), loss("fast", 0.1, 0.05, 0.15)])
    said = words.price(both, words.losses(both))
    assert said == f"Faster than ours as well: fast. The others take 20 times as long per map (100{THIN}ms for ours)."
    slow = card([loss("slow", 0.2, 0.1, 0.3)])
    assert words.price(slow, words.losses(slow)) == f"It takes 20 times as long per map (100{THIN}ms for ours)."


def test_what_repeats_a_released_fault_is_nobodys_rival():
    told = card([]).raw
    rows = [row | {"released": not row.get("ours")} for row in told["methods"]]
    assert words.rivals(read_card(told | {"methods": rows})) == []


def test_a_test_of_ranks_that_speaks_against_the_mean_decides_nothing():
    row = {"difference": -0.1, "holm": 0.01}
    assert [words.verdict(row | {"wins": wins}) for wins in (0.1, 0.9)] == ["down", "even"]


@pytest.mark.parametrize(("difference", "holm", "said"), [(0.1, 0.01, "up"), (-0.1, 0.01, "down"), (0.1, 0.05, "even")])
def test_a_test_is_judged_by_its_p_value_for_all_tests_together(difference, holm, said):
    assert words.verdict({"difference": difference, "holm": holm}) == said


def test_tests_against_random_are_those_of_the_gap():
    told = fake_scorecard()
    told["tests"].append({**told["tests"][0], "metric": "flip", "other": "random", "one": "nobody"})
    found = words.against_random(read_card(told))
    assert len(found) == 4 * 27
    assert all(row["other"] == "random" and row["metric"] == "gap" for row in found.values())
