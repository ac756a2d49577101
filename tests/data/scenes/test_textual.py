"""Texts and conversations about scenes, checked from their own words alone."""

import random
import re
from collections import Counter
from types import SimpleNamespace

import pytest
from tests.data.scenes.oracle import PLACES, SAID, answer, read_description, read_nouns, the_one

from lapilli.data.scenes.describe import noun, with_article
from lapilli.data.scenes.questions import TYPES, Question
from lapilli.data.scenes.scene import sample_scene
from lapilli.data.scenes.textual import (
    DETAIL_REQUESTS,
    _distinct,
    cards,
    comparisons,
    conversation,
    counts,
    mixed_questions,
    pairs,
    reading_sample,
    relations,
    retelling,
    statements,
    textual_scene,
    two_steps,
)
from lapilli.data.scenes.vocabulary import PHRASES, is_withheld

SEEDS = [f"textual-{index}" for index in range(120)]


def told(text):
    return sorted(map(repr, read_description(text)))


def kinds_that_answer(scene, question, given):
    """The types of which this is a question, each with the right answer given."""
    for kind in TYPES:
        try:
            right = answer(scene, kind, question)
        except AssertionError:
            continue
        assert right == given
        yield kind


@pytest.mark.parametrize("most", [1, 2, 4, 6])
def test_a_reader_of_the_first_turn_can_answer_the_whole_conversation(most):
    """Every answer follows from the description that opens the conversation."""
    for seed in SEEDS:
        sample = reading_sample(seed, most, 9)
        assert sample.images == ()
        description = sample.turns[0].text.split("\n")[0]
        scene = read_description(description)
        assert 1 <= len(scene) <= most
        texts = [turn.text.removeprefix(description + "\n") for turn in sample.turns]
        for question, given in zip(texts[::2], texts[1::2], strict=True):
            if question in DETAIL_REQUESTS:
                assert told(given) == told(description)
            elif name := re.fullmatch(r"Tell me about (.+)\.", question):
                assert read_description(given) == [the_one(scene, name[1])]
            else:
                assert list(kinds_that_answer(scene, question, given))


def test_the_same_seed_gives_the_same_conversation_and_others_others():
    samples = [reading_sample(seed, 6, 9) for seed in SEEDS]
    assert samples == [reading_sample(seed, 6, 9) for seed in SEEDS]
    assert len({sample.turns for sample in samples}) == len(SEEDS)


def test_a_scene_is_cut_to_its_first_things_in_the_middle_of_their_cells():
    for seed in SEEDS:
        whole, cut = sample_scene(seed), textual_scene(seed, 2)
        assert [(t.place, t.color) for t in cut.things] == [(t.place, t.color) for t in whole.things[:2]]
        assert all((thing.x, thing.y) == PLACES[thing.place] for thing in cut.things)


def test_a_retelling_tells_the_same_again_in_reading_order():
    for seed in SEEDS:
        (first, first_learned), (again, learned) = retelling(seed, 4)
        assert told(first) == told(again)
        places = [fact.place for fact in read_description(again)]
        assert places == sorted(places, key=list(PLACES).index)
        assert (first_learned, learned) == (False, True)


def test_statements_follow_from_the_description_and_their_ends_are_learned():
    """A learned end is the only thing of its kind that the start of the sentence leaves open."""
    ends = Counter()
    for seed in SEEDS:
        (description, _), *sentences = statements(seed, 4, 5)
        assert [learned for _, learned in sentences] == [False, True, False] * 5
        scene = read_description(description)
        for (start, _), (end, _), (stop, _) in zip(*[iter(sentences)] * 3, strict=True):
            assert (end[0], stop) == (" ", ".\n")
            ends[check_statement(scene, start[0].lower() + start[1:], end[1:])] += 1
    assert min(ends[kind] for kind in ("is", "is a", "lies", "says")) > 10


