"""Scenes in words alone: the texts that the language model learns from before it is joined to a vision encoder.

A description stands where the picture will stand, so that the model looks facts up in a text as it will in an image.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.describe import describe, listed, noun, with_article
from lapilli.data.scenes.questions import READING, SAME_COLOR, TYPES, Question, ask, references, snapped
from lapilli.data.scenes.scene import MOST, Scene, sample_scene
from lapilli.data.scenes.vocabulary import CHARACTERS, COLORS, PHRASES, PLACES, SHAPES, is_withheld

DETAIL_REQUESTS = (
    "Describe the picture.",
    "What do you see?",
    "Tell me everything that is in the picture.",
    "What is in the image?",
)


def textual_scene(seed: str, most: int) -> Scene:
    """Return a scene of at most `most` things, with the attributes that its description gives."""
    scene = sample_scene(seed)
    return snapped(replace(scene, things=scene.things[:most]))


def reading_sample(seed: str, most: int, count: int, kinds: Sequence[str] = tuple(TYPES)) -> Sample:
    """A description and a conversation about it: `count` questions of these types, at most."""
    rng = random.Random(seed + "/reading")
    scene = textual_scene(seed, most)
    questions = mixed_questions(scene, rng, count, kinds)
    context = describe(scene, rng, shuffled=True) + "\n"
    return Sample(id=seed, images=(), turns=conversation(questions, context))


def question_in_words(seed: str, kind: str) -> Question | None:
    """One question of this type behind the description of its scene, or None where the scene allows none."""
    rng = random.Random(seed + "/question")
    scene = textual_scene(seed, MOST)
    question = ask(scene, kind, rng)
    return question and replace(question, text=f"{describe(scene, rng, shuffled=True)}\n{question.text}")


Pieces = list[tuple[str, bool]]
"""A text in pieces, each with whether it is learned: whether it follows from the text before."""


def retelling(seed: str, most: int) -> Pieces:
    """A description, and a second one in other words and in reading order, as a picture's caption will be."""
    rng = random.Random(seed + "/retelling")
    scene = textual_scene(seed, most)
    return [(describe(scene, rng, shuffled=True) + "\n", False), (describe(scene, rng) + "\n", True)]


def statements(seed: str, most: int, count: int) -> Pieces:
    """A description and `count` sentences that follow from it, of which the ends are learned.

    "The circle is red": the attribute that is looked up stands right before its value, the easiest look-up.
    """
    rng = random.Random(seed + "/statements")
    scene = textual_scene(seed, most)
    pieces: Pieces = [(describe(scene, rng, shuffled=True) + "\n", False)]
    for _ in range(count):
        start, end = _statement(scene, rng)
        pieces += [(start[0].upper() + start[1:], False), (f" {end}", True), (".\n", False)]
    return pieces


