"""What decides the figures of a comparison, and the questions whose states are compared."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lapilli.core.errors import UsageError
from lapilli.core.names import shortest_ends
from lapilli.data.questions import PictureQuestion, read_picture_questions
from lapilli.data.sample import Sample, Turn
from lapilli.model.hub import recorded, require_different

RESULT, PATCH = "compare", "patch"
"""The names of the studies' results in their run folders."""

BASE, TUNED, FLOOR, CONTROL, AGAIN = "base", "tuned", "floor", "control", "again"
"""The models by what they are for: `again` is the base in another number format and in other batches."""

KINDS = {"image": ("last", "question_end", "image_mean"), "text": ("last", "question_end")}
"""The kinds of prompts, with the positions that are kept of them: questions with their pictures, and without."""

FEWEST = 50
"""The least number of samples: the neighbors of fewer are those of chance."""


@dataclass(frozen=True)
class Settings:
    """What decides a comparison's figures. `models` are folders by role, `labels` what the page calls them."""

    models: Mapping[str, Path]
    labels: Mapping[str, str]
    data: Path
    samples: int
    seed: int

    @cached_property
    def questions(self) -> list[PictureQuestion]:
        """The questions whose states are compared, as `drawn` draws them."""
        return drawn(read_picture_questions(self.data), self.samples, self.seed)

    @cached_property
    def prompts(self) -> dict[str, list[Sample]]:
        """The samples of every kind, one of each question."""
        with_picture = [question.sample for question in self.questions]
        return {"image": with_picture, "text": [without_pictures(sample) for sample in with_picture]}

    @property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """The pairs of models that are compared: what the tuning changed, and the floors beside it."""
        pairs = {"change": (BASE, TUNED), AGAIN: (BASE, AGAIN)}
        if FLOOR in self.models:
            pairs |= {FLOOR: (TUNED, FLOOR)}
        if CONTROL in self.models:
            pairs |= {CONTROL: (BASE, CONTROL), "gain": (CONTROL, TUNED)}
        return pairs


def settings(models: Mapping[str, Path], data: Path, samples: int, seed: int) -> Settings:
    """The settings of a comparison. Raises UsageError for a model that is given twice and for too few samples.

    Raises LapilliError for a folder without questions.
    """
    require_different(list(models.values()))
    labels = shortest_ends([recorded(model) for model in models.values()])
    of = Settings(dict(models), dict(zip(models, labels, strict=True)), data, samples, seed)
    if len(of.questions) < FEWEST:
        raise UsageError(
            f"{data}: {len(of.questions)} samples of different pictures and questions; {FEWEST} are needed, add some"
        )
    return of


def drawn(questions: Sequence[PictureQuestion], count: int, seed: int) -> list[PictureQuestion]:
    """At most `count` questions, no two of them about one picture or in the same words: samples must be independent.

    Pictures, and the question of each, are drawn by the seed.
    """
    rng = random.Random(seed)
    by_picture: dict[str, list[PictureQuestion]] = {}
    for question in questions:
        by_picture.setdefault(question.image, []).append(question)
    chosen: dict[str, PictureQuestion] = {}
    for picture in rng.sample(list(by_picture), len(by_picture)):
        fresh = [question for question in by_picture[picture] if question.question not in chosen]
        if fresh and len(chosen) < count:
            question = rng.choice(fresh)
            chosen[question.question] = question
    return list(chosen.values())


def without_pictures(sample: Sample) -> Sample:
    """The same question with no picture to it."""
    (turn,) = sample.turns
    return replace(sample, images=(), turns=(Turn(turn.role, turn.text.partition("\n")[2]),))
