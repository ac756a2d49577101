"""What decides the figures of the study of color questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core import spelling
from lapilli.core.errors import UsageError
from lapilli.core.run import RunDir
from lapilli.studies.color.conditions import read_color_questions

BASE = "base"

RESULT = "color"
"""What the run calls all that comes of it."""


def result_of(run: RunDir) -> dict[str, Any]:
    """The result of a finished study, with the words that were read as they are spelled today."""
    result: dict[str, Any] = run.load(RESULT)
    return result | {"decoding": [spelling.entry(row, "word") for row in result["decoding"]]}


@dataclass(frozen=True)
class Settings:
    """What decides a study's figures. `models` are folders by their labels, the one before tuning first."""

    models: dict[str, Path]
    data: Path
    questions: int
    seed: int


def settings(base: Path, tuned: Sequence[Path], data: Path, questions: int, seed: int) -> Settings:
    """The settings, with the models called base, tuned 1, tuned 2, ...

    Raises UsageError for a model that is not there, and LapilliError as `read_color_questions` does.
    """
    for path in (base, *tuned):
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder; give a LLaVA whose language model is not tuned, then tuned ones")
    read_color_questions(data, questions, seed)
    models = {BASE: base} | {f"tuned {number}": path for number, path in enumerate(tuned, 1)}
    return Settings({label: path.resolve() for label, path in models.items()}, data.resolve(), questions, seed)
