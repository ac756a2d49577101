"""The page of a judging, from values by hand."""

import pytest

from lapilli.report.judging.chart import score_chart
from lapilli.report.judging.page import by_category, cut, ends, render, worst_and_best

HOSTILE = "<script>alert(1)</script> \u202e </p>"
FIGURES = {
    "relative": 84.5, "relative_interval": [80.0, 90.5], "reference": 81.0, "reference_interval": [75, 85],
    "candidate": 68.4, "candidate_interval": [60, 70], "difference": -1.25, "difference_interval": [-2.0, -0.5],
    "detectable": 0.9, "wins": 1, "ties": 0, "losses": 2, "position_bias": 0.75, "position_bias_interval": [0.5, 1.0],
    "agreement": 0.8, "agreement_interval": [0.5, 0.95], "n": 3, "one_order": 0, "unparsed": 1,
}  # fmt: skip
COUNTS = {"unparsed": 1, "refused": 0, "judgements": 12}
SPENT = {"input": 1000, "cached": 20, "cache_write": 3, "output": 200}
PLAN = {"procedure": "balanced", "samples": 2, "model": HOSTILE, "rubric": "v1"}
REPORT = {"trials": 12, "done": 12, "stopped": "", "spent": SPENT, "cost": 0.5}
REPORT |= {"figures": {"all": FIGURES, "conv": FIGURES | {"n": 2, "relative": None}, HOSTILE: FIGURES} | COUNTS}


def judgement(scores, text=HOSTILE, failure="", first=False):
    return {"answer_first": first, "sample": 0, "scores": scores, "text": text, "failure": failure}


def pair(name, score, reference, agree=True):
    return {
        "id": name, "category": HOSTILE, "image": "", "question": HOSTILE, "reference": HOSTILE, "answer": HOSTILE,
        "score": score, "reference_score": reference, "both_orders": True, "agree": agree,
        "judgements": [judgement([reference, score]), judgement(None), judgement(None, "", HOSTILE, first=True)],
    }  # fmt: skip


PAIRS = [pair("a", 3.0, 8.0), pair("b", 9.0, 7.5, agree=False), pair("c", 6.0, 6.0), pair("d", None, None, agree=None)]


@pytest.mark.parametrize("procedure", ["balanced", "published"])
def test_everything_is_said_and_all_text_is_text(procedure):
    page = render(PLAN | {"procedure": procedure}, REPORT, PAIRS)
    assert "<script" not in page and "\u202e" not in page and "&lt;script&gt;alert(1)" in page
    assert "84.5 % of the reference" in page and "[80.0, 90.5]" in page and "1,223" in page
    for title in ("Worse than the reference: 1 pair<", "Better than the reference: 1 pair<", "As good: 1 pair<"):
        assert title in page
    assert "The two orders disagree: 1 pair<" in page and "not read</span>" in page
    assert ("+0.75 [0.50, 1.00]" in page) is (procedure == "balanced")
    assert ("in the means as −1" in page) is (procedure == "published")


def test_a_run_without_any_judgement_has_a_page():
    page = render(PLAN, REPORT | {"figures": COUNTS, "stopped": "the next call could exceed", "done": 0}, [])
    assert "No judgement was read" in page and "Not whole: 0 of 12" in page


def test_the_worst_and_the_best_come_first():
    kinds = worst_and_best([*PAIRS, pair("e", 1.0, 9.0), pair("f", 10.0, 2.0)])
    assert [[one["id"] for one in of] for of in kinds.values()] == [["e", "a"], ["f", "b"], ["c"]]


def test_of_many_pairs_the_first_are_shown_and_all_are_counted():
    page = render(PLAN, REPORT, [pair(f"pair-{at:03}", 1.0, 2 + at / 100) | {"judgements": []} for at in range(140)])
    assert "Worse than the reference: 140 pairs<" in page and "The first 100 are shown" in page
    assert "pair-139" in page and "pair-039" not in page


def test_categories_are_those_that_have_a_score():
    beside = {"without_unparsed": {"all": FIGURES}, "reparsed": {}, "audit": {"words": 3}, "unparsed": 2}
    assert list(by_category({"all": FIGURES, "conv": FIGURES} | beside)) == ["all", "conv"]


def test_the_picture_has_a_point_and_an_interval_for_each_category():
    drawn = score_chart(
        {"all": FIGURES, "conv": FIGURES | {"relative_interval": [None, None]}, "x": {"relative": None}}
    )
    assert drawn.count("<polygon") == 2 and drawn.count('class="whisker"') == 1
    assert "all 84.5, 80.0 to 90.5; conv 84.5" in drawn and score_chart({}) == ""


def test_texts_are_cut_and_intervals_said():
    assert (
        cut("a" * 2_000) == "a" * 1_200 + " …"
        and ends({}, "x") == ""
        and ends({"x_interval": [0, 1]}, "x") == "[0.0, 1.0]"
    )
