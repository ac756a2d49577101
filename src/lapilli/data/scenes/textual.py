"""Scenes in words alone: what the language model reads before it ever meets a picture.

A description stands where the picture will stand, so that looking a fact up in a text and looking it up in an image
become the same act.
"""

from __future__ import annotations

import random
from dataclasses import replace

from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.describe import describe, noun, with_article
from lapilli.data.scenes.questions import TYPES, Question, ask, references, snapped
from lapilli.data.scenes.scene import Scene, sample_scene
from lapilli.data.scenes.vocabulary import PHRASES

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


def reading_sample(seed: str, most: int, questions: int) -> Sample:
    """A description and a conversation about it: `questions` questions of mixed types, sometimes a retelling."""
    rng = random.Random(seed + "/reading")
    scene = textual_scene(seed, most)
    asked = mixed_questions(scene, rng, questions)
    if rng.random() < 0.3:
        asked.insert(rng.randrange(len(asked) + 1), Question("detail", rng.choice(DETAIL_REQUESTS), describe(scene, rng)))
    context = describe(scene, rng, shuffled=True) + "\n"
    return Sample(id=seed, images=(), turns=conversation(asked, context))


def retelling(seed: str, most: int) -> str:
    """A description and the same scene told again in reading order: text as the model will see a picture's caption."""
    rng = random.Random(seed + "/retelling")
    scene = textual_scene(seed, most)
    return describe(scene, rng, shuffled=True) + "\n" + describe(scene, rng)


def mixed_questions(scene: Scene, rng: random.Random, count: int) -> list[Question]:
    """`count` different questions, spread over the types; one in eight asks to tell all about one thing."""
    kinds = list(TYPES) * (count // len(TYPES) + 1)
    rng.shuffle(kinds)
    found = {question.text: question for kind in kinds if (question := ask(scene, kind, rng))}
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
