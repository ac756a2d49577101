"""The page of a study: what it says first, and that it is one file in which text stays text."""

import re

import numpy as np
import pytest

from lapilli.report.hallucination import story
from lapilli.report.hallucination.page import render, write_page

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
NAMES = {"probability": "confidence", "image": "parts", "blank": "control"}


def estimate(value, n=250, spread=0.05):
    return {"value": value, "low": value - spread, "high": value + spread, "n": n}


def result(areas=None, holm=0.001, gain=0.0, wrong=50, label="model"):
    """A result with these pooled areas; the tests' adjusted p is `holm`, and shares add `gain`."""
    label_counts = {"wrong yes": wrong, "right yes": 900, "right no": 950, "wrong no": 50, "other": 0}
    kind = {"count": wrong, "n": 1000, "estimate": wrong / 1000, "low": 0.0, "high": 0.1}
    turned = {"count": 50, "n": 100, "estimate": 0.5, "low": 0.4, "high": 0.6}
    parts = {name: np.linspace(-3, 3, 20).tolist() for name in ("image", "question", "prior", "full", "blank")}
    areas = {"probability": 0.9, "image": 0.7, "blank": 0.8} | (areas or {})
    tasks = {"yes": "right yes", "absent": "right no"}
    about = [(task, name) for task in tasks for name in NAMES]
    values = {"value": 0.01, "low": gain - 0.01, "high": gain + 0.03, "p": 0.2, "n": 250}
    return {
        "models": [
            {"label": label, "groups": label_counts,
             "kinds": {"adversarial": kind},
             "needed": 2000}
        ],
        "settings": {"seed": 0, "questions": 2000, "baseline": "probability", "folds": 10, "repeats": 10,
                     "controls": 20, "caliper": 0.2,
                     "confidence": ["probability"], "shares": ["image"]},
        "taken": {"wrong yes": wrong, "right yes": 200, "right no": 200},
        "left_out": 0,
        "missed": 2e-6,
        "tasks": [{"name": task, "against": against, "asks": f"{task}?"} for task, against in tasks.items()],
        "scores": [{"name": name, "title": f"the {name}", "family": family, "more": False, "says": "It is less."}
                   for name, family in NAMES.items()],
        "areas": [{"task": task, "model": "pooled", "kind": "all", "positives": wrong, "score": name,
                   **estimate(areas[name])} for task, name in about] if wrong else [],
        "tests": [{"task": task, "score": name, "value": areas[name] - areas["probability"], "low": -0.2, "high": 0.1,
                   "p": holm and holm / 2, "n": 250, "holm": holm} for task, name in about if name != "probability"],
        "regressions": [{"task": task, "model": "pooled", "positives": wrong, "confidence": estimate(0.9),
                         "both": estimate(0.91), "over_confidence": values, "over_baseline": values}
                        for task in ("yes",)],
        "deletions": [{"group": "right yes", "margin": 7.0, "named": turned,
                       "random": estimate(0.02), "difference": estimate(0.48)}],
        "matched": matched(),
        "parts": dict.fromkeys(("wrong yes", "right yes", "right no"), parts),
        "examples": [{"model": label, "group": "wrong yes", "kind": "adversarial", "question": f"Is there a {label}?",
                      "probability": 0.97, "margins": {"full": 3.0, "blank": -8.0}, "map": [1.0, -0.5, 0.0, 0.2],
                      "parts": {"image": 0.7, "question": 2.0, "prior": 0.3}, "grid": [2, 2], "picture": PIXEL}],
    }  # fmt: skip


def matched(pairs=40, low=-0.04, high=0.12):
    """So many pairs, of which the made-up yes fall more often by an interval from `low` to `high`."""
    groups = [
        {"group": group, "margin": 1.5, "named": {"count": 9, "n": pairs, "estimate": share, "low": 0.8, "high": 0.95},
         "random": estimate(0.1, pairs), "difference": estimate(0.8, pairs)}
        for group, share in (("wrong yes", 0.93), ("right yes", 0.89))
    ]  # fmt: skip
    return {"pairs": pairs, "without": 1, "far": 9, "apart": 0.21, "groups": groups if pairs else [],
            "named": {"estimate": 0.04, "low": low, "high": high} if pairs else None,
            "random": estimate(0.01, pairs, 0.02)}  # fmt: skip


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (matched(), "that a yes falls with its patches is not shown to mark it as made up."),
        (matched(low=0.01), "made-up ones fall more often."),
        (matched(low=-0.09, high=-0.01), "made-up ones fall less often."),
        (matched(pairs=19, low=0.01), "of fewer than 20 pairs nothing is claimed."),
    ],
)
def test_of_made_up_yes_without_their_patches_only_the_difference_to_grounded_ones_is_claimed(made, words):
    said = story.verdict(result() | {"matched": made})
    (sentence,) = (one for one in said if "the map names" in one)
    assert sentence.endswith(words) and "of made-up yes become no, and 89\u202f% [80\u202f%, 95\u202f%] of" in sentence
    assert f"({made['pairs']} pairs), without random patches 10\u202f% and 10\u202f%" in sentence
    assert not any("the map names" in one for one in story.verdict(result() | {"matched": matched(pairs=0)}))


