"""Accuracy on scenes by type of question, beside the controls that show whether the model sees at all.

Each question is asked four times: with its picture, with a blank picture, with another scene's picture, and without a
picture (the language model alone). The share that one constant answer would get right stands beside them: whoever does
not look cannot do much better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.core.statistics.proportion import Difference, Proportion
from lapilli.data.paths import PictureError, picture_path
from lapilli.data.pictures import open_picture
from lapilli.data.questions import plain_answer, read_picture_questions, same_answer
from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.questions import TYPES
from lapilli.data.scenes.vocabulary import COLORS

CONDITIONS = ("image", "blank", "swapped", "language_only")
ROUNDS = (*(("held_out", condition) for condition in CONDITIONS), ("compositional", "image"))
"""Every split and condition that a model is scored under."""

EVERY_TYPE = "all"
UNTYPED = "other"
"""The type of questions that name none."""

GRAY = (128, 128, 128)

Answerer = Callable[[Sequence[Sample], Callable[[str], Image.Image]], Sequence[str]]
"""Answers each sample's last question; the second argument opens a picture by its name."""


@dataclass(frozen=True)
class SceneQuestion:
    """A question about a picture of the folder `split`, and its one right answer."""

    id: str
    split: str
    image: str
    type: str
    question: str
    answer: str


@dataclass(frozen=True)
class Asked:
    """A question, the condition it was asked under, and what came back."""

    question: SceneQuestion
    condition: str
    given: str

    @property
    def right(self) -> bool:
        """Equal to the right answer, but for capitals, a full stop and spaces around it."""
        return same_answer(self.given, self.question.answer)


@dataclass(frozen=True)
class Score:
    """The share of right answers of one type (or `all`) under one condition, with its 95 % interval.

    Questions about one picture are a cluster: what is drawn badly is answered wrongly whatever is asked.
    """

    split: str
    condition: str
    type: str
    share: Proportion


def read_questions(folder: Path, split: str, per_type: int) -> list[SceneQuestion]:
    """The first `per_type` questions of every type of a folder, those of `lapilli data scenes` in its order.

    Raises LapilliError for a folder without questions, for a row that is none, for a type named as all together are,
    and for a picture that is not there.
    """
    by_type: dict[str, list[SceneQuestion]] = {kind: [] for kind in TYPES}
    for row in read_picture_questions(folder):
        try:
            picture_path(folder / "images", row.image)
        except PictureError as error:
            raise LapilliError(f"{folder}: question {row.id!r}: {error}") from error
        if row.type == EVERY_TYPE:
            raise LapilliError(
                f"{folder}: question {row.id!r}: type {EVERY_TYPE!r} means all together; name it otherwise"
            )
        kind = row.type or UNTYPED
        asked = SceneQuestion(row.id, split, row.image, kind, row.question, row.answer)
        by_type.setdefault(kind, []).append(asked)
    return [question for found in by_type.values() for question in found[:per_type]]


def ask_rounds(
    data: Path, rounds: Iterable[tuple[str, str]], per_type: int, answer: Answerer, on_round: Callable[[], None]
) -> list[Asked]:
    """Ask `per_type` questions of every type about the folders in `data`, once for each of `rounds`.

    Calls `on_round` after each. Raises LapilliError as `read_questions` and `ask_all` do.
    """
    found: list[Asked] = []
    for split, condition in rounds:
        found += ask_all(read_questions(data / split, split, per_type), data / split, condition, answer)
        on_round()
    return found


def ask_all(questions: Sequence[SceneQuestion], folder: Path, condition: str, answer: Answerer) -> list[Asked]:
    """Ask every question under one of `CONDITIONS`; `folder` is the one the questions were read from.

    Raises LapilliError when pictures are to be swapped and the folder holds only one.
    """
    images = folder / "images"
    samples = [_sample(question, condition) for question in questions]
    if condition == "swapped":
        samples = _swapped(samples, images)

    def blank(name: str) -> Image.Image:
        return Image.new("RGB", open_picture(images, name).size, GRAY)

    def stored(name: str) -> Image.Image:
        return open_picture(images, name)

    given = answer(samples, blank if condition == "blank" else stored)
    return [Asked(question, condition, text) for question, text in zip(questions, given, strict=True)]


