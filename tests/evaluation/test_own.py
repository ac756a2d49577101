"""Scores of one's own questions, against figures that were worked out by hand."""

import math

import pytest
from tests.parts import picture

from lapilli.evaluation.asking import evaluate
from lapilli.evaluation.benchmark import Response
from lapilli.evaluation.own import (
    SHORT,
    constants,
    contains_right,
    is_exact,
    is_right,
    own_benchmark,
    scores,
    table,
)
from lapilli.evaluation.question_file import OwnQuestion

FILE = """image,question,answers,type
a.png,What color?,brown|dark brown,color
b.png,What color?,Brown,color
c.png,What color?,red,color
a.png,How many?,two,count
b.png,How many?,2,count
"""


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate("abc"):
        picture(number).save(tmp_path / f"{name}.png")
    (tmp_path / "mine.csv").write_text(FILE)
    return tmp_path


def of(reply, *answers):
    return Response(OwnQuestion("1", "a.png", "", "What?", answers), "image", reply)


JUDGED = [
    # reply, right answers, exact, normalised, contains
    ("brown", ["brown"], True, True, True),
    (" brown ", ["brown"], True, True, True),
    ("Brown.", ["brown"], False, True, True),
    ("The dog is brown.", ["brown"], False, False, True),
    ("The dog is brownish.", ["brown"], False, False, False),
    ("dark brown", ["brown", "dark brown"], True, True, True),
    ("2", ["two"], False, True, True),
    ("There are two dogs.", ["2"], False, False, True),
    ("A", ["A"], True, True, True),
    ("a.", ["A"], False, True, True),
    ("a dog", ["A"], False, False, False),
    ("", ["brown"], False, False, False),
    (" . ", ["brown"], False, False, False),
    ("yes and no", ["no"], False, False, True),
    ("red, white and blue", ["white and blue"], False, False, True),
]


@pytest.mark.parametrize(("reply", "answers", "exact", "normalised", "contained"), JUDGED)
def test_an_answer_is_right_in_three_ways(reply, answers, exact, normalised, contained):
    response = of(reply, *answers)
    assert (is_exact(response), is_right(response), contains_right(response)) == (exact, normalised, contained)


def test_shares_by_type_with_wilson_s_interval_and_clusters_of_pictures():
    questions = [OwnQuestion(str(n), image, kind, "?", ("yes",)) for n, (image, kind) in enumerate([
        ("a", "one"), ("b", "one"), ("a", "all right"), ("a", "all right"), ("b", "all right"), ("b", "all right"),
    ])]  # fmt: skip
    replies = ["Yes.", "no", "yes", "yes", "yes", "yes of course"]
    by_type = {
        score.type: score
        for score in scores([Response(*pair) for pair in zip(questions, ["image"] * 6, replies, strict=True)])
    }
    one, two, every = by_type["one"], by_type["all right"], by_type["all"]
    half = math.sqrt(3.841459 / 2 * (0.25 + 3.841459 / 8)) / (1 + 3.841459 / 2)
    assert (one.normalised.correct, one.normalised.n, one.exact.correct) == (1, 2, 0)
    assert (one.normalised.low, one.normalised.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert two.contains.low == pytest.approx(1 / (1 + 3.841459 / 2), abs=1e-6)  # four answers about two pictures: two
    assert (two.normalised.correct, two.contains.correct, every.contains.correct) == (3, 4, 5)
    assert (every.words.value, every.empty.correct) == (8 / 6, 0)


def test_the_best_constant_answer_of_each_type_and_of_all(folder):
    benchmark = own_benchmark(folder / "mine.csv", folder)
    rows = constants(benchmark.read(folder, "", 1))
    assert [(row.type, row.answer, row.share.correct, row.share.n) for row in rows] == [
        ("color", "brown", 2, 3), ("count", "two", 2, 2), ("all", "", 4, 5),
    ]  # fmt: skip


def test_every_question_is_asked_with_its_picture_a_blank_one_and_another_of_the_file(folder):
    rounds = []

    def answer(samples, pictures):
        rounds.append([(sample.images[0], sample.turns[0].text, pictures(sample.images[0])) for sample in samples])
        return ["brown"] * len(samples)

    benchmark = own_benchmark(folder / "mine.csv", folder, short=True)
    result = evaluate(benchmark, folder, 1, answer)
    names = [[name.removesuffix(".png") for name, _, _ in asked] for asked in rounds]
    assert names == [[*"abcab"], [*"abcab"], [*"bcaba"]]
    assert {text for _, text, _ in rounds[0]} == {f"<image>\nWhat color?\n{SHORT}", f"<image>\nHow many?\n{SHORT}"}
    assert all(set(shown.get_flattened_data()) == {(128, 128, 128)} for _, _, shown in rounds[1])
    columns, rows = (printed := table(result.scores, result.constants)).columns, printed.rows
    assert [dict(zip(columns, row, strict=True))["constant"] for row in rows] == ["66.7", "100.0", "80.0"]
    every = dict(zip(columns, rows[-1], strict=True))
    assert (every["n"], every["contains"], every["blank"], every["other"]) == ("5", "40.0", "40.0", "40.0")
    assert every["normalised"].startswith("40.0 [") and every["exact"].startswith("20.0 [")
    assert "1.0 words on average, 0 of 5 empty" in printed.note


def test_a_file_about_one_picture_has_no_other_to_swap_it_with(folder):
    (folder / "mine.csv").write_text("image,question,answer\na.png,What?,red\n./a.png,What then?,blue\n")
    benchmark = own_benchmark(folder / "mine.csv", folder)
    result = evaluate(benchmark, folder, 1, lambda samples, _: [""] * len(samples))
    printed = table(result.scores, result.constants)
    (row,) = printed.rows
    assert row[0] == "all" and dict(zip(printed.columns, row, strict=True))["other"] == "–"
    assert "2 of 2 empty" in printed.note


def test_the_first_questions_of_each_type_may_do(folder):
    questions = own_benchmark(folder / "mine.csv", folder, 1).read(folder, "", 200)
    assert [question.id for question in questions] == ["2", "5"]
