"""Scores of one's own questions, against figures that were worked out by hand."""

import math

import pytest
from tests.parts import picture

from lapilli.evaluation import turns
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


TALKS = """image,question,answers,type,conversation
a.png,What color is the cup?,brown,color,one
b.png,What is it?,a cup,object,
a.png,And the one left of it?,red|dark red,color,one
c.png,How many?,2,count,two
a.png,Is it full?,yes,state,one
c.png,And cups?,1,count,two
"""


def test_conversations_are_asked_turn_by_turn_and_scored_by_turn(folder):
    """The model knows the first turns alone, and repeats the answer before a later one."""
    (folder / "talks.csv").write_text(TALKS)
    benchmark = own_benchmark(folder / "talks.csv", folder, short=True)
    first = {"2": "Brown.", "3": "cup", "5": "two"}
    samples = {}

    def answer(some, _):
        for sample in some:
            samples.setdefault((len(sample.turns), sample.id), []).append([turn.text for turn in sample.turns])
        return [first.get(sample.id) or (sample.turns[-2].text if sample.turns[1:] else "?") for sample in some]

    result = evaluate(benchmark, folder, 0, answer)
    assert [condition for _, condition in benchmark.rounds] == [
        "image", "blank", "swapped", "teacher_forced", "no_history",
    ]  # fmt: skip
    own, *_, forced = samples[5, "6"]
    assert own == [
        f"<image>\nWhat color is the cup?\n{SHORT}", "Brown.", f"And the one left of it?\n{SHORT}", "Brown.",
        f"Is it full?\n{SHORT}",
    ]  # fmt: skip
    assert forced[1::2] == ["brown", "red"] and samples[1, "6"] == [[f"<image>\nIs it full?\n{SHORT}"]]
    shares = {
        (one.turn, one.earlier, one.condition): (one.share.correct, one.share.n)
        for one in result.scores if isinstance(one, turns.Score)
    }  # fmt: skip
    assert shares["1", "any", "image"] == (3, 3) and shares["2+", "any", "image"] == (0, 3)
    assert shares["2+", "right", "image"] == (0, 2) and shares["3", "wrong", "teacher_forced"] == (0, 1)
    by_type = {(one.condition, one.type): one.normalised for one in result.scores if not hasattr(one, "turn")}
    assert (by_type["image", "all"].correct, by_type["image", "all"].n) == (3, 6)
    assert by_type["teacher_forced", "all"].n == 3
    shown = benchmark.table(result.scores, result.constants)
    assert [row[0] for row in shown.rows] == ["1", "2", "2 right", "3", "3 wrong", "2+", "2+ right", "2+ wrong"]
    assert shown.rows[0][-1] == "100.0" and shown.note.startswith("Normalised: % right after")


def test_the_first_conversations_of_a_type_are_whole(folder):
    (folder / "talks.csv").write_text(TALKS + "b.png,What now?,cup,color,three\nb.png,And this?,cup,object,three\n")
    chosen = own_benchmark(folder / "talks.csv", folder, 1).read(folder, "", 1)
    assert [(one.conversation, one.turn) for one in chosen] == [
        ("one", 1), ("", 1), ("one", 2), ("two", 1), ("one", 3), ("two", 2),
    ]  # fmt: skip


def test_conversations_of_one_turn_are_questions_like_others(folder):
    (folder / "talks.csv").write_text("\n".join(TALKS.splitlines()[:3]))
    benchmark = own_benchmark(folder / "talks.csv", folder)
    assert benchmark.conversation is None and benchmark.table is table and len(benchmark.rounds) == 3
