"""Answers beside references, joined by name."""

import pytest
from tests.evaluation.judging.judges import files, lines

from lapilli.core.errors import LapilliError
from lapilli.evaluation.judging.pairs import Files, read_contexts, read_pairs


def test_they_are_joined_by_name_whatever_their_order(tmp_path):
    paired = read_pairs(Files(*files(tmp_path)))
    assert [pair.id for pair in paired.pairs] == [str(at) for at in range(12)] and paired.left_out == ()
    assert all(
        f"answer {pair.id} " in pair.answer and f"reference {pair.id} " in pair.reference for pair in paired.pairs
    )
    assert (paired.pairs[5].context, paired.pairs[5].category) == ("Scene 2.", "complex")


def test_what_does_not_match_is_listed_or_left_out(tmp_path):
    questions, answers, references, _ = files(tmp_path)
    lines(answers, [{"question_id": at, "text": "a"} for at in range(1, 14)])
    with pytest.raises(
        LapilliError, match=r"answers.jsonl: 2 rows answer none .*, 1 questions have no row: '12', '13', '0';"
    ):
        read_pairs(Files(questions, answers, references))
    paired = read_pairs(Files(questions, answers, references), allow=True)
    assert (len(paired.pairs), paired.left_out) == (11, ("12", "13", "0"))
    lines(answers, [{"question_id": 99, "text": "a"}])
    with pytest.raises(LapilliError, match="no question has both"):
        read_pairs(Files(questions, answers, references), allow=True)


def test_two_answers_to_one_question_are_refused_and_a_context_must_be_there(tmp_path):
    questions, answers, references, contexts = files(tmp_path)
    lines(contexts, [{"image": "0.jpg", "caption": "x"}])
    with pytest.raises(LapilliError, match=r"no context of '1.jpg', the picture of question 2"):
        read_pairs(Files(questions, answers, references, contexts))
    lines(answers, [{"question_id": 1, "text": "a"}, {"question_id": "1", "text": "b"}])
    with pytest.raises(LapilliError, match=r"answers.jsonl:2: a second answer to '1', after .*:1"):
        read_pairs(Files(questions, answers, references))


def test_contexts_are_captions_and_boxes(tmp_path):
    box = {"category": "dog", "bbox": [0, 0.25, 0.5, 1]}
    rows = [{"image": "a", "captions": ["A dog.", " ", "Grass."], "instances": [box]}, {"image": "b", "caption": "B."}]
    contexts = read_contexts(lines(tmp_path / "c.jsonl", rows))
    assert contexts == {"a": "A dog.\nGrass.\n\ndog: [0.000, 0.250, 0.500, 1.000]", "b": "B."}
    with pytest.raises(LapilliError, match="a second context"):
        read_contexts(lines(tmp_path / "c.jsonl", [rows[1], rows[1]]))