@pytest.mark.parametrize("placed", [False, True])
def test_pairs_leave_one_word_to_look_up(placed):
    """Each sentence names one of two things that the list says together, and its end the other."""
    ends = Counter()
    for seed in SEEDS:
        (listing, learned), *pieces = pairs(seed, placed)
        known = {frozenset(pair) for pair in (read_places(listing) if placed else read_pairs(listing))}
        assert len(known) == len(set().union(*known)) / 2 >= 4
        assert not learned
        assert [learned for _, learned in pieces] == [False, True, False] * (len(known) // 2)
        told = set()
        for (start, _), (end, _), (_, _) in zip(*[iter(pieces)] * 3, strict=True):
            name, verb = re.fullmatch(r"The (?:object )?(.+?)(?: object)?( is| is a| lies)?", start).groups()
            told.add(frozenset((name, end.strip())))
            ends[verb] += 1
        assert told < known
        assert len(told) == len(known) // 2
    assert ends.keys() == ({" is", " is a", " lies"} if placed else {" is", None})
    assert min(ends.values()) > 0.2 * sum(ends.values())


def test_counts_follow_from_the_list_and_large_ones_come_up_too():
    given = Counter()
    for seed in SEEDS:
        (listing, learned), *pieces = counts(seed, 6, 9)
        assert [learned, *(learned for _, learned in pieces)] == [False, *[False, True, False] * (len(pieces) // 3)]
        things = [SimpleNamespace(**noun) for noun in read_nouns(listing)]
        questions = [question for question, _ in pieces[::3]]
        assert len(set(questions)) == len(questions) <= 9
        for question, (number, _) in zip(questions, pieces[1::3], strict=True):
            assert number == f" {answer(things, 'counting', question)}"
            given[number] += 1
    assert given.keys() == {f" {number}" for number in range(7)}
    assert given[" 3"] > 0.05 * given.total()


def test_what_a_card_says_follows_from_its_place_and_half_of_them_are_left_untold():
    for seed in SEEDS:
        (listing, learned), *pieces = cards(seed)
        assert [learned, *(learned for _, learned in pieces)] == [False, *[False, True, False] * (len(pieces) // 3)]
        said = "|".join(SAID.values())
        known = dict(re.findall(rf"card with the (\w+ [A-Z0-9]) ({said})", listing))
        assert all((kind.split()[0] == "digit") == kind[-1].isdigit() for kind in known)
        signs = {place: kind[-1] for kind, place in known.items()}
        assert len(signs) == len(set(signs.values())) >= 4
        told = set()
        for (question, _), (sign, _) in zip(pieces[::3], pieces[1::3], strict=True):
            (place,) = re.findall(rf"the card ({said})", question)
            assert sign == f" {signs[place]}"
            told.add(place)
        assert len(told) == len(pieces) // 3 == len(signs) // 2


@pytest.mark.parametrize(("make", "kind"), [(relations, "spatial"), (two_steps, "reasoning")])
def test_questions_about_a_list_follow_from_it(make, kind):
    """Also from a list that says neither sizes nor textures; and every list has a question."""
    for seed in SEEDS:
        (listing, learned), *pieces = make(seed, 6, 9)
        assert [learned, *(learned for _, learned in pieces)] == [False, *[False, True, False] * (len(pieces) // 3)]
        questions = [question for question, _ in pieces[::3]]
        assert 1 <= len(set(questions)) == len(questions) <= 9
        scene = read_description(listing.replace(" card ", " card with the letter X "))  # which it leaves out
        for question, (given, _) in zip(questions, pieces[1::3], strict=True):
            assert given == f" {answer(scene, kind, question)}"


def test_whether_two_colors_agree_follows_from_the_list_and_is_asked_evenly():
    given = Counter()
    for seed in SEEDS:
        (listing, learned), *pieces = comparisons(seed, 8)
        assert [learned, *(learned for _, learned in pieces)] == [False, *[False, True, False] * (len(pieces) // 3)]
        colors = {noun["shape"]: noun["color"] for noun in read_nouns(listing)}
        assert len(colors) == len(read_nouns(listing)) >= 4
        questions = [question for question, _ in pieces[::3]]
        assert 1 <= len(set(questions)) == len(questions) <= 8
        for question, (agree, _) in zip(questions, pieces[1::3], strict=True):
            one, other = re.fullmatch(r"Do the (\w+) and the (\w+) have the same color\?", question).groups()
            assert one != other
            assert agree == (" yes" if colors[one] == colors[other] else " no")
            given[agree] += 1
    assert 0.4 < given[" yes"] / given.total() < 0.6


def read_pairs(listing):
    return [(noun["color"], noun["shape"]) for noun in read_nouns(listing)]


def read_places(listing):
    said = "|".join(SAID.values())
    return re.findall(rf"an? (\w+?)(?: object)? ({said})", listing.lower())


def check_statement(scene, start, end):
    name, verb = re.fullmatch(r"(.+) (is|is a|lies|says)", start).groups()
    thing = the_one(scene, name)
    assert end == {"is": thing.color, "is a": thing.shape, "lies": SAID[thing.place], "says": thing.character}[verb]
    return verb


def test_a_list_holds_no_withheld_combination():
    places = list(PLACES)
    for index in range(200):
        for color, shape, said in _distinct(random.Random(index)):
            place = next(place for place, words in SAID.items() if words == said)
            assert not is_withheld(color, shape, places.index(place))


def test_questions_are_different_and_of_the_types_that_are_wanted():
    kinds = ("color", "shape", "position")
    for index, seed in enumerate(SEEDS):
        scene = textual_scene(seed, 6)
        asked = mixed_questions(scene, random.Random(index), 6, kinds)
        assert {question.type for question in asked} <= {*kinds, "detail"}
        assert len({question.text for question in asked}) == len(asked) <= 6
        mixed = mixed_questions(scene, random.Random(index), 9)
        types = [question.type for question in mixed if question.type != "detail"]
        assert len(set(types)) == len(types)  # nine of nine types: each at most once
        assert len(types) >= 3


def test_three_times_in_ten_a_question_asks_to_tell_about_one_thing():
    told = 0
    for index in range(400):
        scene = textual_scene(f"tell-{index}", 6)
        details = [q for q in mixed_questions(scene, random.Random(index), 9) if q.type == "detail"]
        assert len(details) <= 1
        for detail in details:
            assert detail.answer in {f"{with_article(noun(thing))} {PHRASES[thing.place]}" for thing in scene.things}
        told += len(details)
    assert 0.23 < told / 400 < 0.37


def test_the_context_opens_the_first_turn_alone():
    turns = conversation([Question("color", "One?", "red"), Question("shape", "Two?", "ring")], "CONTEXT\n")
    assert [(turn.role, turn.text) for turn in turns] == [
        ("user", "CONTEXT\nOne?"), ("assistant", "red"), ("user", "Two?"), ("assistant", "ring"),
    ]  # fmt: skip
