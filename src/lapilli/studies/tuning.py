"""What a study of a tuning is about: a base, its tuned version and models beside them, and questions that all read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lapilli.core.errors import UsageError
from lapilli.core.names import shortest_ends
from lapilli.data.contexts import read_contexts
from lapilli.data.questions import PictureQuestion, drawn, read_picture_questions, without_pictures
from lapilli.data.sample import Sample, Turn
from lapilli.model.hub import recorded, require_different

BASE, TUNED, FLOOR, CONTROL = "base", "tuned", "floor", "control"
"""The models by what they are for: `floor` is tuned with another seed, `control` on shuffled pictures."""

KINDS = ("image", "text")
"""The kinds of prompts: questions with their pictures, and without."""

CAPTIONS = "context.jsonl"
"""The file of captions in a folder of scenes."""

FEWEST = 50
"""The least number of samples: the neighbors of fewer are those of chance, and a share of a gain has no bounds."""


@dataclass(frozen=True)
class Tuning:
    """What decides the figures. `models` are folders by role, `labels` what pages call them."""

    models: Mapping[str, Path]
    labels: Mapping[str, str]
    data: Path
    samples: int
    seed: int

    @cached_property
    def all_questions(self) -> list[PictureQuestion]:
        """Every question of the data."""
        return read_picture_questions(self.data)

    @cached_property
    def questions(self) -> list[PictureQuestion]:
        """The questions that the models read, as `drawn` draws them."""
        return drawn(self.all_questions, self.samples, self.seed)

    @cached_property
    def prompts(self) -> dict[str, list[Sample]]:
        """The samples of every kind, one of each question."""
        with_picture = [question.sample for question in self.questions]
        return dict(zip(KINDS, (with_picture, [without_pictures(sample) for sample in with_picture]), strict=True))

    @cached_property
    def captions(self) -> list[Sample]:
        """The longest caption of every question's picture, a text without pictures; none unless all have one with text.

        Raises LapilliError for a damaged file of captions.
        """
        if not (self.data / CAPTIONS).is_file():
            return []
        texts: dict[str, str] = {}
        for one in read_contexts(self.data):  # a picture may have several
            texts[one.image] = max([texts.get(one.image, ""), *map(str.strip, one.captions)], key=len)
        if not all(texts.get(question.image) for question in self.questions):
            return []
        return [Sample(one.id, (), (Turn("user", texts[one.image]),)) for one in self.questions]


def tuning(models: Mapping[str, Path], data: Path, samples: int, seed: int) -> Tuning:
    """What a study of these models is about. Raises UsageError for a model that is given twice and too few samples.

    Raises LapilliError for a folder without questions.
    """
    require_different(list(models.values()))
    if samples < FEWEST:
        raise UsageError(f"{samples} samples: a tuning is studied on {FEWEST} or more; ask for as many")
    labels = shortest_ends([recorded(model) for model in models.values()])
    of = Tuning(dict(models), dict(zip(models, labels, strict=True)), data, samples, seed)
    if len(of.questions) < FEWEST:
        raise UsageError(
            f"{data}: {len(of.questions)} samples of different pictures and questions; {FEWEST} are needed, add some"
        )
    return of
