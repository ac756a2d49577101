"""The questions, what they are compared with, and where everything lies in their sequences."""

import json
import shutil

import numpy as np
import pytest
from tests.parts import joined
from tests.studies.color.taught import SCENES, base, scenes

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.data.scenes.describe import noun
from lapilli.data.scenes.facts import asked_about
from lapilli.inspection.recording import answered
from lapilli.model.llava import load
from lapilli.studies.color.conditions import CONDITIONS, read_color_questions
from lapilli.studies.color.places import places


@pytest.fixture(scope="module")
def asked():
    return read_color_questions(scenes(), SCENES, 0)


@pytest.fixture(scope="module", params=["pebble", "tiny"])
def llava(request):
    return load(base() if request.param == "pebble" else joined("siglip", "qwen2"))


def _spelled(llava, ids):
    return llava.processor.tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False)


def test_text_only_is_the_question_with_the_facts_before_it_and_no_image(asked):
    for one in asked:
        told, shown, alone = (one.sample(form) for form in ("text", "picture", "nothing"))
        assert told.turns[0].text == f"{one.facts}\n{one.question.question}" and told.images == ()
        assert shown.turns[0].text == f"<image>\n{one.question.question}" and shown.images == (one.question.image,)
        assert alone.turns[0].text == one.question.question and alone.images == ()


def test_the_facts_tell_of_every_thing_in_the_order_that_is_said(asked):
    for one in asked:
        at = 0
        for number in one.order:
            at = one.facts.lower().index(noun(one.scene.things[number]).lower(), at) + 1
        assert sorted(one.order) == list(range(len(one.scene.things)))


def test_what_a_question_is_compared_with(asked):
    assert len(asked) == SCENES and any(one.swapped for one in asked)
    for one in asked:
        things = one.scene.things
        assert one.color == one.question.answer != one.against
        assert one.paraphrase != one.question.question
        assert asked_about(one.scene, one.paraphrase) == (one.thing,)
        if one.swapped is None:
            assert {thing.color for thing in things} == {one.color}
        else:
            (other,) = asked_about(one.scene, one.swapped)
            assert things[other].color != one.color
            assert one.swapped.startswith(one.question.question[:11])  # in the same wording


def test_fewer_questions_are_drawn_by_the_seed():
    few = [[one.question.id for one in read_color_questions(scenes(), 4, seed)] for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2] and len(few[0]) == 4 and few[0] == sorted(few[0])


def test_questions_of_other_kinds_are_left_out(tmp_path):
    folder = tmp_path / "scenes"
    shutil.copytree(scenes(), folder)
    lines = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    color = [line for line in lines if line["type"] == "color"]
    color[0]["question"] = "Say the color of the circle."
    color[1]["question"] = "What color is the unicorn?"
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = [one.question.id for one in read_color_questions(folder, 100, 0)]
    assert found == [line["id"] for line in color[2:]]
    (folder / "questions.jsonl").write_text(json.dumps(color[0]))
    with pytest.raises(LapilliError, match="no question 'What color is"):
        read_color_questions(folder, 100, 0)


def test_conditions_are_three_of_the_tuned_model_and_one_of_the_base():
    assert [(one.name, one.form) for one in CONDITIONS if one.base] == [("TQA-base", "text")]
    tuned = {one.name: one.form for one in CONDITIONS if not one.base}
    assert tuned == {"VQA": "picture", "TQA-tuned": "text", "prior": "nothing"}


@pytest.mark.parametrize("form", ["picture", "text", "nothing"])
def test_facts_question_and_last_are_where_they_are_said_to_be(llava, asked, form):
    for one in (one for one in asked if len(one.facts) < 160):  # the tiny model has not room for more
        encoded = answered(llava, one.sample(form), one.color)
        where = places(llava, encoded, one, form)
        ids = encoded.ids
        assert encoded.layout.role[where.last + 1] == Role.ANSWER and encoded.layout.role[where.last] != Role.ANSWER
        question = _spelled(llava, ids[where.question])
        assert one.question.question.split(" ", 1)[1] in question and where.question[-1] == where.last - 1
        if form == "picture":
            assert np.array_equal(where.facts, encoded.layout.patches(0).ravel())
        elif form == "text":
            assert _spelled(llava, ids[where.facts]).strip() == one.facts
            assert (
                noun(one.scene.things[one.thing]).lower() in _spelled(llava, ids[where.facts[where.on_target]]).lower()
            )
        else:
            assert where.facts.size == where.on_target.size == 0
        if form != "nothing":
            together = np.concatenate([where.facts, where.question, [where.last]])
            assert np.array_equal(together, np.arange(where.facts[0], where.last + 1))


def test_the_patches_of_a_thing_are_those_with_its_pixels():
    """Against the masks that were drawn: what a thing covers lies in its patches, and its centre's patch is one."""
    from PIL import Image

    llava = load(base())
    for one in read_color_questions(scenes(), SCENES, 0):
        encoded = answered(llava, one.sample("picture"), one.color)
        found = places(llava, encoded, one, "picture").on_target.reshape(6, 6)
        mask = np.asarray(Image.open(scenes() / "masks" / one.question.image)) == one.thing + 1
        covered = mask.reshape(6, 16, 6, 16).sum((1, 3))
        assert not (covered[~found] > 8).any()  # but for a corner of a star or a card
        thing = one.scene.things[one.thing]
        assert found[int(thing.y // 16), int(thing.x // 16)] and found.sum() <= 16