def test_what_loses_to_confidence_is_the_headline():
    assert story.headline(result()) == "Confidence says more than any share"
    sentences = story.verdict(result())
    assert "2 are worse than that beyond chance and 0 better" in sentences[1]
    assert "0.90 [0.85, 0.95]" in sentences[1] and "n = 250, 50 made up" in sentences[1]
    assert "“the blank”: 0.80" in sentences[2]


def test_what_points_the_other_way_is_said():
    assert any("point the other way: the image (0.30)." in line for line in story.opening(result({"image": 0.3})))
    assert not any("other way" in line for line in story.opening(result({"image": 0.48})))


def test_a_test_without_a_p_value_says_nothing():
    assert story.headline(result({"image": 0.97}, holm=None)) == "No share says more than confidence"
    assert "0 are worse than that beyond chance and 0 better" in story.verdict(result(holm=None))[1]
    assert "<td>–</td></tr>" in render(result(holm=None))


def test_what_beats_confidence_is_said_only_beyond_chance():
    assert story.headline(result({"image": 0.97})) == "What an answer is made of says more than its confidence"
    assert story.headline(result({"image": 0.97}, holm=0.3)) == "No share says more than confidence"


@pytest.mark.parametrize(
    ("gain", "words"), [(0.0, "add nothing sure to"), (0.05, "the shares add to"), (-0.05, "add nothing sure to")]
)
def test_what_shares_add_is_said_with_its_interval(gain, words):
    assert any(words in sentence for sentence in story.verdict(result(gain=gain)))
    assert story.headline(result(gain=0.05)).startswith("Shares add something to confidence")


def test_without_a_made_up_answer_nothing_is_claimed():
    nothing = result(wrong=0)
    assert story.headline(nothing) == "Nothing was made up"
    page = render(nothing)
    assert "0 of 1,000 questions" in page and "ROC" not in page.split("How it was done")[0]
    assert "scores were tried" not in page
    assert '<g class="wrong-yes"' not in page and '<g class="right-yes"' in page  # no empty lane


def test_few_are_said_to_be_few_with_how_many_questions_it_takes():
    assert "fewer than 20" in story.opening(result(wrong=7))[1].lower()
    assert "About 2,000 questions would give 50" in story.opening(result(wrong=7))[1]
    assert not any("fewer than" in sentence.lower() for sentence in story.verdict(result(wrong=20)))


def test_it_is_one_file_in_which_text_stays_text(tmp_path):
    write_page(result(label="<script>alert(1)</script>"), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page) and "url(" not in page and "@import" not in page


def test_every_area_stands_in_the_chart_and_in_the_table():
    page = render(result({"image": 0.71}))
    assert page.count("0.71 [0.66, 0.76]") >= 4  # both tasks, as the title of a mark and in a row
    for at in (0.71, 0.8, 0.9):
        assert f'cx="{10 + 356 * at:g}"' in page


def test_a_cell_of_a_map_is_as_strong_as_its_share():
    page = render(result())
    cells = re.findall(r'<rect x="(\d)" y="(\d)" [^>]*class="(for|against)" fill-opacity="([\d.]+)"', page)
    assert [(c[0] + c[1], c[2], float(c[3])) for c in cells] == [
        ("00", "for", 0.85), ("10", "against", 0.425), ("01", "against", 0.0), ("11", "for", 0.17)
    ]  # fmt: skip


def test_not_a_number_is_a_dash():
    gap = result()
    gap["areas"][0] |= {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    assert "nan" not in re.sub(r"<style>.*?</style>", "", render(gap), flags=re.S).lower().replace("dominan", "")
