"""Scenes in words alone: what the language model reads before it ever meets a picture.

A description stands where the picture will stand, so that looking a fact up in a text and looking it up in an image
become the same act.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.describe import describe, listed, noun, with_article
from lapilli.data.scenes.questions import TYPES, Question, ask, references, snapped
from lapilli.data.scenes.scene import Scene, sample_scene
from lapilli.data.scenes.vocabulary import COLOURS, PHRASES, SHAPES

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
    """A description and a conversation about it: `questions` questions of these types, sometimes a retelling."""
    rng = random.Random(seed + "/reading")
    scene = textual_scene(seed, most)
    asked = mixed_questions(scene, rng, questions, kinds)
    if rng.random() < 0.3:
        place = rng.randrange(len(asked) + 1)
        asked.insert(place, Question("detail", rng.choice(DETAIL_REQUESTS), describe(scene, rng)))
    context = describe(scene, rng, shuffled=True) + "\n"
    return Sample(id=seed, images=(), turns=conversation(asked, context))


Pieces = list[tuple[str, bool]]
"""A text in pieces, each with whether it is to be learned: whether it follows from what stands before it."""


def retelling(seed: str, most: int, verbatim: bool = False) -> Pieces:
    """A description, and the scene told again: word by word, or in reading order, as a picture's caption will be."""
    rng = random.Random(seed + "/retelling")
    scene = textual_scene(seed, most)
    first = describe(scene, rng, shuffled=True)
    return [(first + "\n", not verbatim), ((first if verbatim else describe(scene, rng)) + "\n", True)]


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
        pieces += [(start[0].upper() + start[1:], False), (f" {end}.\n", True)]
    return pieces


def pairs(seed: str) -> Pieces:
    """A list of things, no colour and no shape twice, and a sentence about each, in another order.

    There is nothing to go by but the one place where the word in question stands: the look-up itself, and nothing else.
    """
    rng = random.Random(seed + "/pairs")
    count = rng.randint(4, len(SHAPES))
    found = list(zip(rng.sample(list(COLOURS), count), rng.sample(SHAPES, count), strict=True))
    pieces: Pieces = [
        (listed([with_article(f"{colour} {shape}") for colour, shape in found]).capitalize() + ".\n", False)
    ]
    for colour, shape in rng.sample(found, count):
        if rng.random() < 0.5:
            pieces += [(f"The {shape} is", False), (f" {colour}", True), (".\n", False)]
        else:
            pieces += [(f"The {colour}", False), (f" {shape}", True), (" is there.\n", False)]
    return pieces


def _statement(scene: Scene, rng: random.Random) -> tuple[str, str]:
    thing = rng.choice(scene.things)
    options = [(f"{name} is", thing.colour) for name in references(scene, thing, without="colour")]
    options += [(f"{name} lies", PHRASES[thing.place]) for name in references(scene, thing) if "object" not in name]
    if sum(other.colour == thing.colour for other in scene.things) == 1:
        options += [(f"there is only one {thing.colour}", thing.shape)] * 2
    if thing.shape == "card":
        options += [(f"{name} says", thing.character) for name in references(scene, thing) if "object" not in name]
    return rng.choice(options or [(f"the object at the {thing.place} is", thing.colour)])


def mixed_questions(
    scene: Scene, rng: random.Random, count: int, kinds: Sequence[str] = tuple(TYPES)
) -> list[Question]:
    """At most `count` different questions, spread over the types; one of eight asks to tell all about one thing.

    Types of which the scene allows no question are left out; at least one of `kinds` must be one that it always does.
    """
    wanted = list(kinds) * -(-count // len(kinds))
    rng.shuffle(wanted)
    found = {question.text: question for kind in wanted if (question := ask(scene, kind, rng))}
    asked = list(found.values())[:count]
    if rng.random() < count / 8:
        asked[rng.randrange(len(asked))] = _tell_about(scene, rng)
    return asked


def _tell_about(scene: Scene, rng: random.Random) -> Question:
    """A whole phrase as the answer: the same look-up as one word, learned from many more tokens."""
    thing = rng.choice(scene.things)
    name = rng.choice([*references(scene, thing), f"the object at the {thing.place}"])
    return Question("detail", f"Tell me about {name}.", f"{with_article(noun(thing))} {PHRASES[thing.place]}")


def conversation(asked: list[Question], context: str) -> tuple[Turn, ...]:
    """Questions and answers as turns; `context` (a description or `<image>`) opens the first one."""
    turns: list[Turn] = []
    for index, question in enumerate(asked):
        turns.append(Turn("user", (context if index == 0 else "") + question.text))
        turns.append(Turn("assistant", question.answer))
    return tuple(turns)