def scores(asked: Sequence[Asked]) -> list[Score]:
    """One score for each split, condition and type, and for all types together; in the order of the tables."""
    groups: dict[tuple[str, str, str], list[Asked]] = {}
    for one in asked:
        for kind in (one.question.type, EVERY_TYPE):
            groups.setdefault((one.question.split, one.condition, kind), []).append(one)
    return [Score(*key, _share(group)) for key, group in groups.items()]


def _share(asked: Sequence[Asked]) -> Proportion:
    return clustered([one.right for one in asked], [one.question.image for one in asked])


def best_constants(questions: Sequence[SceneQuestion]) -> dict[str, tuple[str, Proportion]]:
    """For each type the answer that is right most often, and how often it is."""
    found = {}
    for kind in dict.fromkeys(question.type for question in questions):
        asked = [question for question in questions if question.type == kind]
        answers = Counter(plain_answer(question.answer) for question in asked)
        plain = answers.most_common(1)[0][0]
        answer = next(question.answer for question in asked if plain_answer(question.answer) == plain)
        found[kind] = (answer, _share([Asked(question, "constant", answer) for question in asked]))
    return found


@dataclass(frozen=True)
class ColoursMentioned:
    """Of the colour words in captions, how many name a colour of the picture, and of another scene's picture.

    `gain` is the difference. Words of one caption are a cluster in all three intervals. Without a word there is none.
    """

    own: Proportion
    shuffled: Proportion
    gain: Difference | None


def colours_mentioned(captions: Sequence[str], truths: Sequence[frozenset[str]]) -> ColoursMentioned:
    """Judge captions against the colours of their scenes, and against those of the next scene as a control."""
    said = [(number, word) for number, text in enumerate(captions) for word in _words(text) if word in COLORS]
    caption = [number for number, _ in said]

    def right(colours: Sequence[frozenset[str]]) -> list[bool]:
        return [word in colours[number] for number, word in said]

    own, shuffled = right(truths), right([*truths[1:], *truths[:1]])
    gain = clustered_mean(np.subtract(own, shuffled, dtype=np.float64), caption)
    apart = Difference(gain.value, gain.low, gain.high) if said else None
    return ColoursMentioned(clustered(own, caption), clustered(shuffled, caption), apart)


def scene_colours(folder: Path, count: int) -> dict[str, frozenset[str]]:
    """The colours of the things in the first `count` pictures of a folder, by the picture's name."""
    scenes = list(read_scenes(folder).items())[:count]
    return {image: frozenset(thing.colour for thing in scene.things) for image, scene in scenes}


def _sample(question: SceneQuestion, condition: str) -> Sample:
    if condition == "language_only":
        return Sample(question.id, (), (Turn("user", question.question),))
    return Sample(question.id, (question.image,), (Turn("user", "<image>\n" + question.question),))


def _swapped(samples: Sequence[Sample], images: Path) -> list[Sample]:
    """Every question with the picture of the next question that has another one, or else any other of `images`."""
    names = [sample.images[0] for sample in samples]
    swapped = []
    for index, sample in enumerate(samples):
        others = chain(names[index + 1 :], names[:index], _pictures(images))
        other = next((name for name in others if name != names[index]), None)
        if other is None:
            raise LapilliError(f"{images}: no picture but {names[index]}: nothing to swap it with; draw more scenes")
        swapped.append(Sample(sample.id, (other,), sample.turns))
    return swapped


def _pictures(images: Path) -> Iterator[str]:
    """The names in a folder, which is read when the first is asked for."""
    yield from sorted(file.name for file in images.iterdir())


def _words(text: str) -> list[str]:
    return text.lower().replace(".", " ").replace(",", " ").replace(":", " ").split()
