"""Conversations followed by their words alone: what each question means, what is right, what was told before."""

import math
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.scenes.oracle import COLORS, SAID, SHAPES, facts, the_one

from lapilli.data.scenes.dialogue import FEWEST, MOST, SIDES, dialogue, neighbor
from lapilli.data.scenes.facts import asked_about
from lapilli.data.scenes.scene import Scene, Thing, sample_scene

SCENES = [sample_scene(f"dialogues-{index}") for index in range(1_500)]
TALKS = [(scene, dialogue(scene, scene.seed)) for scene in SCENES]
FOLLOWED = [(scene, talk) for scene, talk in TALKS if talk]
AXES = {"right of it": 0, "above it": 90, "left of it": 180, "below it": 270}
_FIRST = r"(?:What (color|shape) is|Which (color|shape) does|(Where) is|In which (place) is) (.+?)(?: have)?\?"


def slant(it, other, words):
    """The degrees between the direction from `it` to another and a side, and their distance in pixels."""
    across, up = other.x - it.x, it.y - other.y
    degrees = abs(math.degrees(math.atan2(up, across)) - AXES[words]) % 360
    return min(degrees, 360 - degrees), math.hypot(across, up)


def beside(known, it, words):
    """The things on a side of `it`: within 31 degrees; and whether another lies in that half, but not clearly apart."""
    others = [one for one in known if one is not it]
    clear = [one for one in others if slant(it, one, words)[0] < 31 and slant(it, one, words)[1] >= 14]
    apart = [
        one for one in others for other in AXES if other != words and slant(it, one, other)[0] < 31
        and slant(it, one, other)[1] >= 14
    ]  # fmt: skip
    doubtful = [one for one in others if one not in clear and one not in apart and slant(it, one, words)[0] < 90]
    return clear, doubtful


def value(fact, attribute):
    return SAID[fact.place] if attribute == "place" else getattr(fact, attribute)


def named(known, question):
    """The attribute that a first question asks for, and the thing that it names."""
    found = re.fullmatch(_FIRST, question)
    attribute = found[1] or found[2] or "place"
    return attribute, the_one(known, found[5])


def alike(known, it, attribute):
    return sum(getattr(one, attribute) == getattr(it, attribute) for one in known) - 1


def answered(known, first, it, last, question):
    """The answer to a later question, what it asks for, and what it is about, by its words alone."""
    if found := re.fullmatch(r"And the one (.+)\?", question):
        (thing,), doubtful = beside(known, it, found[1])
        assert not doubtful and last in ("color", "shape")
        return value(thing, last), last, thing
    if found := re.fullmatch(_FIRST, question):
        attribute = found[1] or found[2] or "place"
        assert found[5] == "it"
        return value(it, attribute), attribute, it
    if found := re.fullmatch(r"Is it (larger|smaller) than the first one\?", question):
        assert it is not first and it.size != first.size
        return "yes" if (it.radius > first.radius) == (found[1] == "larger") else "no", "", it
    if question == "Does it have the same color as the first one?":
        assert it is not first
        return "yes" if it.color == first.color else "no", "", it
    attribute = re.fullmatch(r"How many other objects have its (color|shape)\?", question)[1]
    return str(alike(known, it, attribute)), "", it


def states(scene, talk):
    """Of every later question: the things, the first one, the one before it is about, and what was asked last."""
    known = facts(scene.things)
    last, it = named(known, talk[0].text)
    first = it
    for question in talk[1:]:
        yield known, first, it, last, question
        _, last, it = answered(known, first, it, last, question.text)


def test_a_conversation_has_two_to_four_turns_and_each_answer_is_right():
    lengths = Counter(len(talk) for _, talk in TALKS)
    assert set(lengths) == {0, *range(FEWEST, MOST + 1)} and min(lengths.values()) > 0.1 * len(SCENES)
    for scene, talk in FOLLOWED:
        attribute, thing = named(facts(scene.things), talk[0].text)
        assert talk[0].answer == value(thing, attribute)
        for state in states(scene, talk):
            *of, question = state
            assert question.answer == answered(*of, question.text)[0], (scene.seed, question)


def test_a_later_question_names_nothing():
    """Without the turns before it may mean any thing."""
    words = {*COLORS, *SHAPES, "small", "large", "striped", "dotted", "corner", "center", "top", "bottom", "card"}
    for scene, talk in FOLLOWED:
        assert len(asked_about(scene, talk[0].text)) == 1
        for question in talk[1:]:
            assert asked_about(scene, question.text) == ()
            assert not words & set(re.findall(r"\w+", question.text.lower()))


def test_about_another_thing_a_later_question_has_another_answer():
    """Or leaves out what is asked for, so that a color would be as good an answer as a shape."""
    for scene, talk in FOLLOWED:
        for known, _, _, last, question in states(scene, talk):
            if question.text.startswith("And"):
                continue
            answers = set()
            for first in known:
                for it in known:
                    try:
                        answers.add(answered(known, first, it, last, question.text)[0])
                    except AssertionError:
                        continue  # the question fits no such pair
            assert len(answers) > 1, (scene.seed, question)


