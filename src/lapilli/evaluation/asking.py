"""Asking the questions of a benchmark, with their pictures and under the controls that show whether a model sees.

Nothing here knows a model: a function that answers samples is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn
from lapilli.evaluation.benchmark import TEXT, Benchmark, Q, Response
from lapilli.evaluation.perplexity import Likelihood

CONDITIONS = ("image", "blank", "swapped", "language_only")
"""With its picture, with a grey one of its size, with another question's, and with none: the language model alone."""

GRAY = (128, 128, 128)

Answerer: TypeAlias = Callable[[Sequence[Sample], Callable[[str], Image.Image]], Sequence[str]]
"""Answers each sample's last question; the second argument opens a picture by its name."""

Round: TypeAlias = tuple[str, str, str]
"""A benchmark's name, the split, and the condition."""

Keep: TypeAlias = Callable[[Answerer, Round], Answerer]
"""Makes of an answerer one that keeps the answers of a round, such as `AnswerLog.answerer`."""


@dataclass(frozen=True)
class Result:
    """What came of a benchmark: its rows of scores and of constant answers, and every response."""

    scores: Sequence[Any]
    constants: Sequence[Any]
    responses: Sequence[Response[Any]]


def evaluate(
    benchmark: Benchmark[Any],
    data: Path,
    count: int,
    answer: Answerer,
    keep: Keep | None = None,
    likelihood: Likelihood | None = None,
) -> Result:
    """Ask and score `count` questions of every type, and measure with `likelihood`, if given, what else there is.

    Raises as `ask_rounds` does.
    """
    responses = ask_rounds(benchmark, data, count, answer, keep=keep)
    read = [benchmark.read(data / split, split, count) for split in benchmark.splits]
    constants = [row for questions in read for row in benchmark.constants(questions)]
    measured = benchmark.measure(likelihood) if benchmark.measure and likelihood else ()
    return Result([*benchmark.score(responses), *measured], constants, responses)


def ask_rounds(
    benchmark: Benchmark[Q],
    data: Path,
    count: int,
    answer: Answerer,
    on_round: Callable[[], None] | None = None,
    keep: Keep | None = None,
) -> list[Response[Q]]:
    """Ask `count` questions of every type about the folders in `data`, once for each of the benchmark's rounds.

    Calls `on_round` after each. `keep` is handed the answerer before each round. Raises LapilliError as the benchmark's
    `read` and `ask` do.
    """
    responses: list[Response[Q]] = []
    for split, condition in benchmark.rounds:
        questions = benchmark.read(data / split, split, count)
        answerer = keep(answer, (benchmark.name, split, condition)) if keep else answer
        responses += ask(benchmark, questions, data / split, condition, answerer)
        if on_round:
            on_round()
    return responses


def ask(
    benchmark: Benchmark[Q], questions: Sequence[Q], folder: Path, condition: str, answer: Answerer
) -> list[Response[Q]]:
    """Ask every question under one of `CONDITIONS`, or `TEXT`; `folder` is the one the questions were read from.

    Raises LapilliError when pictures are to be swapped and the folder holds only one.
    """
    images = benchmark.images(folder)
    samples = [_sample(benchmark, question, condition) for question in questions]
    if condition == "swapped":
        samples = _swapped(samples, images)

    stored = opener(benchmark, folder)

    def blank(name: str) -> Image.Image:
        return Image.new("RGB", stored(name).size, GRAY)

    answers = answer(samples, blank if condition == "blank" else stored)
    return [Response(question, condition, text) for question, text in zip(questions, answers, strict=True)]


def opener(benchmark: Benchmark[Any], folder: Path) -> Callable[[str], Image.Image]:
    """What opens, by their names, the pictures of the questions that were read from `folder`."""
    if benchmark.open_picture:
        return partial(benchmark.open_picture, folder)
    return partial(open_picture, benchmark.images(folder))


def _sample(benchmark: Benchmark[Q], question: Q, condition: str) -> Sample:
    prompt = benchmark.prompt(question)
    if condition in ("language_only", TEXT) or not question.image:
        return Sample(question.id, (), (Turn("user", prompt),))
    return Sample(question.id, (question.image,), (Turn("user", f"{IMAGE_MARK}\n{prompt}"),))


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
