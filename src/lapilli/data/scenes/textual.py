"""Scenes in words alone: what the language model reads before it ever meets a picture.

A description stands where the picture will stand, so that looking a fact up in a text and looking it up in an image
become the same act.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.describe import describe, listed, noun, with_article
from lapilli.data.scenes.questions import READING, SAME_COLOUR, TYPES, Question, ask, references, snapped
from lapilli.data.scenes.scene import Scene, sample_scene
from lapilli.data.scenes.vocabulary import CHARACTERS, COLOURS, PHRASES, PLACES, SHAPES, is_withheld

DETAIL_REQUESTS = (
    "Describe the picture.",
    "What do you see?",
    "Tell me everything that is in the picture.",
    "What is in the image?",
)


def textual_scene(seed: str, most: int) -> Scene:
    """A scene of at most `most` things, as its description tells it."""
    scene = sample_scene(seed)
    return snapped(replace(scene, things=scene.things[:most]))


def reading_sample(seed: str, most: int, questions: int, kinds: Sequence[str] = tuple(TYPES)) -> Sample:
    """A description and a conversation about it: `questions` questions of these types."""
    rng = random.Random(seed + "/reading")
    scene = textual_scene(seed, most)
    asked = mixed_questions(scene, rng, questions, kinds)
    context = describe(scene, rng, shuffled=True) + "\n"
    return Sample(id=seed, images=(), turns=conversation(asked, context))


Pieces = list[tuple[str, bool]]
"""A text in pieces, each with whether it is to be learned: whether it follows from what stands before it."""


def retelling(seed: str, most: int) -> Pieces:
    """A description, and the scene told again in other words and in reading order, as a picture's caption will be."""
    rng = random.Random(seed + "/retelling")
    scene = textual_scene(seed, most)
    return [(describe(scene, rng, shuffled=True) + "\n", False), (describe(scene, rng) + "\n", True)]


def statements(seed: str, most: int, count: int) -> Pieces:
    """A description and `count` sentences that follow from it, of which the ends are learned.

    "The circle is red": what is asked stands right before what answers it, which makes this the easiest look-up there
    is.
    """
    rng = random.Random(seed + "/statements")
    scene = textual_scene(seed, most)
    pieces: Pieces = [(describe(scene, rng, shuffled=True) + "\n", False)]
    for _ in range(count):
        start, end = _statement(scene, rng)
        pieces += [(start[0].upper() + start[1:], False), (f" {end}", True), (".\n", False)]
    return pieces


