"""Asking the questions of a benchmark, with their pictures and under the controls that show whether a model sees.

Nothing here knows a model: a function that answers samples is passed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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

TEACHER_FORCED, NO_HISTORY = HISTORIES = ("teacher_forced", "no_history")
"""Its picture, behind the right answers to the earlier turns of its conversation, and without these turns.

Under all other conditions it stands behind the model's own answers. A question without earlier turns is not asked.
"""

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
    """Ask every question under one of `CONDITIONS` or `HISTORIES`, or `TEXT`; all first turns, then all second ones.

    `folder` is the one the questions were read from. Raises LapilliError when pictures are to be swapped and the folder
    holds only one.
    """
    if condition == TEACHER_FORCED and benchmark.expected is None:
        raise ValueError(
            f"benchmark {benchmark.name}: the condition {TEACHER_FORCED} needs the right answers, `expected`"
        )
    images = benchmark.images(folder)
    pictures = _shown([question.image for question in questions], condition, images)
    stored = opener(benchmark, folder)

    def blank(name: str) -> Image.Image:
        return Image.new("RGB", stored(name).size, GRAY)

    answers: dict[int, str] = {}
    for conversations in _by_turn(benchmark, questions)[condition in HISTORIES :]:
        samples = []
        for turns in conversations:
            spoken = _spoken(benchmark, questions, turns, condition, answers)
            samples.append(_sample(questions[turns[-1]].id, pictures[turns[0]], spoken))
        texts = answer(samples, blank if condition == "blank" else stored)
        answers |= zip((turns[-1] for turns in conversations), texts, strict=True)
    return [Response(questions[at], condition, answers[at]) for at in sorted(answers)]


def opener(benchmark: Benchmark[Any], folder: Path) -> Callable[[str], Image.Image]:
    """What opens, by their names, the pictures of the questions that were read from `folder`."""
    if benchmark.open_picture:
        return partial(benchmark.open_picture, folder)
    return partial(open_picture, benchmark.images(folder))


def _by_turn(benchmark: Benchmark[Q], questions: Sequence[Q]) -> list[list[tuple[int, ...]]]:
    """The indices of all first turns, of all second ones and so on, each behind those of the turns before it."""
    conversations: dict[str, tuple[int, ...]] = {}
    by_turn: defaultdict[int, list[tuple[int, ...]]] = defaultdict(list)
    for at, question in enumerate(questions):
        name = benchmark.conversation(question) if benchmark.conversation else ""
        turns = (*conversations.get(name, ()), at) if name else (at,)
        conversations[name] = turns
        by_turn[len(turns)].append(turns)
    return [by_turn[turn] for turn in sorted(by_turn)]


def _spoken(
    benchmark: Benchmark[Q], questions: Sequence[Q], turns: Sequence[int], condition: str, answers: Mapping[int, str]
) -> list[str]:
    """The prompt of the last of these turns, behind those of the others with the answers that the condition has."""
    *before, last = turns
    prompt = benchmark.prompt(questions[last])
    if condition == NO_HISTORY:
        return [prompt]
    if condition == TEACHER_FORCED and benchmark.expected:  # `ask` has refused it without
        replies = [benchmark.expected(questions[at])[0] for at in before]
    else:
        replies = [answers[at] for at in before]
    exchanges = zip((benchmark.prompt(questions[at]) for at in before), replies, strict=True)
    return [*chain.from_iterable(exchanges), prompt]


def _sample(name: str, image: str, spoken: Sequence[str]) -> Sample:
    """The sample of these turns, of which the first begins with the picture, if there is one."""
    first, *others = spoken
    texts = [f"{IMAGE_MARK}\n{first}" if image else first, *others]
    turns = (Turn("assistant" if at % 2 else "user", text) for at, text in enumerate(texts))
    return Sample(name, (image,) if image else (), tuple(turns))


def _shown(names: Sequence[str], condition: str, images: Path) -> list[str]:
    """The picture that is shown with every question; of those to be swapped that of the next question with another.

    Where no question has another it is any other of `images`.
    """
    if condition in ("language_only", TEXT):
        return [""] * len(names)
    return [_other(names, index, images) for index in range(len(names))] if condition == "swapped" else list(names)


def _other(names: Sequence[str], index: int, images: Path) -> str:
    others = chain(names[index + 1 :], names[:index], _pictures(images))
    other = next((name for name in others if name != names[index]), None)
    if other is None:
        raise LapilliError(f"{images}: no picture but {names[index]}: nothing to swap it with; draw more scenes")
    return other


def _pictures(images: Path) -> Iterator[str]:
    """The names in a folder, which is read when the first is asked for."""
    yield from sorted(file.name for file in images.iterdir())