def test_no_answer_follows_from_the_turns_before_it():
    """Names and answers are noted down, and what follows: a name fits one thing, a place is beside a place."""
    for scene, talk in FOLLOWED:
        later = list(states(scene, talk))
        known = later[0][0]
        attribute, thing = named(known, talk[0].text)
        name = re.fullmatch(_FIRST, talk[0].text)[5]
        told = {(thing, attribute)}
        told |= {(thing, one) for one in ("color", "shape", "size") if value(thing, one) in name.split()}
        told |= {(thing, "place")} if value(thing, "place") in name else set()
        for one in ("color", "shape"):
            if name in (f"the {value(thing, one)}", f"the {value(thing, one)} object"):
                told |= {(thing, f"number of its {one}")}
        for _, first, it, last, question in later:
            _, attribute, about = answered(known, first, it, last, question.text)
            if attribute:
                assert (about, attribute) not in told, (scene.seed, question)
                told |= {(about, attribute)}
                told |= {(about, "place")} if about is not it and (it, "place") in told else set()
            elif "than" in question.text:
                assert not {(it, "size"), (first, "size")} & told
                told |= {(it, "size"), (first, "size")}
            elif "same" in question.text:
                assert not {(it, "color"), (first, "color")} <= told
                assert not {(it, "number of its color"), (first, "number of its color")} & told
                told |= {(it, "color"), (first, "color")}
            else:
                counted = (it, f"number of its {question.text.split()[-1].rstrip('?')}")
                assert counted not in told
                told |= {counted}


def test_every_kind_of_question_comes_and_answers_are_even():
    later = [question for _, talk in FOLLOWED for question in talk[1:]]
    assert {f"And the one {words}?" for words in SIDES.values()} < {question.text for question in later}
    limits = {"color": 0.2, "shape": 0.22, "position": 0.22, "comparison": 0.65, "counting": 0.5}
    for kind, limit in limits.items():
        answers = Counter(question.answer for question in later if question.type == kind)
        assert answers.total() > 0.03 * len(later)
        assert answers.most_common(1)[0][1] / answers.total() < limit


def test_the_same_name_gives_the_same_conversation_and_another_another():
    assert [talk for _, talk in TALKS[:50]] == [dialogue(scene, scene.seed) for scene, _ in TALKS[:50]]
    assert [talk for _, talk in TALKS[:50]] != [dialogue(scene, "another") for scene, _ in TALKS[:50]]
    random.seed(1)
    assert dialogue(SCENES[0], "a") == dialogue(SCENES[0], "a")


def thing(x, y, color="red", shape="star"):
    return Thing(color, shape, "small", "plain", "", x=x, y=y, radius=8.0, angle=0.0)


@pytest.mark.parametrize(
    ("others", "side", "expected"),
    [
        ([(16, 48)], "left", 0),
        ([(16, 48)], "right", None),
        ([(16, 48), (80, 48)], "right", 1),
        ([(16, 48), (40, 50)], "left", None),  # two
        ([(16, 48), (16, 16)], "left", None),  # one on a slant
        ([(48, 16), (80, 16)], "above", None),
        ([(48, 16), (80, 48)], "above", 0),
        ([(16, 80)], "left", None),
    ],
)
def test_a_neighbor_is_the_only_one_that_may_be_meant(others, side, expected):
    it, *rest = [thing(48, 48), *(thing(x, y) for x, y in others)]
    found = neighbor(Scene((it, *rest), "light", "s"), it, side)
    assert found == (None if expected is None else rest[expected])


def test_no_conversation_where_nothing_else_can_be_asked():
    alone = next(scene for scene in SCENES if len(scene.things) == 1)
    assert dialogue(alone, "a") == []
    twins = replace(
        alone, things=(thing(16, 16), thing(80, 80))
    )  # alike in all but their places, and no name for a place
    assert all(question.type == "position" for question in dialogue(twins, "a")[1:])


def test_the_conversation_of_a_known_scene():
    """Guards the stream of random draws, on which stored scores depend; the documentation shows it."""
    talk = dialogue(sample_scene("talk-25"), "25")
    assert [(question.type, question.text, question.answer) for question in talk] == [
        ("color", "Which color does the object on the left have?", "orange"),
        ("color", "And the one below it?", "pink"),
        ("comparison", "Is it smaller than the first one?", "yes"),
        ("counting", "How many other objects have its shape?", "4"),
    ]
    page = (Path(__file__).parents[3] / "docs/evaluating.md").read_text(encoding="utf-8")
    rows = (f"| {turn} | {question.text} | {question.answer} |" for turn, question in enumerate(talk, 1))
    assert "\n".join(rows) in page
