"""Figures of answers that were made by hand, so that what tells is known."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lapilli.core.plain import plain
from lapilli.core.statistics.logistic import FOLDS
from lapilli.data.questions import PictureQuestion
from lapilli.report.hallucination.page import render
from lapilli.studies.hallucination.analysed_answers import AnalysedAnswer
from lapilli.studies.hallucination.analysis import _areas, _deletion, _regressions, analyse
from lapilli.studies.hallucination.scores import SCORES


def found(d, image, question, rng, turns=False):
    """As `measured` has it; `d` is the margin, and the prior what is left of it."""
    parts = {"image": image, "question": question, "prior": d - image - question, "missed": 0.0}
    readings = {name: {"d": d if name == "full" else -1.0, "direct": parts, "all_paths": parts}
                for name in ("full", "blank", "blurred", "swapped")}  # fmt: skip
    p = 1 / (1 + np.exp(-d))
    removed = {"named": -d if turns else d, "random": [d] * 20}
    return {"p_yes": p, "p_no": 1 - p, "entropy": rng.random(), "readings": readings, "knockout": 0.0, "grid": [1, 2],
            "maps": {"all_paths": [image, 0.0], "direct": [image, 0.0]}, "removed": removed}  # fmt: skip


def answers(tells, wrong=30, right=90, models=2, seed=0):
    """Yes to absent and to present objects; what `tells`, margin or image, is less where it is made up."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(models * (wrong + right)):
        made_up = number % (wrong + right) < wrong
        low = {name: 1.5 * (made_up and name == tells) for name in ("margin", "image")}
        d, image = 5 + rng.normal() - low["margin"], 2 + rng.normal() - low["image"]
        kind, answer = ("random", "no") if made_up else ("present", "yes")
        question = PictureQuestion(str(number), f"{number}.png", "Is there a dog?", answer, kind)
        group = "wrong yes" if made_up else "right yes"
        rows.append(
            AnalysedAnswer(number % models, number, question, group, found(max(d, 0.1), image, 1.0, rng, made_up))
        )
    return rows


def of(rows, task, model="pooled"):
    areas, tests = _areas(["a", "b"], rows, 0)
    return ({one["score"]: one for one in areas if (one["task"], one["model"], one["kind"]) == (task, model, "all")},
            {one["score"]: one for one in tests if one["task"] == task})  # fmt: skip


def test_an_image_part_that_tells_beats_a_margin_that_does_not():
    areas, tests = of(answers("image"), "yes")
    assert areas["image"]["value"] == pytest.approx(0.856, abs=0.05)  # of normal scores 1.5 apart
    assert areas["image"]["low"] < 0.856 < areas["image"]["high"]
    assert areas["margin"]["low"] < 0.5 < areas["margin"]["high"]
    assert tests["image"]["low"] > 0 and tests["image"]["holm"] < 0.05


def test_a_margin_that_tells_beats_an_image_part_that_does_not():
    areas, tests = of(answers("margin"), "yes")
    assert areas["probability"]["value"] == pytest.approx(0.856, abs=0.05)
    assert tests["image"]["high"] < 0 and tests["image"]["holm"] < 0.05
    assert areas["margin"]["value"] == areas["probability"]["value"]


def test_a_direction_is_not_turned_by_what_is_found():
    """The question's part was expected to be more where an answer is made up; here it is less."""
    rows = answers("margin")
    for one in rows:
        parts = dict(
            one.measurement["readings"]["full"]["all_paths"], question=1.0 if one.group == "wrong yes" else 2.0
        )
        one.measurement["readings"]["full"] = dict(one.measurement["readings"]["full"], all_paths=parts)
    areas, _ = of(rows, "yes")
    assert areas["question"]["value"] == 0


def test_what_shares_add_is_found_where_they_do_and_not_where_they_do_not():
    for tells, adds in (("image", True), ("margin", False)):
        (pooled, *each) = _regressions(["a", "b"], answers(tells), 0)
        assert [one["model"] for one in (pooled, *each)] == ["pooled", "a", "b"] and pooled["positives"] == 60
        assert (pooled["over_confidence"]["low"] > 0) == adds
        assert pooled["both"]["value"] == pytest.approx(0.856, abs=0.06)
    assert list(_regressions(["a", "b"], answers("image", wrong=9), 0)) == []


@pytest.mark.parametrize("pictures", [1, 2, FOLDS - 1])
def test_answers_about_few_pictures_are_too_few_for_folds_and_have_a_page(pictures):
    rows = [
        replace(one, question=replace(one.question, image=f"{number % pictures}.png"))
        for number, one in enumerate(answers("image"))
    ]
    assert list(_regressions(["a", "b"], rows, 0)) == []
    made = analyse(
        ["a", "b"], [one.question for one in rows[::2]], answers=[["yes"] * (len(rows) // 2)] * 2, analysed=rows,
        matchings=[], picture_of=lambda one: Image.new("RGB", (2, 2)), seed=0,
    )  # fmt: skip
    page = render(plain(made))
    assert "about fewer than 10 pictures" in page and ("<td>–</td></tr>" in page) == (pictures == 1)


def test_a_score_that_is_shuffled_tells_nothing():
    rows = answers("image")
    order = np.random.default_rng(5).permutation(len(rows))
    mixed = [AnalysedAnswer(one.model, one.number, one.question, one.group, rows[other].measurement)
             for one, other in zip(rows, order, strict=True)]  # fmt: skip
    areas, tests = of(mixed, "yes")
    outside = [name for name, one in areas.items() if not one["low"] <= 0.5 <= one["high"]]
    assert len(outside) <= 3  # of 17, most of them the same few numbers
    assert all(one["holm"] > 0.05 for one in tests.values())


def test_models_are_not_compared_with_each_other():
    """One model's logits are ten times the other's: within each, the margin tells all the same."""
    rows = answers("margin")
    areas, _ = of(rows, "yes")
    for one in rows:
        if one.model:
            one.measurement["readings"]["full"]["d"] *= 10
    louder, _ = of(rows, "yes")
    assert louder["margin"]["value"] == areas["margin"]["value"]


def test_an_answer_whose_margin_is_on_the_other_side_is_left_out_and_counted():
    rows = answers("margin", wrong=5, right=10, models=1)
    rows[0].measurement["readings"]["full"]["d"] = -1.0
    asked = [one.question for one in rows]
    made = analyse(
        ["a"], asked, answers=[["yes"] * len(asked)], analysed=rows, matchings=[],
        picture_of=lambda name: Image.new("RGB", (9, 9)), seed=0,
    )  # fmt: skip
    assert made["left_out"] == 1 and made["taken"] == {"wrong yes": 4, "right yes": 10, "right no": 0}
    assert made["models"][0]["groups"]["wrong yes"] == 5


def test_deletions_are_counted_by_group():
    rows = answers("margin")
    assert _deletion("wrong yes", rows, 0)["named"]["estimate"] == 1.0
    right = _deletion("right yes", rows, 0)
    assert (right["named"]["estimate"], right["random"]["value"], right["named"]["n"]) == (0.0, 0.0, 180)


def test_the_list_of_scores_is_turned_as_it_says():
    rows = answers("margin", wrong=1, right=1, models=1)
    for score in SCORES:
        assert score.turned(rows[0].measurement) == (1 if score.more else -1) * score.of(rows[0].measurement)
