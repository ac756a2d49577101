"""The page of the study of hallucinations shows of every chart and every table the figure that is meant."""

import re

import numpy as np
import pytest
from tests.report.color.reading import charts, table, words
from tests.report.hallucination.test_page import estimate, result

from lapilli.report.hallucination import story
from lapilli.report.hallucination.page import render

SCORES = "<summary>Every score"


@pytest.fixture(scope="module")
def page():
    """Of the result with a number of its own wherever two would be alike."""
    made = result()
    made["models"][0]["groups"]["wrong no"] = 40
    for one in made["areas"]:
        if one["task"] == "absent":
            one.update(estimate(one["value"] - 0.3))
    about = {"task": "yes", "score": "image"}
    made["areas"].append(about | {"model": "model", "kind": "all", "positives": 50} | estimate(0.64))
    made["areas"].append(about | {"model": "pooled", "kind": "adversarial", "positives": 30} | estimate(0.66, 60))
    made["regressions"][0]["over_baseline"] = {"value": 0.04, "low": 0.02, "high": 0.07, "p": 0.03, "n": 250}
    made["deletions"][0] |= {"random": estimate(0.12), "difference": estimate(0.38)}
    made["matched"]["groups"][1] |= {"margin": 1.6, "random": estimate(0.17)}
    made["parts"]["wrong yes"] = made["parts"]["wrong yes"] | {"image": np.linspace(-2, 3, 21).tolist()}
    made["parts"]["right no"] = made["parts"]["right no"] | {"prior": [-1.0] * 10 + [2.0] * 10}
    return render(made)


def test_a_miss_is_a_no_to_what_is_there(page):
    assert table(page, "<h2>How often") == [["model", "5.0 % 50 of 1,000, 0.0 % to 10.0 %", "40 of 940", "2,000"]]


def test_made_up_yes_stand_beside_grounded_ones_like_them_and_named_patches_beside_random_ones(page):
    assert table(page, "<h2>Without the named patches") == [
        ["made-up yes", "40", "1.50", "93 % [80 %, 95 %]", "10 % [5 %, 15 %]"],
        ["grounded yes", "40", "1.60", "89 % [80 %, 95 %]", "17 % [12 %, 22 %]"],
        ["difference, in points", "", "", "+4.0 [−4.0, +12.0]", "+1.0 [−1.0, +3.0]"],
    ]
    assert table(page, "<summary>All that were taken apart, not matched") == [
        ["grounded yes", "100", "7.00", "50 % [40 %, 60 %]", "12 % [7 %, 17 %]"]
    ]
    assert "1 made-up answer without a grounded yes about the same object, 9 without one that is as sure" in words(page)
    assert "40 pairs; their margins are 0.21 logits apart on average" in words(page)


def test_every_score_has_its_areas_and_its_own_test(page):
    assert table(page, SCORES) == [
        ["the probability It is less.", "0.90 [0.85, 0.95]", "250", "–", "the baseline", ""],
        ["the image It is less.", "0.70 [0.65, 0.75]", "250", "0.66 [0.61, 0.71] 30 of 60", "−0.20 [−0.20, +0.10]",
         "0.001"],
        ["the blank It is less.", "0.80 [0.75, 0.85]", "250", "–", "−0.10 [−0.20, +0.10]", "0.001"],
    ]  # fmt: skip
    areas = [line[1] for line in table(page, SCORES, SCORES)]
    assert areas == ["0.60 [0.55, 0.65]", "0.40 [0.35, 0.45]", "0.50 [0.45, 0.55]"]


def test_what_shares_add_stands_beside_what_they_add_to(page):
    assert table(page, "<caption>What shares add to confidence") == [
        ["pooled", "50 of 250", "0.90 [0.85, 0.95]", "0.91 [0.86, 0.96]", "+0.01 [−0.01, +0.03]", "0.200",
         "+0.04 [+0.02, +0.07]"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "says", "value", "of_models"),
    [
        ("yes", "the image: 0.70 [0.65, 0.75], n = 250. It is less.", 0.7, [0.64]),
        ("absent", "the image: 0.40 [0.35, 0.45], n = 250. It is less.", 0.4, []),
    ],
)
def test_an_area_lies_between_0_and_1_with_its_interval_and_those_of_models(page, task, says, value, of_models):
    (row,) = (one for one in dict(charts(page))[f"{task}?"].iter("g") if one.findtext("title") == says)
    whisker, dot, *models = (one for one in row if one.tag in ("line", "circle"))
    drawn = [whisker.get("x1"), dot.get("cx"), whisker.get("x2"), *(one.get("cx") for one in models)]
    meant = [value - 0.05, value, value + 0.05, *of_models]
    assert [float(x) for x in drawn] == pytest.approx([10 + 356 * at for at in meant], abs=0.01)


@pytest.mark.parametrize(
    ("part", "group", "says", "ends"),
    [
        ("from the picture", "wrong-yes", "made-up yes: median +0.50, middle half −0.75 to 1.75",
         (-1.75, -0.75, 0.5, 1.75, 2.75)),
        ("from all else", "right-no", "right no: median +0.50, middle half −1.00 to 2.00", (-1, -1, 0.5, 2, 2)),
    ],
)  # fmt: skip
def test_a_box_holds_the_middle_half_and_its_line_the_middle_nine_tenths(page, part, group, says, ends):
    """On an axis from -3 to 3, as the other parts go so far and none further."""
    chart = dict(charts(page))["What the margin is made of"]
    (block,) = (one for one in chart.iter("g") if one.findtext("text") == part)
    (title, line, box, median), *_ = (one for one in block if one.get("class") == group)
    left = float(box.get("x"))
    drawn = [line.get("x1"), left, median.get("x1"), left + float(box.get("width")), line.get("x2")]
    assert title.text == says
    assert [float(x) for x in drawn] == pytest.approx([12 + 388 * (end + 3) / 6 for end in ends], abs=0.02)


@pytest.mark.parametrize(
    ("rule", "color"),
    [
        (".overlay .for", "fill: var(--glow)"),
        (".overlay .against", "fill: var(--sight)"),
        (".swatch.for", "background: var(--glow)"),
        (".swatch.against", "background: var(--sight)"),
    ],
)
def test_yes_has_the_warm_color_on_maps_and_in_their_legend(page, rule, color):
    assert re.findall(rf"{re.escape(rule)} {{ (.*?); }}", page) == [color]


def test_an_example_says_what_its_margin_is_made_of(page):
    example = words(page.split('<ul class="looks">')[1].split("</ul>")[0])
    assert "yes, 97.0 % made-up yes, adversarial · model" in example
    assert "margin +3.00: picture +0.70, question +2.00, else +0.30; blank picture −8.00" in example


def test_the_model_that_makes_up_least_says_how_many_questions_it_takes():
    made = result(wrong=7)
    made["models"] += [made["models"][0] | {"needed": needed} for needed in (9000, None)]
    assert any("About 9,000 questions would give 50 of each model." in sentence for sentence in story.opening(made))
