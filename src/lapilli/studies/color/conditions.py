"""The colour questions of a folder of scenes, and the conditions under which they are asked.

    VQA        a tuned model, the picture and the question
    TQA-tuned  a tuned model, the same facts as a text in the place of <image>, and no image token: "LLaVA, text only"
    TQA-base   the language model before it was tuned, the same text
    prior      a tuned model, the question alone: what is known without facts

The text is a description of the scene in the forms that the language model learned to read (data/scenes/textual.py),
with every object's size, texture, colour, shape and place: enough to answer from.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.questions import PictureQuestion, read_picture_questions
from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.describe import describe
from lapilli.data.scenes.facts import asked_about, read_scenes
from lapilli.data.scenes.questions import COLOR, references, snapped
from lapilli.data.scenes.scene import Scene, Thing
from lapilli.data.scenes.vocabulary import COLORS, PHRASES

Form: TypeAlias = Literal["picture", "text", "nothing"]
"""What stands before the question."""


@dataclass(frozen=True)
class Condition:
    """One way to ask; `base` says that it is the untuned model that is asked."""

    name: str
    form: Form
    base: bool
    says: str


CONDITIONS = (
    Condition("VQA", "picture", False, "tuned model, picture and question"),
    Condition("TQA-tuned", "text", False, "tuned model, the same facts as a text in the picture's place"),
    Condition("TQA-base", "text", True, "language model before tuning, the same text"),
    Condition("prior", "nothing", False, "tuned model, the question alone"),
)


@dataclass(frozen=True)
class Asked:
    """A question for the colour of one thing, and what it is compared with.

    question      the picture's question, whose right answer is `colour`
    thing         the number of the thing asked about, and
    order         those of all things, in the order in which `facts`, the scene as a text, tells of them
    paraphrase    the same question in the other wording
    swapped       the same wording about another thing, of another colour; none where there is none
    against       another colour, drawn at random
    """

    question: PictureQuestion
    scene: Scene
    thing: int
    facts: str
    order: tuple[int, ...]
    paraphrase: str
    swapped: str | None
    against: str

    @property
    def colour(self) -> str:
        """The right answer."""
        return self.scene.things[self.thing].colour

    @property
    def shape(self) -> str:
        """What the thing asked about is."""
        return self.scene.things[self.thing].shape

    def sample(self, form: Form, question: str | None = None) -> Sample:
        """What asks it, or another question in its place, with the facts in this form."""
        words = question or self.question.question
        before = {"picture": IMAGE_MARK + "\n", "text": self.facts + "\n", "nothing": ""}[form]
        images = (self.question.image,) if form == "picture" else ()
        return Sample(self.question.id, images, (Turn("user", before + words),))


def read_asked(folder: Path, count: int, seed: int) -> list[Asked]:
    """`count` colour questions of a folder of scenes, or all where there are fewer, drawn by the seed; in its order.

    Left out are questions in other words than `COLOUR`, and those that name more than one thing, or none. Raises
    LapilliError when none is left.
    """
    scenes = read_scenes(folder)
    fitting = [
        (question, scenes[question.image], name)
        for question in read_picture_questions(folder)
        if question.type == "colour" and question.image in scenes and (name := _name(question.question)) is not None
    ]
    found = [(*one, thing[0]) for one in fitting if len(thing := asked_about(one[1], one[0].question)) == 1]
    if not found:
        remedy = "make one with: lapilli data scenes FOLDER --split held_out"
        raise LapilliError(f"{folder}: no question {COLOR[0].format('…')!r} about one thing of a scene; {remedy}")
    chosen = sorted(random.Random(seed).sample(range(len(found)), min(count, len(found))))
    return [_asked(*found[number], seed) for number in chosen]


def _name(question: str) -> tuple[int, str] | None:
    """The number of the wording, and what it calls the thing."""
    for number, wording in enumerate(COLOR):
        if match := re.fullmatch(re.escape(wording).replace(r"\{\}", "(.+)"), question):
            return number, match[1]
    return None


def _asked(question: PictureQuestion, scene: Scene, named: tuple[int, str], thing: int, seed: int) -> Asked:
    wording, name = named
    told = snapped(scene)
    rng = random.Random(f"{seed}/{question.id}")
    facts, order = told_in_order(told, f"{seed}/{question.id}/facts")
    other = _other_name(told, thing, rng)
    colour = scene.things[thing].colour
    return Asked(
        question=question,
        scene=scene,
        thing=thing,
        facts=facts,
        order=order,
        paraphrase=COLOR[1 - wording].format(name),
        swapped=None if other is None else COLOR[wording].format(other),
        against=rng.choice([one for one in COLORS if one != colour]),
    )


def told_in_order(scene: Scene, seed: str) -> tuple[str, tuple[int, ...]]:
    """A description of a scene as it stands, shuffled by the seed, and the numbers of the things in its order."""
    order = list(range(len(scene.things)))
    random.Random(seed).shuffle(order)  # the first that `describe` does with its generator
    return describe(scene, random.Random(seed), shuffled=True), tuple(order)


def _other_name(scene: Scene, thing: int, rng: random.Random) -> str | None:
    """A name for another thing, of another colour."""
    others: Sequence[Thing] = [one for one in scene.things if one.colour != scene.things[thing].colour]
    if not others:
        return None
    other = rng.choice(others)
    return rng.choice([*references(scene, other, without="colour"), f"the object {PHRASES[other.place]}"])
