"""LLaVA-Bench's and MM-Vet's files: of a judge's reviews and a grader's grades."""

import math
import re
from pathlib import Path

import pytest
from tests.evaluation.published.files import lines, refusal, score, whole

from lapilli.evaluation.published.llava_bench import printed_figures

JUDGE = Path(__file__).parents[4] / "shared/data/judge"
PRINTED = {
    "alpaca-13b": (120.8, 72.9, 88.0, 118.7),
    "bard": (98.7, 83.0, 81.9, 102.3),
    "gpt35": (92.1, 86.6, 79.8, 94.5),
    "llama-13b": (135.3, 64.1, 86.8, 136.5),
}
"""What the authors' program prints of its own four files, and of their texts by its own rule."""


@pytest.mark.skipif(not JUDGE.is_dir(), reason=f"{JUDGE}: no reviews there")
@pytest.mark.parametrize("name", list(PRINTED))
def test_the_authors_own_reviews(capsys, name):
    result = score(capsys, "llava-bench", "--reviews", JUDGE / f"review_{name}_vicuna-13b.jsonl")
    every, again = result["all"], result["reparsed"]
    assert (every["relative"], every["reference"], every["candidate"], again["naive"]["relative"]) == PRINTED[name]
    assert every["n"] == 80 and result["unparsed"] == 0
    assert every["relative_interval"][0] < every["relative"] < every["relative_interval"][1]
    assert again["missed"] == ["68", "69", "70"] and again["unreadable"] == []
    assert again["contradicting"] == (["70"] if name in ("bard", "llama-13b") else [])


def test_categories_and_rows_that_were_not_read(tmp_path, capsys):
    rows = [
        {"question_id": 1, "category": "llava_bench_conv", "tuple": [10, 5], "content": "10 5\nWell."},
        {"question_id": 2, "category": "conv", "tuple": [-1, -1], "content": "I cannot say."},
        {"question_id": 3, "category": "detail", "content": "8 6\nWell."},
        {"question_id": 4, "category": "complex", "content": "8, 9\nWell."},
    ]
    result = score(capsys, "llava-bench", "--reviews", lines(tmp_path / "r.jsonl", rows))
    assert result["conv"] | {} == result["conv"] and (result["conv"]["relative"], result["conv"]["n"]) == (44.4, 2)
    assert (result["detail"]["relative"], result["detail"]["reference"], result["detail"]["candidate"]) == (75, 80, 60)
    assert result["unparsed"] == 2  # the text of the fourth has two spaces where the rule wants one
    assert result["without_unparsed"]["conv"]["relative"] == 50 and result["all"]["n"] == 4
    assert result["reparsed"]["unreadable"] == ["2"] and result["reparsed"]["missed"] == ["2", "4"]


def test_means_are_rounded_before_they_are_divided():
    """To three digits, as the authors' program does it."""
    assert printed_figures(171 / 30, 172.5 / 30) == {"relative": 100.9, "reference": 57.0, "candidate": 57.5}
    means = (1.0004, 1.0014)
    assert round(means[1] / means[0] * 100, 1) == 100.1 == printed_figures(*means)["relative"]
    means = (1.00049, 1.00051)
    assert round(means[1] / means[0] * 100, 1) == 100.0 != printed_figures(*means)["relative"] == 100.1
    assert math.isnan(printed_figures(0.0, 5.0)["relative"])


@pytest.mark.parametrize("pair", [[1], [1, 2, 3], "1 2", [1, "2"], [1, True], {"a": 1}, [1, float("nan")]])
def test_scores_that_are_no_pair_are_refused(tmp_path, capsys, pair):
    command = ["llava-bench", "--reviews", lines(tmp_path / "r.jsonl", [{"question_id": 1, "tuple": pair}])]
    assert re.search(r"r.jsonl:1: pair.* expected", refusal(capsys, *command))


