"""POPE's scores: of hand-made answers with known counts, of who knows the truth, and of constant answers."""

import json
import math
from collections import Counter

import pytest
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered, clustered_f1
from lapilli.core.statistics.proportion import wilson
from lapilli.data.scenes.absent import KINDS, PRESENT, existence_questions
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.facts import read_scenes
from lapilli.evaluation.asking import ask, evaluate
from lapilli.evaluation.benchmark import Response
from lapilli.evaluation.pope import ALWAYS_YES, BENCHMARK, constants, read_questions, scores, table
from lapilli.evaluation.scenes import SceneQuestion


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pope")
    write_scenes(folder / "held_out", 40, "held_out")
    return folder


@pytest.fixture(scope="module")
def questions(data):
    return read_questions(data / "held_out", "held_out", 16)


def truthful(questions):
    truth = {one.id: one.answer for one in questions}
    return lambda samples, _: [truth[sample.id] for sample in samples]


def response(number, kind, truth, given, condition="image"):
    question = SceneQuestion(str(number), "held_out", f"{number}.png", kind, "Is there a red ring?", truth)
    return Response(question, condition, given)


def test_half_of_the_questions_of_every_kind_are_to_be_answered_with_yes(questions):
    assert Counter((one.type, one.answer) for one in questions) == {
        (kind, answer): 8 for kind in KINDS for answer in ("yes", "no")
    }
    assert len({one.id for one in questions}) == len(questions)


def test_the_questions_are_those_of_the_study_of_made_up_objects(data, questions):
    """The two about one picture belong together: of the same kind, in the same words."""
    theirs = existence_questions(read_scenes(data / "held_out"), len(questions))
    assert [(one.id, one.image, one.question, one.answer) for one in questions] == [
        (one.id, one.image, one.question, one.answer) for one in theirs
    ]
    for absent, present in zip(questions[::2], questions[1::2], strict=True):
        assert (absent.answer, present.answer) == ("no", "yes")
        assert (absent.image, absent.type) == (present.image, present.type)
    assert all(one.type == ours.type for one, ours in zip(theirs, questions, strict=True) if one.type != PRESENT)


@pytest.mark.parametrize(("wanted", "asked"), [(1, 2), (2, 2), (7, 8)])
def test_an_odd_number_is_rounded_up(data, wanted, asked):
    found = read_questions(data / "held_out", "held_out", wanted)
    assert Counter(one.type for one in found) == dict.fromkeys(KINDS, asked)


def test_of_few_scenes_there_are_fewer_questions_and_as_many_of_every_kind(data):
    found = Counter(one.type for one in read_questions(data / "held_out", "held_out", 1000))
    assert len(found) == 3 and len(set(found.values())) == 1
    assert 30 < found["random"] <= 80


def test_who_knows_the_truth_has_perfect_scores_with_n(data, questions):
    result = evaluate(BENCHMARK, data, 16, truthful(questions))
    assert {(score.condition, score.type) for score in result.scores} == {
        (condition, kind) for condition in ("image", "blank", "swapped") for kind in (*KINDS, "all")
    }
    for score in result.scores:
        n = 48 if score.type == "all" else 16
        assert (score.accuracy.correct, score.accuracy.n) == (n, n)
        assert (score.precision.correct, score.precision.n) == (score.recall.correct, score.recall.n) == (n / 2, n / 2)
        assert (score.f1.value, score.f1.high, score.f1.n) == (1, 1, n / 2) and 0 < score.f1.low < 1
        assert (score.yes.estimate, score.other.correct) == (0.5, 0)


def test_scores_of_known_counts():
    """Four yes of which three are right, three no of which two are right, one answer that is neither."""
    given = [("yes", "Yes."), ("yes", "yes"), ("yes", "The answer is yes."), ("no", "yes, a ring"),
             ("no", "No"), ("no", "There is no ring."), ("yes", "no"), ("no", "a ring")]  # fmt: skip
    (of_kind, every) = scores([response(n, "random", *pair) for n, pair in enumerate(given)])
    assert (of_kind.split, of_kind.condition, of_kind.type, every.type) == ("held_out", "image", "random", "all")
    assert (of_kind.accuracy, of_kind.precision, of_kind.recall) == (wilson(5, 8), wilson(3, 4), wilson(3, 4))
    assert (of_kind.yes, of_kind.other) == (wilson(4, 8), wilson(1, 8))
    assert of_kind.f1.value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1)) and of_kind.f1.n == 5
    ends = [2 * share / (1 + share) for share in (wilson(3, 5).low, wilson(3, 5).high)]
    assert [of_kind.f1.low, of_kind.f1.high] == pytest.approx(ends)
    assert every.accuracy == of_kind.accuracy