def pairs(seed: str, placed: bool = False) -> Pieces:
    """A list of things, no color and no shape twice, and a sentence about every second one, in another order.

    Only the place of the word in question helps, so that the look-up is all there is to learn. Sentences about all
    things could be guessed from the things not mentioned yet, which would be learned first. With `placed`, it is a list
    of colors or shapes with their places.
    """
    rng = random.Random(seed + "/pairs")
    things, which = _distinct(rng), rng.choice((1, 2)) if placed else 0
    pieces = _list_of(_entry(which, *thing) for thing in things)
    for color, shape, place in rng.sample(things, len(things) // 2):
        start, end = rng.choice(
            (
                ((f"The {shape} is", color), (f"The {color}", shape)),
                ((f"The {shape} lies", place), (f"The object {place} is a", shape)),
                ((f"The {color} object lies", place), (f"The object {place} is", color)),
            )[which]
        )
        pieces += [(start, False), (f" {end}", True), (".\n", False)]
    return pieces


def counts(seed: str, most: int, count: int) -> Pieces:
    """A list of things of which colors and shapes recur, and at most `count` questions of how many there are.

    The list has colors and shapes alone, so that there is nothing to learn but to count.
    """
    rng = random.Random(seed + "/counts")
    scene = textual_scene(seed, most)
    questions = _different(scene, "counting", count, rng)
    return _list_of(with_article(f"{thing.color} {thing.shape}") for thing in scene.things) + questions


def cards(seed: str) -> Pieces:
    """A list of cards in their places, and the characters of half of them.

    Ordinary scenes seldom have more than one card, so that a model may learn to answer with any card's character.
    """
    rng = random.Random(seed + "/cards")
    count = rng.randint(4, 7)
    places = [PHRASES[place] for place in rng.sample(PLACES, count)]
    signs = dict(zip(places, rng.sample(CHARACTERS, count), strict=True))
    pieces = _list_of(
        f"a card with the {'digit' if sign.isdigit() else 'letter'} {sign} {place}" for place, sign in signs.items()
    )
    chosen = rng.sample(places, count // 2)
    return pieces + _answered({rng.choice(READING).format(f"the card {place}"): signs[place] for place in chosen})


def relations(seed: str, most: int, count: int) -> Pieces:
    """A list of things with their places, and at most `count` questions of how two of them lie to each other.

    `most` is at least 2.
    """
    return _quiz(seed + "/relations", "spatial", most, count)


def two_steps(seed: str, most: int, count: int) -> Pieces:
    """A list of things with their places, and at most `count` questions that take two steps."""
    return _quiz(seed + "/two_steps", "reasoning", most, count)


def comparisons(seed: str, count: int) -> Pieces:
    """A list of things in two or three colors, and at most `count` questions of whether the colors of two agree."""
    rng = random.Random(seed + "/comparisons")
    palette = rng.sample(list(COLORS), rng.randint(2, 3))
    colors = {shape: rng.choice(palette) for shape in rng.sample(SHAPES, rng.randint(4, len(SHAPES)))}
    couples = [(first, second) for first in colors for second in colors if first != second]
    groups = [[pair for pair in couples if (colors[pair[0]] == colors[pair[1]]) == alike] for alike in (True, False)]
    chosen = {rng.choice(rng.choice([group for group in groups if group])): None for _ in range(count)}
    answers = {
        SAME_COLOR.format(f"the {first}", f"the {second}"): "yes" if colors[first] == colors[second] else "no"
        for first, second in chosen
    }
    return _list_of(with_article(f"{color} {shape}") for shape, color in colors.items()) + _answered(answers)


def _quiz(seed: str, kind: str, most: int, count: int) -> Pieces:
    """A list of things with their places, and at most `count` different questions of one type, at least one.

    All things are large and plain, so that no question refers to an attribute that the list leaves out.
    """
    rng = random.Random(seed)
    questions: Pieces = []
    for attempt in itertools.count():
        scene = textual_scene(f"{seed}-{attempt}", most)
        scene = replace(scene, things=tuple(replace(thing, size="large", texture="plain") for thing in scene.things))
        if questions := _different(scene, kind, count, rng):
            break
    things = [f"{with_article(f'{thing.color} {thing.shape}')} {PHRASES[thing.place]}" for thing in scene.things]
    return _list_of(rng.sample(things, len(things))) + questions


def _list_of(things: Iterable[str]) -> Pieces:
    text = listed(list(things))
    return [(text[0].upper() + text[1:] + ".\n", False)]


def _different(scene: Scene, kind: str, count: int, rng: random.Random) -> Pieces:
    """At most `count` different questions of one type, and their answers."""
    return _answered({question.text: question.answer for _ in range(count) if (question := ask(scene, kind, rng))})


def _answered(answers: dict[str, str]) -> Pieces:
    """Questions and their answers, which are learned."""
    parts = (((text, False), (f" {answer}", True), (".\n", False)) for text, answer in answers.items())
    return [piece for part in parts for piece in part]


def _entry(which: int, color: str, shape: str, place: str) -> str:
    return with_article((f"{color} {shape}", f"{shape} {place}", f"{color} object {place}")[which])


def _distinct(rng: random.Random) -> list[tuple[str, str, str]]:
    """Four to seven times a color, a shape and a place in words, none of them withheld together."""
    while True:
        count = rng.randint(4, len(SHAPES))
        cells = rng.sample(range(len(PLACES)), count)
        things = list(zip(rng.sample(list(COLORS), count), rng.sample(SHAPES, count), cells, strict=True))
        if not any(is_withheld(*thing) for thing in things):
            return [(color, shape, PHRASES[PLACES[cell]]) for color, shape, cell in things]


def _statement(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """The start of a sentence and its end: every attribute, by every other one that means a single thing."""
    thing = rng.choice(scene.things)
    attribute = rng.choice(("color", "shape", "place", "character") if thing.shape == "card" else _ATTRIBUTES)
    spot = f"the object {PHRASES[thing.place]}"
    if attribute == "character":
        cards = [name for name in references(scene, thing) if name.endswith("card")]
        return f"{rng.choice([*cards, f'the card {PHRASES[thing.place]}'])} says", thing.character
    if attribute == "place":
        names = references(scene, thing)
        return (f"{rng.choice(names)} lies", PHRASES[thing.place]) if names else (f"{spot} is", thing.color)
    names = references(scene, thing, without=attribute)
    name = rng.choice([spot, *names, *names])
    return (f"{name} is", thing.color) if attribute == "color" else (f"{name} is a", thing.shape)


_ATTRIBUTES = ("color", "shape", "place")


def mixed_questions(
    scene: Scene, rng: random.Random, count: int, kinds: Sequence[str] = tuple(TYPES)
) -> list[Question]:
    """At most `count` different questions, spread over the types; in three of ten, one asks for all of a thing.

    Types of which the scene allows no question are left out; at least one of `kinds` must be one that it always does.
    """
    wanted = list(kinds) * -(-count // len(kinds))
    rng.shuffle(wanted)
    questions = {question.text: question for kind in wanted if (question := ask(scene, kind, rng))}
    chosen = list(questions.values())[:count]
    if chosen and rng.random() < 0.3:
        chosen[rng.randrange(len(chosen))] = _tell_about(scene, rng)
    return chosen


def _tell_about(scene: Scene, rng: random.Random) -> Question:
    """A question with a whole phrase as its answer: the look-up of a single word, learned from many more tokens."""
    thing = rng.choice(scene.things)
    name = rng.choice([*references(scene, thing), f"the object {PHRASES[thing.place]}"])
    return Question("detail", f"Tell me about {name}.", f"{with_article(noun(thing))} {PHRASES[thing.place]}")


def conversation(questions: list[Question], context: str) -> tuple[Turn, ...]:
    """Questions and answers as turns; `context` (a description or `<image>`) opens the first one."""
    turns: list[Turn] = []
    for index, question in enumerate(questions):
        turns.append(Turn("user", (context if index == 0 else "") + question.text))
        turns.append(Turn("assistant", question.answer))
    return tuple(turns)
