"""The color questions of a folder of scenes, and the conditions under which they are asked.

    VQA        a tuned model, the picture and the question
    TQA-tuned  a tuned model, the same facts as a text in the place of <image>, and no image token: "LLaVA, text only"
    TQA-base   the language model before it was tuned, the same text
    prior      a tuned model, the question alone, without facts

The text is a description of the scene in the forms that the language model learned to read (data/scenes/textual.py),
with every object's size, texture, color, shape and place: enough to answer from.
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
"""The form of the facts before the question."""


@dataclass(frozen=True)
class Condition:
    """One way to ask, in a form; `base` is whether the untuned model is asked."""

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
class ColorQuestion:
    """A question for the color of one thing, and the questions and the color that it is compared with.

    question      the picture's question, whose right answer is `color`
    thing         the number of the target thing, which the question is about
    facts         the scene as a text
    order         the numbers of all things in the order of `facts`
    paraphrase    the same question in the other wording
    swapped       the same wording about another thing, of another color; None where there is none
    against       another color, drawn at random
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
    def color(self) -> str:
        """The right answer."""
        return self.scene.things[self.thing].color

    @property
    def shape(self) -> str:
        """The shape of the target thing."""
        return self.scene.things[self.thing].shape

    def sample(self, form: Form, question: str | None = None) -> Sample:
        """The sample that asks it, or another question in its place, with the facts in this form."""
        words = question or self.question.question
        before = {"picture": IMAGE_MARK + "\n", "text": self.facts + "\n", "nothing": ""}[form]
        images = (self.question.image,) if form == "picture" else ()
        return Sample(self.question.id, images, (Turn("user", before + words),))


def read_color_questions(folder: Path, count: int, seed: int) -> list[ColorQuestion]:
    """Draw `count` color questions of a folder of scenes by the seed, or all of fewer; in the folder's order.

    Questions in other words than `COLOR`, and those that fit several things, or none, are left out. Raises
    LapilliError when none is left.
    """
    scenes = read_scenes(folder)
    fitting = [
        (question, scenes[question.image], name)
        for question in read_picture_questions(folder)
        if question.type == "color" and question.image in scenes and (name := _name(question.question)) is not None
    ]
    candidates = [
        (*candidate, thing[0])
        for candidate in fitting
        if len(thing := asked_about(candidate[1], candidate[0].question)) == 1
    ]
    if not candidates:
        remedy = "make one with: lapilli data scenes FOLDER --split held_out"
        raise LapilliError(f"{folder}: no question {COLOR[0].format('…')!r} about one thing of a scene; {remedy}")
    chosen = sorted(random.Random(seed).sample(range(len(candidates)), min(count, len(candidates))))
    return [_color_question(*candidates[number], seed) for number in chosen]


def seed_name(question: PictureQuestion) -> str:
    """The id of a question as seeds have it: it ended in "-colour" when the first figures were drawn."""
    return re.sub(r"-color$", "-colour", question.id)


def _name(question: str) -> tuple[int, str] | None:
    """The number of the wording, and the thing's name in it; None for another question."""
    for number, wording in enumerate(COLOR):
        if match := re.fullmatch(re.escape(wording).replace(r"\{\}", "(.+)"), question):
            return number, match[1]
    return None


def _color_question(
    question: PictureQuestion, scene: Scene, wording_and_name: tuple[int, str], thing: int, seed: int
) -> ColorQuestion:
    wording, name = wording_and_name
    described = snapped(scene)
    own = f"{seed}/{seed_name(question)}"
    rng = random.Random(own)
    facts, order = described_in_order(described, f"{own}/facts")
    other = _other_name(described, thing, rng)
    color = scene.things[thing].color
    return ColorQuestion(
        question=question,
        scene=scene,
        thing=thing,
        facts=facts,
        order=order,
        paraphrase=COLOR[1 - wording].format(name),
        swapped=None if other is None else COLOR[wording].format(other),
        against=rng.choice([other_color for other_color in COLORS if other_color != color]),
    )


def described_in_order(scene: Scene, seed: str) -> tuple[str, tuple[int, ...]]:
    """A description of a scene, shuffled by the seed, and the numbers of the things in its order."""
    order = list(range(len(scene.things)))
    random.Random(seed).shuffle(order)  # as `describe` begins with its generator
    return describe(scene, random.Random(seed), shuffled=True), tuple(order)


def _other_name(scene: Scene, thing: int, rng: random.Random) -> str | None:
    """A name for another thing, of another color."""
    others: Sequence[Thing] = [candidate for candidate in scene.things if candidate.color != scene.things[thing].color]
    if not others:
        return None
    other = rng.choice(others)
    return rng.choice([*references(scene, other, without="color"), f"the object {PHRASES[other.place]}"])
