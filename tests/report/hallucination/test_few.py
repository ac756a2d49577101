"""What the page says where there is too little to say anything of."""

import pytest
from tests.report.hallucination.test_page import matched, result

from lapilli.report.hallucination import story
from lapilli.report.hallucination.page import render
from lapilli.report.kit.figures import number


@pytest.mark.parametrize("image", [0.5, 0.99])
@pytest.mark.parametrize(("wrong", "grounded"), [(1, 50), (19, 50), (50, 19)])
def test_of_too_few_answers_on_a_side_no_score_is_called_better_or_worse(wrong, grounded, image):
    few = result({"image": image}, wrong=wrong)
    few["taken"]["right yes"] = grounded
    for one in few["areas"]:
        one["n"] = wrong + grounded
    assert story.headline(few) == "Too few answers to tell"
    assert story.opening(few)[1].startswith(f"{wrong} made-up and {grounded} grounded yes were taken apart")
    assert not any(word in " ".join(story.verdict(few)) for word in ("beyond chance", "best of them", "regression"))


def test_twenty_on_each_side_are_enough():
    enough = result(wrong=20)
    for one in enough["areas"]:
        one["n"] = 40
    assert story.headline(enough) == "Confidence says more than any share"


def test_a_task_without_a_pair_is_left_out_and_nothing_is_claimed():
    alone = result()
    alone["areas"] = [one for one in alone["areas"] if one["task"] == "absent"]
    assert story.headline(alone) == "Too few answers to tell"
    assert "<h2>absent?</h2>" in (page := render(alone)) and "<h2>yes?</h2>" not in page


def test_a_kind_with_few_made_up_answers_has_an_area_without_an_interval():
    few = result()
    kind = {"task": "yes", "model": "pooled", "kind": "adversarial", "positives": 2, "score": "image"}
    few["areas"].append(kind | {"value": 0.83, "low": 0.81, "high": 0.97, "n": 52})
    assert "<td>0.83<span" in (page := render(few)) and "[0.81, 0.97]" not in page and "2 of 52" in page


def test_of_one_made_up_answer_the_page_is_drawn_without_intervals():
    one = result(wrong=1)
    one["matched"] = matched(1)
    of_means = [*one["deletions"], *one["matched"]["groups"], one["matched"]]
    for estimate in (*one["areas"], *(found["random"] for found in of_means)):
        estimate |= {"low": None, "high": None}
    assert "[–, –]" in (page := render(one)) and "of fewer than 20 pairs nothing is claimed" in page


def test_a_zero_has_no_sign():
    assert number(-0.001, sign=True) == number(0.0) == "0.00"
    assert number(-0.01) == "−0.01"