def test_an_answer_that_is_neither_is_wrong_and_no_yes():
    (score, _) = scores([response(0, "random", "yes", "a ring"), response(1, "random", "no", "")])
    assert (score.accuracy, score.yes, score.other) == (wilson(0, 2), wilson(0, 2), wilson(2, 2))
    assert score.recall == wilson(0, 1) and score.f1.value == 0
    assert math.isnan(score.precision.estimate) and score.precision.n == 0


def test_questions_about_one_picture_are_a_cluster():
    """What is answered alike within a picture says no more than one question of each."""
    alone = [response(n, "random", "no", "no" if n % 3 else "yes") for n in range(90)]
    (of_alone, _), (of_twice, _) = scores(alone), scores([one for one in alone for _ in range(2)])
    assert of_twice.accuracy.n == 180
    assert of_twice.accuracy.low == pytest.approx(of_alone.accuracy.low, abs=2e-3)
    assert of_twice.yes == clustered(
        [not n % 3 for n in range(90) for _ in range(2)], [n for n in range(90) for _ in "ab"]
    )


def test_always_yes_is_right_half_of_the_time_and_finds_all(questions):
    (every,) = (one for one in constants(questions) if one.type == "all")
    assert every.condition == ALWAYS_YES
    assert (every.accuracy.estimate, every.precision.estimate, every.recall.estimate, every.yes.estimate) == (
        0.5, 0.5, 1, 1,
    )  # fmt: skip
    assert every.f1.value == pytest.approx(2 / 3)
    asked = scores([Response(question, "image", "Yes") for question in questions])
    assert [one.f1 for one in asked] == [one.f1 for one in constants(questions)]


def test_another_scene_s_picture_is_shown_and_the_truth_stays(data, questions):
    shown = []

    def answer(samples, _):
        shown.extend(samples)
        return ["yes"] * len(samples)

    asked = ask(BENCHMARK, questions, data / "held_out", "swapped", answer)
    assert all(sample.images != (one.image,) for sample, one in zip(shown, questions, strict=True))
    assert scores(asked)[-1].accuracy.estimate == 0.5


def test_the_table_has_a_row_for_every_kind_and_every_control(data, questions):
    result = evaluate(BENCHMARK, data, 16, truthful(questions))
    shown = table(result.scores, result.constants)
    assert [row[0] for row in shown.rows] == [*KINDS, "all", "blank", "another", ALWAYS_YES]
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    by_name = {row[0]: dict(zip(shown.columns, row, strict=True)) for row in shown.rows}
    assert by_name["random"]["n"] == "16" and by_name["random"]["accuracy"].startswith("100.0 [")
    assert by_name[ALWAYS_YES]["F1"] == "66.7"


def test_f1_of_known_answers_and_of_none():
    found = clustered_f1([True, True, False, False], [True, False, True, False], "abcd")
    assert (found.value, found.n) == (pytest.approx(0.5), 3)
    none = clustered_f1([False], [False], "a")
    assert math.isnan(none.value) and (none.low, none.high, none.n) == (0, 1, 0)


def test_folders_that_cannot_be_asked_are_refused_in_one_line(data, tmp_path):
    with pytest.raises(LapilliError, match=r"scenes\.jsonl: no such file; make the folder with: lapilli data scenes"):
        read_questions(tmp_path, "held_out", 4)
    (tmp_path / "images").mkdir()
    lines = (data / "held_out/scenes.jsonl").read_text().splitlines()
    (tmp_path / "scenes.jsonl").write_text("\n".join(lines))
    with pytest.raises(LapilliError, match=r"question '\d+-random': .*png: no such file"):
        read_questions(tmp_path, "held_out", 4)
    one = json.loads(lines[0])
    (tmp_path / "scenes.jsonl").write_text(json.dumps(one | {"things": one["things"][:1]}))
    Image.new("RGB", (96, 96)).save(tmp_path / "images" / one["image"])
    with pytest.raises(LapilliError, match="too few scenes to ask about absent objects of every kind; draw more"):
        read_questions(tmp_path, "held_out", 4)
