"""Dialogues: what stands before each question under every condition, and scores of models whose errors are known."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.paired import paired_difference
from lapilli.data.scenes.dataset import write_scenes
from lapilli.evaluation.asking import HISTORIES, ask, evaluate
from lapilli.evaluation.benchmark import Response
from lapilli.evaluation.dialogue import BENCHMARK, TurnQuestion, constants, read_questions, scores
from lapilli.evaluation.turns import LATER, Constant, Propagation, Score, table

COUNT = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialogue")
    write_scenes(folder / "held_out", 60, "held_out")
    return folder


@pytest.fixture(scope="module")
def questions(data):
    return read_questions(data / "held_out", "held_out", COUNT)


@pytest.fixture(scope="module")
def truth(questions):
    return {one.id: one.answer for one in questions}


def batches(questions, data, condition, reply):
    """The samples that are asked at once, and the responses."""
    calls = []

    def answer(samples, opened):
        calls.append((samples, opened))
        return [reply(sample) for sample in samples]

    return calls, ask(BENCHMARK, questions, data / "held_out", condition, answer)


def spoken(sample):
    return [(turn.role, turn.text) for turn in sample.turns]


def test_questions_are_those_of_whole_conversations_in_their_order(data, questions):
    by_conversation = Counter(one.conversation for one in questions)
    assert len(by_conversation) == COUNT and set(by_conversation.values()) <= {2, 3, 4}
    assert [one.turn for one in questions] == [n + 1 for count in by_conversation.values() for n in range(count)]
    assert len({one.id for one in questions}) == len(questions)
    rows = {row["id"]: row for row in json.loads((data / "held_out/dialogue.json").read_text())}
    for name in by_conversation:
        texts = [turn["value"].removeprefix("<image>\n") for turn in rows[name]["conversations"]]
        of = [one for one in questions if one.conversation == name]
        assert texts == [text for one in of for text in (one.question, one.answer)]
        assert {one.image for one in of} == {rows[name]["image"]}


@pytest.mark.parametrize("condition", ["image", "blank"])
def test_a_later_question_stands_behind_the_model_s_own_answers(condition, data, questions):
    calls, responses = batches(questions, data, condition, lambda sample: f"my {sample.id}")
    assert [{len(sample.turns) for sample in samples} for samples, _ in calls] == [{1}, {3}, {5}, {7}]
    samples = {sample.id: sample for some, _ in calls for sample in some}
    assert [one.question.id for one in responses] == [one.id for one in questions]
    for number, question in enumerate(questions):
        before = questions[number - question.turn + 1 : number]
        turns = [turn for one in before for turn in (("user", one.question), ("assistant", f"my {one.id}"))]
        turns.append(("user", question.question))
        assert spoken(samples[question.id]) == [("user", f"<image>\n{turns[0][1]}"), *turns[1:]]
        assert samples[question.id].images == (question.image,)
    gray = np.unique(np.asarray(calls[-1][1](questions[0].image))).tolist() == [128]
    assert gray == (condition == "blank")


def test_the_controls_of_the_history_have_the_right_answers_or_no_turns_before(data, questions, truth):
    later = [one for one in questions if one.turn > 1]
    for condition in HISTORIES:
        calls, responses = batches(questions, data, condition, lambda sample: "wrong")
        assert [one.question for one in responses] == later
        for sample in (sample for samples, _ in calls for sample in samples):
            (at,) = (number for number, one in enumerate(questions) if one.id == sample.id)
            before = questions[at - questions[at].turn + 1 : at] if condition == "teacher_forced" else []
            turns = [turn for one in before for turn in (("user", one.question), ("assistant", truth[one.id]))]
            turns.append(("user", questions[at].question))
            assert spoken(sample) == [("user", f"<image>\n{turns[0][1]}"), *turns[1:]]


def test_the_right_answers_are_needed_where_the_model_is_told_them(data, questions):
    without = replace(BENCHMARK, is_right=None, expected=None)
    with pytest.raises(ValueError, match="dialogue: the condition teacher_forced needs the right answers"):
        ask(without, questions, data, "teacher_forced", lambda samples, _: ["red"] * len(samples))


def test_of_swapped_conversations_every_turn_has_the_same_other_picture(data, questions):
    calls, _ = batches(questions, data, "swapped", lambda sample: "red")
    shown = {sample.id: sample.images for samples, _ in calls for sample in samples}
    for one in questions:
        assert shown[one.id] == shown[f"{one.conversation}-1"] != (one.image,)


def test_questions_of_no_conversation_stand_alone_beside_others(data, questions):
    some = replace(BENCHMARK, conversation=lambda one: one.conversation if one.turn < 3 else "")
    calls = []
    ask(some, questions, data / "held_out", "image", lambda samples, _: calls.append(samples) or [""] * len(samples))
    assert [{len(sample.turns) for sample in samples} for samples in calls] == [{1}, {3}]
    assert sum(map(len, calls)) == len(questions)


def test_who_knows_the_truth_is_right_at_every_turn(data, truth):
    result = evaluate(BENCHMARK, data, COUNT, lambda samples, _: [truth[sample.id] for sample in samples])
    shares = [one for one in result.scores if isinstance(one, Score)]
    assert all(one.share.correct == one.share.n > 0 for one in shares)
    assert {one.earlier for one in shares} == {"any", "right"}
    assert {(one.turn, one.condition) for one in shares if one.earlier == "any"} == {
        (turn, condition) for turn in ("1", "2", "3", "4", LATER) for condition in ("image", *HISTORIES, "blank")
    } - {("1", condition) for condition in HISTORIES}
    assert {one.difference.value for one in result.scores if isinstance(one, Propagation)} == {0}


def of(rows, kind, turn, earlier, condition="image"):
    (row,) = (
        one for one in rows
        if isinstance(one, kind) and (one.turn, one.earlier) == (turn, earlier)
        and getattr(one, "condition", condition) == condition
    )  # fmt: skip
    return row


def test_errors_that_propagate_are_told_from_pictures_that_are_hard(data, questions, truth):
    """Of each picture whose name is even the first answer is wrong, of one model because the picture is hard.

    The other one reads all pictures, and goes wrong behind every wrong answer of its own.
    """
    wrong = {one.id for one in questions if one.turn == 1 and int(one.conversation) % 2 == 0}

    def propagates(samples, _):
        is_wrong = [
            sample.id in wrong or any(turn.text == "mistake" for turn in sample.turns) for sample in samples
        ]  # fmt: skip
        return ["mistake" if bad else truth[sample.id] for sample, bad in zip(samples, is_wrong, strict=True)]

    def sees_badly(samples, _):
        return ["mistake" if int(sample.images[0][:6]) % 2 == 0 else truth[sample.id] for sample in samples]

    first, second = (evaluate(BENCHMARK, data, COUNT, model).scores for model in (propagates, sees_badly))
    n = sum(one.turn > 1 and f"{one.conversation}-1" in wrong for one in questions)
    for rows in (first, second):
        own = of(rows, Score, LATER, "wrong").share
        assert (own.correct, own.n) == (0, n)
        assert of(rows, Score, LATER, "right").share.estimate == 1
        assert of(rows, Score, LATER, "any").share.n == sum(one.turn > 1 for one in questions)
    assert of(first, Score, LATER, "wrong", "teacher_forced").share.estimate == 1
    assert of(second, Score, LATER, "wrong", "teacher_forced").share.estimate == 0
    assert of(first, Propagation, LATER, "wrong").difference.value == -1
    assert of(second, Propagation, LATER, "wrong").difference.value == 0


def question(conversation, turn, kind="color", answer="red"):
    return TurnQuestion(
        f"{conversation}-{turn}", "held_out", f"{conversation}.png", kind, "?", answer, conversation, turn
    )


def respond(pattern, condition="image"):
    """A response for every turn: r is right, w wrong."""
    return [
        Response(question(str(number), turn), condition, "red" if letter == "r" else "blue")
        for number, turns in enumerate(pattern) for turn, letter in enumerate(turns, 1)
        if turn > 1 or condition not in HISTORIES
    ]  # fmt: skip


def test_scores_of_known_conversations():
    """Once wrong, always behind a wrong answer; conversations are clusters; both shares are of the same questions."""
    pattern, forced = ["rrr", "rwr", "wrw", "wr"], ["rrr", "rrr", "wrr", "ww"]
    rows = scores([*respond(pattern), *respond(forced, "teacher_forced")])
    found = {
        (one.turn, one.earlier): (one.share.correct, one.share.n)
        for one in rows if isinstance(one, Score) and one.condition == "image"
    }  # fmt: skip
    assert found == {
        ("1", "any"): (2, 4), ("2", "any"): (3, 4), ("2", "right"): (1, 2), ("2", "wrong"): (2, 2),
        ("3", "any"): (2, 3), ("3", "right"): (1, 1), ("3", "wrong"): (1, 2),
        (LATER, "any"): (5, 7), (LATER, "right"): (2, 3), (LATER, "wrong"): (3, 4),
    }  # fmt: skip
    assert list(found) == sorted(found, key=lambda key: (key[0] == LATER, key))
    own, right = [True, True, False, True, True, False, True], [True, True, True, True, True, True, False]
    names = ["0", "0", "1", "1", "2", "2", "3"]
    assert of(rows, Score, LATER, "any").share == clustered(own, names)
    assert of(rows, Score, LATER, "any", "teacher_forced").share == clustered(right, names)
    assert of(rows, Propagation, LATER, "any").difference == paired_difference(own, right, names)
    assert of(rows, Propagation, LATER, "wrong").difference.n == 4
    assert scores([]) == []


@pytest.mark.parametrize(("given", "expected"), [("Red.", True), (" red", True), ("a red star", False), ("", False)])
def test_right_but_for_capitals_a_stop_and_spaces(given, expected):
    assert BENCHMARK.is_right(Response(question("0", 1), "image", given)) == expected


def test_constants_of_known_questions():
    answers = [("0", 1, "color", "red"), ("0", 2, "shape", "star"), ("1", 1, "color", "blue"), ("1", 2, "color", "red"),
               ("2", 1, "color", "blue"), ("2", 2, "color", "pink"), ("2", 3, "color", "pink")]  # fmt: skip
    rows = constants([question(*one) for one in answers])
    assert [(one.turn, one.type, one.answer, one.share.correct, one.share.n) for one in rows] == [
        ("1", "color", "blue", 2, 3), ("1", "all", "", 2, 3),
        ("2", "shape", "star", 1, 1), ("2", "color", "red", 1, 2), ("2", "all", "", 2, 3),
        ("3", "color", "pink", 1, 1), ("3", "all", "", 1, 1),
        (LATER, "shape", "star", 1, 1), (LATER, "color", "pink", 2, 3), (LATER, "all", "", 3, 4),
    ]  # fmt: skip


def test_the_table_has_a_row_for_every_turn_and_for_what_went_before():
    responses = [
        answer for condition in ("image", *HISTORIES, "blank") for answer in respond(["rr", "rw", "wr"], condition)
    ]
    shown = table(scores(responses), constants([one.question for one in respond(["rr", "rw", "wr"])]))
    assert [row[0] for row in shown.rows] == ["1", "2", "2 right", "2 wrong", "2+", "2+ right", "2+ wrong"]
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    by_name = {row[0]: dict(zip(shown.columns, row, strict=True)) for row in shown.rows}
    assert by_name["1"]["forced"] == by_name["1"]["own - forced"] == by_name["1"]["none"] == "–"
    assert by_name["2 right"]["n"] == "2" and by_name["2 right"]["own"].startswith("50.0 [")
    assert by_name["2"]["own - forced"] == "+0.0"
    assert (by_name["2"]["constant"], by_name["2 wrong"]["constant"]) == ("100.0", "–")


def test_folders_that_cannot_be_asked_are_refused_in_one_line(data, tmp_path):
    with pytest.raises(LapilliError, match=r"scenes\.jsonl: no such file; make the folder with: lapilli data scenes"):
        read_questions(tmp_path, "held_out", 4)
    rows = [json.loads(line) for line in (data / "held_out/scenes.jsonl").read_text().splitlines()]
    (tmp_path / "scenes.jsonl").write_text("\n".join(json.dumps(row | {"things": row["things"][:1]}) for row in rows))
    with pytest.raises(LapilliError, match="no scene of which a second question could be asked; draw more"):
        read_questions(tmp_path, "held_out", 4)
    (tmp_path / "images").mkdir()
    (tmp_path / "scenes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(LapilliError, match=r"question '\d+-1': .*png: no such file"):
        read_questions(tmp_path, "held_out", 4)


def test_a_difference_that_is_the_same_for_all_has_no_interval():
    every = clustered([True] * 3, list(range(3)))
    rows = [Score(condition, "2", "any", every) for condition in ("image", "teacher_forced")]
    rows.append(Propagation("2", "any", paired_difference([1.0] * 3, [1.0] * 3, range(3))))
    (row,) = table(rows, [Constant("2", "all", "", every)]).rows
    assert row[4] == "+0.0"
