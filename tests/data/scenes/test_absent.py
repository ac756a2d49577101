"""Questions about what is absent, against the facts, read from the folder and from the words."""

import json
from collections import Counter

import pytest

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.scenes.absent import GIVEN, KINDS, PRESENT, existence_questions, popular, yes_or_no
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.scene import Scene, Thing, sample_scene
from lapilli.data.scenes.vocabulary import COLORS, SHAPES

SCENES = {f"{number}.png": sample_scene(f"absent-{number}") for number in range(200)}


def pairs_of(scene):
    return {(thing.color, thing.shape) for thing in scene.things}


def pair_of(question):
    """What a question asks for, by its words."""
    words = question.question.rstrip("?").split()
    (color,), (shape,) = ([word for word in words if word in some] for some in (COLORS, SHAPES))
    return color, shape


def test_what_is_said_to_be_absent_is_absent_and_what_is_said_to_be_present_is_present():
    asked = existence_questions(SCENES, 600, seed=1)
    there = [pair_of(question) in pairs_of(SCENES[question.image]) for question in asked]
    assert there == [question.answer == "yes" for question in asked]
    assert [question.type == PRESENT for question in asked] == there
    assert {question.answer for question in asked} == {"yes", "no"}


def test_every_kind_is_what_it_is_called():
    counts = Counter(pair for scene in SCENES.values() for pair in pairs_of(scene))
    seventh = sorted(counts.values(), reverse=True)[6]  # an eighth of 56 pairs
    of = {kind: [q for q in existence_questions(SCENES, 600) if q.type == kind] for kind in KINDS}
    for question in of["adversarial"]:
        colors, shapes = (set(some) for some in zip(*pairs_of(SCENES[question.image]), strict=True))
        color, shape = pair_of(question)
        assert color in colors and shape in shapes
    assert all(counts[pair_of(question)] >= seventh for question in of["popular"])
    assert len(popular(SCENES)) == 7
    random_ones = [counts[pair_of(question)] for question in of["random"]]
    assert min(random_ones) < seventh and len({pair_of(question) for question in of["random"]}) > 40


def test_kinds_and_answers_are_balanced_and_nothing_is_asked_twice():
    asked = existence_questions(SCENES, 602)
    assert Counter(question.answer for question in asked) == {"yes": 301, "no": 301}
    kinds = Counter(question.type for question in asked if question.answer == "no")
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert len({(question.image, pair_of(question)) for question in asked}) == 602
    assert len({question.id for question in asked}) == 602


def test_the_wording_says_nothing_about_the_answer():
    wordings = Counter((q.question.split(" a")[0], q.answer) for q in existence_questions(SCENES, 600))
    for start in ("Is there", "Do you see"):
        assert wordings[start, "yes"] == wordings[start, "no"] > 100


def test_a_seed_gives_the_same_questions_and_another_one_others():
    assert existence_questions(SCENES, 100, seed=4) == existence_questions(SCENES, 100, seed=4)
    assert existence_questions(SCENES, 100, seed=4) != existence_questions(SCENES, 100, seed=5)


def test_a_picture_of_one_thing_has_nothing_adversarial():
    only = Scene((Thing("red", "ring", "small", "plain", "", 9.0, 9.0, 8.0, 0.0),), "light", "one")
    with pytest.raises(UsageError, match=r"1 scenes have 2; give fewer"):
        existence_questions({"0.png": only}, 6)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_an_odd_number_has_no_halves(count):
    with pytest.raises(UsageError, match=f"--questions {count}: half are about absent"):
        existence_questions(SCENES, count)


def test_a_folder_of_scenes_is_asked_anew(tmp_path):
    write_scenes(tmp_path / "scenes", 20, "held_out", 2)
    lines = (tmp_path / "scenes" / "scenes.jsonl").read_text().splitlines()
    things = {row["image"]: {(t["color"], t["shape"]) for t in row["things"]} for row in map(json.loads, lines)}
    asked = yes_or_no(tmp_path / "scenes", 24)
    assert len(asked) == 24
    assert all((pair_of(q) in things[q.image]) == (q.answer == "yes") for q in asked)


def _folder(path, rows):
    path.mkdir()
    lines = [json.dumps({"id": str(at), "image": "a.png", "question": "Is there a dog?"} | row)
             for at, row in enumerate(rows)]  # fmt: skip
    (path / "questions.jsonl").write_text("\n".join(lines))
    return path


def test_another_folder_is_asked_its_own_questions(tmp_path):
    rows = [{"answer": "Yes", "type": "existence"}, {"answer": "no", "type": "existence"}] * 3
    rows += [{"answer": "yes", "type": "color"}, {"answer": "red", "type": "existence"}]
    folder = _folder(tmp_path / "dogs", rows)
    every = yes_or_no(folder, 100)
    assert {(q.id, q.answer, q.type) for q in every} == {
        (str(at), "no" if at % 2 else "Yes", GIVEN if at % 2 else PRESENT) for at in range(6)
    }
    assert len(yes_or_no(folder, 4, seed=1)) == 4 and yes_or_no(folder, 4, 1) == yes_or_no(folder, 4, 1)


def test_a_folder_without_both_answers_is_refused(tmp_path):
    folder = _folder(tmp_path / "dogs", [{"answer": "yes", "type": "existence"}])
    with pytest.raises(LapilliError, match="no questions of type existence"):
        yes_or_no(folder, 10)
