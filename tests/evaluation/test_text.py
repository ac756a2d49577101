"""The benchmark without pictures: what is asked, what is right, and what is printed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.data.scenes.oracle import answer, read_description

from lapilli.data.scenes.questions import TYPES
from lapilli.evaluation.asking import evaluate
from lapilli.evaluation.benchmark import TEXT, Response
from lapilli.evaluation.text import BENCHMARK, EVERY_SCENE, INSTRUCTION, expected, is_right, read_questions, scores


def even(text):
    """A likelihood whose tokens are characters, of two nats each."""
    return np.arange(len(text)) + 1, np.full(len(text), 2.0)


@pytest.fixture(scope="module")
def questions():
    return read_questions(Path(), "", 200)


def test_all_instructions_and_forty_questions_of_each_type_are_asked_always_the_same(questions):
    assert Counter(one.type for one in questions) == {INSTRUCTION: 50} | dict.fromkeys(TYPES, 40)
    assert len({one.id for one in questions}) == len({one.question for one in questions}) == 410
    assert questions == read_questions(Path(), "", 200)
    by_type = [[one for one in questions if one.type == kind] for kind in (INSTRUCTION, *TYPES)]
    assert read_questions(Path(), "", 3) == [one for of_type in by_type for one in of_type[:3]]


def test_the_answers_follow_from_the_descriptions(questions):
    for one in questions:
        if one.type != INSTRUCTION:
            description, text = one.question.split("\n")
            assert [answer(read_description(description), one.type, text)] == one.rules["answer"]


def test_nothing_is_shown_and_a_perfect_model_is_right_in_everything_about_scenes(questions):
    asked, answers = [], {one.id: one.rules.get("answer", [""])[0] for one in questions}

    def respond(samples, _):
        asked.extend(samples)
        return [answers[sample.id] for sample in samples]

    result = evaluate(BENCHMARK, Path("nowhere"), 40, respond, likelihood=even)
    assert not any(sample.images or "<image>" in sample.turns[0].text for sample in asked)
    assert {response.condition for response in result.responses} == {TEXT}
    shares = {row.type: row.right for row in result.scores[:-2]}
    assert [shares[kind].correct for kind in (INSTRUCTION, *TYPES, EVERY_SCENE)] == [3, *[40] * 9, 360]
    assert result.scores[-2].nats.value == 2.0
    table = BENCHMARK.table(result.scores, result.constants)
    assert [row[0] for row in table.rows] == [
        INSTRUCTION, *TYPES, EVERY_SCENE, "perplexity per token", "perplexity per word",
    ]  # fmt: skip
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert table.rows[1][:3] == ["color", "40", "100.0 [91, 100]"] and table.rows[-2][2] == "7.39 [7.39, 7.39]"


def test_an_instruction_is_followed_or_not_and_its_rules_are_said_in_words(questions):
    by_id = {one.id: one for one in questions}
    paris, two = by_id["capital-france"], by_id["two-colors"]
    assert is_right(Response(paris, TEXT, "Paris, of course")) and not is_right(Response(paris, TEXT, "Rome"))
    assert expected(paris) == ["any of: Paris"] and expected(two) == ["items: 2", "most words: 4"]
    assert expected(by_id["ten-twenty"]) == ["number: 10, 20", "letters: false", "most words: 1"]
    (of_all, none) = scores([Response(paris, TEXT, "Paris")])
    assert (of_all.type, of_all.right.correct, none.type, none.right.n) == (INSTRUCTION, 1, EVERY_SCENE, 0)


def test_a_sentence_with_the_right_answer_contains_it_but_is_not_the_right_one(questions):
    color = next(one for one in questions if one.type == "color")
    (word,) = color.rules["answer"]
    replies = [f"{word.title()}.", f"It is {word}.", f"{word}ish", ""]
    score, of_all = scores([Response(color, TEXT, reply) for reply in replies])
    assert (score.right.correct, score.contains.correct, score.right.n) == (1, 2, 4)
    assert (of_all.right, of_all.contains) == (score.right, score.contains)


def test_constants_are_the_best_single_answers(questions):
    best = {row.type: row for row in BENCHMARK.constants(questions)}
    assert list(best) == list(TYPES)
    for kind, row in best.items():
        counts = Counter(one.rules["answer"][0] for one in questions if one.type == kind)
        assert row.share.correct == max(counts.values()) == counts[row.answer]
