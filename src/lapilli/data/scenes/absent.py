"""Questions about what is not in a picture, beside as many about what is: do the answers hold, or are they made up?

The design is POPE's (Li et al. 2023, arXiv 2305.10355); an object is a color with a shape. Absent ones are of three
kinds:

random       any that is not there
popular      one of the most common of the whole folder, an eighth of all, that is not there
adversarial  its color is there and its shape is there, but not together

Every question about an absent object has one about a present object of the same picture, in the same wording.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TypeAlias

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.questions import PictureQuestion, plain_answer, read_picture_questions
from lapilli.data.scenes.describe import with_article
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.questions import EXISTENCE
from lapilli.data.scenes.scene import Scene
from lapilli.data.scenes.vocabulary import COLORS, SHAPES

KINDS = ("random", "popular", "adversarial")
"""The kinds of absent objects. The type of a question is one of them, or PRESENT."""

PRESENT = "present"

GIVEN = "given"
"""The kind of absent objects of which it is not known: the questions came with the pictures."""

Pair: TypeAlias = tuple[str, str]
"""A color and a shape."""

PAIRS = tuple((color, shape) for color in COLORS for shape in SHAPES)
"""All that can be asked for."""


def existence_questions(scenes: Mapping[str, Scene], count: int, seed: int = 0) -> list[PictureQuestion]:
    """So many questions about the pictures of these scenes, half to be answered with yes and half with no.

    They are the first `existence_pairs`. Raises UsageError for an odd number, and for more than the scenes allow.
    """
    if count < 2 or count % 2:
        raise UsageError(f"--questions {count}: half are about absent objects; give an even number of at least 2")
    questions = list(chain.from_iterable(islice(existence_pairs(scenes, seed), count // 2)))
    if len(questions) < count:
        limit = f"{len(scenes)} scenes have {len(questions)}"
        raise UsageError(f"--questions {count}: {limit}; give fewer, or make more with: lapilli data scenes")
    return questions


def existence_pairs(scenes: Mapping[str, Scene], seed: int = 0) -> Iterator[tuple[PictureQuestion, PictureQuestion]]:
    """A question about an absent object and one about a present one of the same picture, until a kind has no more.

    The kinds come in turn, so that each has a third of the absent objects, to one. No picture is asked the same thing
    twice, and none of a kind twice.
    """
    rng = random.Random(seed)
    common = popular(scenes)
    used: set[tuple[str, Pair]] = set()
    waiting = {kind: iter(rng.sample(sorted(scenes), len(scenes))) for kind in KINDS}
    for kind in cycle(KINDS):
        pair = next(_both(scenes, waiting[kind], kind, common, used, rng=rng), None)
        if pair is None:
            return
        yield pair


def yes_or_no(folder: Path, count: int, seed: int = 0) -> list[PictureQuestion]:
    """`existence_questions` of a folder of scenes; of another folder its own questions of type existence.

    Of those, so many drawn at random, or all if they are fewer; their type becomes GIVEN where the answer is no, and
    PRESENT where it is yes. Raises LapilliError when the folder has none of either.
    """
    if (folder / "scenes.jsonl").is_file():
        return existence_questions(read_scenes(folder), count, seed)
    kinds = {"yes": PRESENT, "no": GIVEN}
    rows = [
        row for row in read_picture_questions(folder) if row.type == "existence" and plain_answer(row.answer) in kinds
    ]
    if {plain_answer(row.answer) for row in rows} != set(kinds):
        raise LapilliError(f"{folder}: no questions of type existence to be answered with yes and with no; add both")
    some = random.Random(seed).sample(rows, min(count, len(rows)))
    return [replace(row, type=kinds[plain_answer(row.answer)]) for row in some]


def popular(scenes: Mapping[str, Scene]) -> list[Pair]:
    """The eighth of all pairs that is in the most scenes; of equal ones the first of the vocabulary."""
    counts = Counter(pair for scene in scenes.values() for pair in _there(scene))
    return sorted(PAIRS, key=lambda pair: -counts[pair])[: len(PAIRS) // 8]


def object_of(question: PictureQuestion) -> str:
    """The object that a question of existence asks about; in words that scenes do not use, the question itself."""
    text = plain_answer(question.question)
    for wording in EXISTENCE:
        before, _, after = wording.lower().partition("{}")
        words = text.removeprefix(before).removesuffix(after).split()
        if text.startswith(before) and text.endswith(after) and words[:1] in (["a"], ["an"]):
            return " ".join(words[1:])
    return text


def absent(scene: Scene, kind: str, common: list[Pair]) -> list[Pair]:
    """The pairs of this kind that are not in a scene; `common` are the popular ones of its folder."""
    there = _there(scene)
    colors, shapes = {color for color, _ in there}, {shape for _, shape in there}
    of_kind = {
        "random": PAIRS,
        "popular": common,
        "adversarial": [(color, shape) for color, shape in PAIRS if color in colors and shape in shapes],
    }
    return [pair for pair in of_kind[kind] if pair not in there]


def _both(
    scenes: Mapping[str, Scene],
    pictures: Iterator[str],
    kind: str,
    common: list[Pair],
    used: set[tuple[str, Pair]],
    rng: random.Random,
) -> Iterator[tuple[PictureQuestion, PictureQuestion]]:
    """A question about an absent object and one about a present one, of each picture that has new ones of both."""
    for picture in pictures:
        not_there = [pair for pair in absent(scenes[picture], kind, common) if (picture, pair) not in used]
        there = [pair for pair in sorted(_there(scenes[picture])) if (picture, pair) not in used]
        if not_there and there:
            wording, chosen = rng.choice(EXISTENCE), (rng.choice(not_there), rng.choice(there))
            used.update((picture, pair) for pair in chosen)
            name = f"{picture.rsplit('.', 1)[0]}-{kind}"
            texts = [wording.format(with_article(" ".join(pair))) for pair in chosen]
            yield (
                PictureQuestion(name, picture, texts[0], "no", kind),
                PictureQuestion(f"{name}-{PRESENT}", picture, texts[1], "yes", PRESENT),
            )


def _there(scene: Scene) -> set[Pair]:
    return {(thing.color, thing.shape) for thing in scene.things}
