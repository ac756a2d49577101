"""Scores of hand-made answers, and the controls, on a folder of scenes and on lists with known counts."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.proportion import wilson
from lapilli.data.pictures import open_picture
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.questions import TYPES
from lapilli.evaluation.asking import CONDITIONS, ask
from lapilli.evaluation.benchmark import Response
from lapilli.evaluation.captions import colors_mentioned, scene_colors
from lapilli.evaluation.scenes import BENCHMARK, SceneQuestion, best_constants, is_right, read_questions, scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "held_out"
    write_scenes(out, 25, "held_out", seed=1)
    return out


@pytest.fixture(scope="module")
def questions(folder):
    return read_questions(folder, "held_out", 20)


def question(number, kind="color", answer="red", image=None, split="held_out"):
    return SceneQuestion(str(number), split, image or f"{number}.png", kind, f"Question {number}?", answer)


def seen_by(questions, folder, condition):
    """The samples and the picture opener that an answerer is given."""
    given = []

    def answerer(samples, opened):
        given.append((samples, opened))
        return [""] * len(samples)

    ask(BENCHMARK, questions, folder, condition, answerer)
    return given[0]


def test_questions_are_the_first_of_every_type_in_the_order_of_the_types(folder, questions):
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    for kind in TYPES:
        expected = [row["id"] for row in rows if row["type"] == kind][:20]
        assert [one.id for one in questions if one.type == kind] == expected
    assert list(dict.fromkeys(one.type for one in questions)) == list(TYPES)
    assert {one.split for one in questions} == {"held_out"}


def test_a_missing_folder_is_said_with_its_remedy(tmp_path):
    with pytest.raises(LapilliError, match=r"questions\.jsonl: no such file; .*lapilli data scenes"):
        read_questions(tmp_path, "held_out", 3)


def test_questions_of_one_s_own_may_have_boxes_other_types_and_none(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images/a.png")
    row = {"id": "1", "image": "a.png", "question": "What?", "answer": "Red."}
    rows = [
        row | {"boxes": [[0, 0, 1, 1]]},
        row | {"id": "2", "type": "mood", "note": "kept by nobody"},
        row | {"id": "3", "type": "color", "answer": "red"},
        row | {"id": "4"},
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    asked = read_questions(tmp_path, "held_out", 1)
    assert [(one.id, one.type) for one in asked] == [("3", "color"), ("1", "other"), ("2", "mood")]
    assert best_constants(read_questions(tmp_path, "held_out", 9))["other"] == ("Red.", clustered([True] * 2, "aa"))
    assert all(is_right(Response(one, "image", given)) for one in asked for given in ("red", "Red.", "RED"))
    for changed, message in (
        ("{broken", "row 4: file: not JSON"),
        (json.dumps(row | {"type": "all"}), "question '1': type 'all' means all together"),
        (json.dumps(row | {"image": "b.png"}), "question '1': .*b.png: no such file"),
        (json.dumps(row | {"image": "../a.png"}), "leads out of"),
    ):
        file.write_text("\n".join([*map(json.dumps, rows), changed]))
        with pytest.raises(LapilliError, match=message):
            read_questions(tmp_path, "held_out", 1)


def test_who_knows_the_truth_is_always_right(folder, questions):
    truth = {one.id: one.answer for one in questions}
    for condition in CONDITIONS:
        asked = ask(
            BENCHMARK, questions, folder, condition, lambda samples, _: [truth[sample.id] for sample in samples]
        )
        found = scores(asked)
        assert [(s.split, s.condition) for s in found] == [("held_out", condition)] * (len(TYPES) + 1)
        assert {s.type for s in found} == {*TYPES, "all"}
        assert all(s.share.correct == s.share.n > 0 for s in found)
        assert next(s for s in found if s.type == "all").share.n == len(questions)


def test_who_always_says_the_best_constant_scores_exactly_its_share(folder, questions):
    constants = best_constants(questions)
    kinds = {one.id: one.type for one in questions}
    asked = ask(BENCHMARK, questions, folder, "blank", lambda samples, _: [constants[kinds[s.id]][0] for s in samples])
    found = {score.type: score.share for score in scores(asked)}
    for kind, (answer, share) in constants.items():
        assert found[kind] == share
        answers = Counter(one.answer for one in questions if one.type == kind)
        assert share.correct == max(answers.values()) == answers[answer]


def test_scores_of_known_answers():
    asked = [
        Response(question(1), "image", "red"),
        Response(question(2), "image", "blue"),
        Response(question(3, "counting", "2"), "image", "2"),
        Response(question(4), "blank", "green"),
        Response(question(5, split="compositional"), "image", "red"),
    ]
    found = {(s.split, s.condition, s.type): (s.share.correct, s.share.n) for s in scores(asked)}
    assert found == {
        ("held_out", "image", "color"): (1, 2),
        ("held_out", "image", "counting"): (1, 1),
        ("held_out", "image", "all"): (2, 3),
        ("held_out", "blank", "color"): (0, 1),
        ("held_out", "blank", "all"): (0, 1),
        ("compositional", "image", "color"): (1, 1),
        ("compositional", "image", "all"): (1, 1),
    }
    assert scores(asked)[0].share == wilson(1, 2)
    assert scores([]) == []


def test_constants_of_known_questions():
    asked = [question(i, answer=a) for i, a in enumerate(("red", "blue", "blue", "pink"))]
    asked += [question(9, "existence", "no")]
    assert best_constants(asked) == {"color": ("blue", wilson(2, 4)), "existence": ("no", wilson(1, 1))}
    assert best_constants([]) == {}


@pytest.mark.parametrize("given", ["red", "Red", " red", "red.", "RED. ", "red\n"])
def test_right_but_for_capitals_a_stop_and_spaces(given):
    assert is_right(Response(question(1), "image", given))


@pytest.mark.parametrize("given", ["", "blue", "red circle", "a red", "reddish", "re"])
def test_anything_else_is_wrong(given):
    assert not is_right(Response(question(1), "image", given))


def test_with_its_picture_a_question_sees_the_stored_one(folder, questions):
    samples, opened = seen_by(questions, folder, "image")
    for one, sample in zip(questions, samples, strict=True):
        assert sample.images == (one.image,)
        assert [(turn.role, turn.text) for turn in sample.turns] == [("user", "<image>\n" + one.question)]
    name = questions[0].image
    assert np.array_equal(np.asarray(opened(name)), np.asarray(open_picture(folder / "images", name)))


def test_a_blank_picture_is_gray_and_as_large(folder, questions):
    samples, opened = seen_by(questions, folder, "blank")
    assert [sample.images for sample in samples] == [(one.image,) for one in questions]
    blank = opened(questions[0].image)
    assert (blank.mode, blank.size) == ("RGB", (96, 96))
    assert np.unique(np.asarray(blank)).tolist() == [128]


def test_a_swapped_picture_is_never_the_questions_own(folder, questions):
    samples, opened = seen_by(questions, folder, "swapped")
    for one, sample in zip(questions, samples, strict=True):
        assert sample.id == one.id
        assert sample.images[0] != one.image
        assert (folder / "images" / sample.images[0]).is_file()
        assert sample.turns[0].text == "<image>\n" + one.question
    assert opened(questions[0].image).size == (96, 96)
    spread = Counter(sample.images[0] for sample in samples)
    assert max(spread.values()) < 3 * len(questions) / len(spread)


def test_swapping_skips_questions_about_the_same_picture():
    names = ["a.png", "a.png", "b.png", "a.png"]
    samples, _ = seen_by([question(i, image=name) for i, name in enumerate(names)], Path("unread"), "swapped")
    assert [sample.images[0] for sample in samples] == ["b.png", "b.png", "a.png", "b.png"]


def test_questions_about_a_single_picture_are_swapped_with_others_of_the_folder(folder, tmp_path):
    samples, _ = seen_by([question(i, image="000000.png") for i in range(2)], folder, "swapped")
    assert [sample.images for sample in samples] == [("000001.png",)] * 2
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").touch()
    with pytest.raises(LapilliError, match=r"no picture but a\.png: nothing to swap it with; draw more scenes"):
        seen_by([question(0, image="a.png")], tmp_path, "swapped")


def test_alone_the_language_model_is_shown_no_picture(folder, questions):
    samples, _ = seen_by(questions, folder, "language_only")
    for one, sample in zip(questions, samples, strict=True):
        assert sample.images == ()
        assert [turn.text for turn in sample.turns] == [one.question]


def test_one_answer_too_few_is_an_error(folder, questions):
    with pytest.raises(ValueError, match="shorter"):
        ask(BENCHMARK, questions, folder, "image", lambda samples, _: [""] * (len(samples) - 1))


def test_colors_mentioned_of_known_captions():
    captions = ["A red circle, a blue star.", "Green. Red: pink!", "nothing of the kind"]
    truths = [frozenset({"red", "blue"}), frozenset({"green"}), frozenset({"blue", "pink"})]
    found = colors_mentioned(captions, truths)
    assert found.own == clustered([1, 1, 1, 0], "aabb")  # red, blue, green, red; "pink!" is no word
    assert found.shuffled == clustered([0] * 4, "aabb")
    assert found.gain.estimate == 0.75
    assert colors_mentioned(captions[2:], truths[2:]).gain is None


def test_a_caption_that_repeats_a_color_says_no_more_than_one_that_says_it_once():
    """Five words of a caption are right or wrong together: as sure as one word of each caption."""
    rng = np.random.default_rng(0)
    truths = [frozenset({"red"}) if one else frozenset({"blue"}) for one in rng.random(200) < 0.7]
    once, often = (colors_mentioned(["red " * times] * 200, truths) for times in (1, 5))
    assert (once.own.n, often.own.n) == (200, 1000)
    assert (often.own.low, often.own.high) == pytest.approx((once.own.low, once.own.high), abs=1e-3)
    assert (often.gain.low, often.gain.high) == pytest.approx((once.gain.low, once.gain.high), abs=1e-9)
    assert often.own.low < wilson(often.own.correct, 1000).low


def test_questions_about_one_picture_do_not_count_as_so_many_pictures():
    """Of each picture all four are right or wrong: the interval of `all` is that of a question a picture."""
    good = np.random.default_rng(1).random(150) < 0.8
    kinds = ("color", "shape", "place", "size")
    asked = [
        Response(question(number, kind, image=f"{number}.png"), "image", "red" if right else "blue")
        for number, right in enumerate(good) for kind in kinds
    ]  # fmt: skip
    found = {one.type: one.share for one in scores(asked)}
    assert found["color"] == wilson(good.sum(), 150) and found["all"].n == 600
    assert (found["all"].low, found["all"].high) == pytest.approx((found["size"].low, found["size"].high), abs=1e-3)


def test_captions_that_know_their_pictures_beat_the_shuffled_control(folder):
    truths = scene_colors(folder, 20)
    found = colors_mentioned([" ".join(sorted(truth)) for truth in truths.values()], list(truths.values()))
    assert found.own.correct == found.own.n == sum(map(len, truths.values()))
    assert found.shuffled.correct < found.own.correct


def test_the_colors_of_scenes_are_those_of_their_things(folder):
    expected = defaultdict(set)
    for row in map(json.loads, (folder / "scenes.jsonl").read_text().splitlines()[:7]):
        for thing in row["things"]:
            expected[row["image"]].add(thing["color"])
    assert scene_colors(folder, 7) == expected