def pairs(seed: str, placed: bool = False) -> Pieces:
    """A list of things, no colour and no shape twice, and a sentence about every second one, in another order.

    There is nothing to go by but the one spot where the word in question stands: the look-up itself, and nothing else.
    Were all things told about, one could guess well among those that are left, and would learn that first.
    `placed`, it is a list of colours or shapes with their places.
    """
    rng = random.Random(seed + "/pairs")
    found, which = _distinct(rng), rng.choice((1, 2)) if placed else 0
    pieces = _list_of(_named(which, *thing) for thing in found)
    for colour, shape, place in rng.sample(found, len(found) // 2):
        start, end = rng.choice(
            (
                ((f"The {shape} is", colour), (f"The {colour}", shape)),
                ((f"The {shape} lies", place), (f"The object {place} is a", shape)),
                ((f"The {colour} object lies", place), (f"The object {place} is", colour)),
            )[which]
        )
        pieces += [(start, False), (f" {end}", True), (".\n", False)]
    return pieces


def counts(seed: str, most: int, count: int) -> Pieces:
    """A list of things of which colours and shapes recur, and at most `count` questions of how many there are.

    Where a list of colours and shapes says it all, there is nothing to learn but to count.
    """
    rng = random.Random(seed + "/counts")
    scene = textual_scene(seed, most)
    asked = _different(scene, "counting", count, rng)
    return _list_of(with_article(f"{thing.colour} {thing.shape}") for thing in scene.things) + asked


def cards(seed: str) -> Pieces:
    """A list of cards in their places, and what half of them say.

    In ordinary scenes there is seldom more than one card; whoever takes any of them for the one in question is mostly
    right, and learns nothing better.
    """
    rng = random.Random(seed + "/cards")
    count = rng.randint(4, 7)
    places = [PHRASES[place] for place in rng.sample(PLACES, count)]
    found = dict(zip(places, rng.sample(CHARACTERS, count), strict=True))
    pieces = _list_of(
        f"a card with the {'digit' if sign.isdigit() else 'letter'} {sign} {place}" for place, sign in found.items()
    )
    told = rng.sample(places, count // 2)
    return pieces + _answered({rng.choice(READING).format(f"the card {place}"): found[place] for place in told})


def relations(seed: str, most: int, count: int) -> Pieces:
    """A list of things with their places, and at most `count` questions of how two of them lie to each other.

    `most` is at least 2: of one thing there is nothing to ask.
    """
    return _quiz(seed + "/relations", "spatial", most, count)


def two_steps(seed: str, most: int, count: int) -> Pieces:
    """A list of things with their places, and at most `count` questions that take two steps."""
    return _quiz(seed + "/two_steps", "reasoning", most, count)


def comparisons(seed: str, count: int) -> Pieces:
    """A list of things in two or three colours, and at most `count` questions of whether the colours of two agree."""
    rng = random.Random(seed + "/comparisons")
    palette = rng.sample(list(COLOURS), rng.randint(2, 3))
    colours = {shape: rng.choice(palette) for shape in rng.sample(SHAPES, rng.randint(4, len(SHAPES)))}
    twos = [(one, other) for one in colours for other in colours if one != other]
    groups = [[two for two in twos if (colours[two[0]] == colours[two[1]]) == alike] for alike in (True, False)]
    asked = {rng.choice(rng.choice([group for group in groups if group])): None for _ in range(count)}
    answers = {
        SAME_COLOUR.format(f"the {one}", f"the {other}"): "yes" if colours[one] == colours[other] else "no"
        for one, other in asked
    }
    return _list_of(with_article(f"{colour} {shape}") for shape, colour in colours.items()) + _answered(answers)


def _quiz(seed: str, kind: str, most: int, count: int) -> Pieces:
    """A list of things with their places, and at most `count` different questions of one type, at least one.

    All things are large and plain, so that none is named by what the list does not say.
    """
    rng = random.Random(seed)
    asked: Pieces = []
    for attempt in itertools.count():
        scene = textual_scene(f"{seed}-{attempt}", most)
        scene = replace(scene, things=tuple(replace(one, size="large", texture="plain") for one in scene.things))
        if asked := _different(scene, kind, count, rng):
            break
    things = [f"{with_article(f'{thing.colour} {thing.shape}')} {PHRASES[thing.place]}" for thing in scene.things]
    return _list_of(rng.sample(things, len(things))) + asked


def _list_of(things: Iterable[str]) -> Pieces:
    text = listed(list(things))
    return [(text[0].upper() + text[1:] + ".\n", False)]


def _different(scene: Scene, kind: str, count: int, rng: random.Random) -> Pieces:
    """At most `count` different questions of one type, and their answers."""
    return _answered({question.text: question.answer for _ in range(count) if (question := ask(scene, kind, rng))})


def _answered(asked: dict[str, str]) -> Pieces:
    """Questions and their answers, which are learned."""
    return [piece for text, answer in asked.items() for piece in ((text, False), (f" {answer}", True), (".\n", False))]


def _named(which: int, colour: str, shape: str, place: str) -> str:
    return with_article((f"{colour} {shape}", f"{shape} {place}", f"{colour} object {place}")[which])


def _distinct(rng: random.Random) -> list[tuple[str, str, str]]:
    """Four to seven times a colour, a shape and a place in words, none of them withheld together."""
    while True:
        count = rng.randint(4, len(SHAPES))
        cells = rng.sample(range(len(PLACES)), count)
        found = list(zip(rng.sample(list(COLOURS), count), rng.sample(SHAPES, count), cells, strict=True))
        if not any(is_withheld(*thing) for thing in found):
            return [(colour, shape, PHRASES[PLACES[cell]]) for colour, shape, cell in found]


def _statement(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """The start of a sentence and its end: every attribute, by every other one that means a single thing."""
    thing = rng.choice(scene.things)
    asked = rng.choice(("colour", "shape", "place", "character") if thing.shape == "card" else _ASKED)
    spot = f"the object {PHRASES[thing.place]}"
    if asked == "character":
        cards = [name for name in references(scene, thing) if name.endswith("card")]
        return f"{rng.choice([*cards, f'the card {PHRASES[thing.place]}'])} says", thing.character
    if asked == "place":
        names = references(scene, thing)
        return (f"{rng.choice(names)} lies", PHRASES[thing.place]) if names else (f"{spot} is", thing.colour)
    names = references(scene, thing, without=asked)
    name = rng.choice([spot, *names, *names])
    return (f"{name} is", thing.colour) if asked == "colour" else (f"{name} is a", thing.shape)


_ASKED = ("colour", "shape", "place")


def mixed_questions(
    scene: Scene, rng: random.Random, count: int, kinds: Sequence[str] = tuple(TYPES)
) -> list[Question]:
    """At most `count` different questions, spread over the types; three times in ten, one asks to tell all of a thing.

    Types of which the scene allows no question are left out; at least one of `kinds` must be one that it always does.
    """
    wanted = list(kinds) * -(-count // len(kinds))
    rng.shuffle(wanted)
    found = {question.text: question for kind in wanted if (question := ask(scene, kind, rng))}
    asked = list(found.values())[:count]
    if asked and rng.random() < 0.3:
        asked[rng.randrange(len(asked))] = _tell_about(scene, rng)
    return asked


def _tell_about(scene: Scene, rng: random.Random) -> Question:
    """A whole phrase as the answer: the same look-up as one word, learned from many more tokens."""
    thing = rng.choice(scene.things)
    name = rng.choice([*references(scene, thing), f"the object {PHRASES[thing.place]}"])
    return Question("detail", f"Tell me about {name}.", f"{with_article(noun(thing))} {PHRASES[thing.place]}")


def conversation(asked: list[Question], context: str) -> tuple[Turn, ...]:
    """Questions and answers as turns; `context` (a description or `<image>`) opens the first one."""
    turns: list[Turn] = []
    for index, question in enumerate(asked):
        turns.append(Turn("user", (context if index == 0 else "") + question.text))
        turns.append(Turn("assistant", question.answer))
    return tuple(turns)