def test_two_files_of_reviews_are_compared_by_question(tmp_path, capsys):
    files = [
        lines(tmp_path / f"{name}.jsonl", [{"question_id": at, "tuple": [8, at % 5 + more]} for at in order])
        for name, more, order in (("a", 2, range(30)), ("b", 1, reversed(range(30))))
    ]
    result = score(capsys, "llava-bench", "--reviews", *files)
    (compared,) = result["comparisons"]
    assert (compared["n"], compared["difference"], compared["first_only"]) == (30, 1, None)


def test_reviews_that_were_not_read_are_no_scores_of_a_comparison(tmp_path, capsys):
    """At -1 they would be the largest difference of all."""
    pairs = [[8, 7]] * 5 + [[-1, -1]], [[8, 6]] * 5 + [[8, 7]]
    files = [
        lines(tmp_path / f"{name}.jsonl", [{"question_id": at, "tuple": pair} for at, pair in enumerate(of)])
        for name, of in zip("ab", pairs, strict=True)
    ]
    (compared,) = score(capsys, "llava-bench", "--reviews", *files)["comparisons"]
    assert (compared["n"], compared["difference"]) == (5, 1)


REVIEW, ANSWER = {"tuple": [8, 7]}, {"predicted_answer": "a", "ground_truth": "a"}


@pytest.mark.parametrize(
    ("bench", "first", "second"),
    [
        ("llava-bench", [REVIEW] * 3, [REVIEW] * 3),
        ("cocoqa", [ANSWER] * 3, [ANSWER] * 3),
        ("cocoqa", [ANSWER | {"sample_id": 1}], [ANSWER | {"sample_id": 2}]),
        ("cocoqa", [ANSWER | {"id": "1"}], [ANSWER] * 2),
    ],
)
def test_nothing_is_compared_by_position(tmp_path, capsys, bench, first, second):
    files = [lines(tmp_path / "a.jsonl", first), lines(tmp_path / "b.jsonl", second)]
    assert all(score(capsys, bench, "--answers", file)["unmatched"] == 0 for file in files)
    message = refusal(capsys, bench, "--answers", *files, "--out", tmp_path / "out")
    assert "a.jsonl and b.jsonl: no question in both" in message and not (tmp_path / "out").exists()


def test_mm_vet(tmp_path, capsys):
    labels = {
        "v1_0": {"imagename": "a.png", "answer": "x", "capability": ["ocr", "math"]},
        "v1_1": {"imagename": "b.png", "answer": "y", "capability": ["rec"]},
        "v1_2": {"imagename": "c.png", "answer": "z", "capability": ["rec", "ocr"]},
    }
    grades = {"v1_0": [1.0, 0.5], "v1_1": [0.0, 0.0], "v1_2": [0.4, -1]}
    given = whole(tmp_path / "g.json", {key: {"content": ["a"], "score": of} for key, of in grades.items()})
    result = score(capsys, "mm-vet", "--answers", given, "--references", whole(tmp_path / "l.json", labels))
    assert result["total"] == pytest.approx((0.75 + 0 + 0.4) / 3) and result["unparsed"] == 1
    assert result["by_capability"]["ocr"]["score"] == pytest.approx((0.75 + 0.4) / 2)
    assert result["by_integration"]["rec"]["n"] == 1 and result["runs"][0] == pytest.approx(1.4 / 3)
    assert result["runs"][1] == pytest.approx(0.5 / 2)  # what a run did not grade is none of its mean


@pytest.mark.parametrize("grades", [[-1], [-1, -1], [2.0], [1.5, -0.1]])
def test_an_answer_without_a_grade_is_in_no_run(tmp_path, capsys, grades):
    given = whole(tmp_path / "g.json", {"v1_0": {"score": grades}})
    result = score(capsys, "mm-vet", "--answers", given, "--references", whole(tmp_path / "l.json", {"v1_0": {}}))
    assert (result["total"], result["runs"], result["runs_std"], result["unparsed"]) == (0, [], None, 1)
