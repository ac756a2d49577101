"""What decides the figures of the study of hallucinations, and what it asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lapilli.core.errors import UsageError
from lapilli.core.names import shortest_ends
from lapilli.data.questions import PictureQuestion
from lapilli.data.scenes.absent import yes_or_no
from lapilli.model.hub import recorded, require_different

RESULT = "hallucination"
"""The name of the study's result in its run folder."""


@dataclass(frozen=True)
class Settings:
    """What decides a study's figures. `models` are folders by their labels."""

    models: dict[str, Path]
    data: Path
    questions: int
    seed: int

    @cached_property
    def picture_questions(self) -> list[PictureQuestion]:
        """The questions that every model is asked. Raises LapilliError as `yes_or_no` does."""
        return yes_or_no(self.data, self.questions, self.seed)


def settings(models: Sequence[Path], data: Path, questions: int, seed: int) -> Settings:
    """The settings, with the models called by the shortest ends of their paths.

    Raises UsageError for a model that is given twice, and where all questions are about one picture; LapilliError as
    `yes_or_no` does.
    """
    require_different(models)
    labels = shortest_ends([recorded(model) for model in models])
    of = Settings(dict(zip(labels, models, strict=True)), data, questions, seed)
    if len({question.image for question in of.picture_questions}) < 2:
        raise UsageError("hallucination: all questions are about one picture, and a control needs another; add some")
    return of
