"""From questions and models to results: ask all, take some of the answers apart, and keep each as soon as it is done.

Asking is cheap, taking apart is not, and few answers are made up. So all questions are asked, and of the answers every
wrong yes is taken apart, beside some right ones of either kind, drawn at random: areas under ROC curves do not depend
on how many there are of each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from lapilli.core.errors import UsageError
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.questions import PictureQuestion
from lapilli.data.sample import Sample
from lapilli.inspection.triage.decision import measured, said, wording
from lapilli.inspection.triage.results import GROUPS, Answered, group_of, results
from lapilli.model.llava import Llava, pixels_of

RESULT = "hallucination"
"""The name of the study's result in its run folder."""

PER_WRONG = 4
"""Right answers of either kind that are taken apart for every wrong yes."""

FEWEST = 50
"""Right answers of either kind that are taken apart at least, where there are so many."""

_TRIED = 8  # questions by which a model's wording is told

Pictures: TypeAlias = Callable[[str], Image.Image]
Respond: TypeAlias = Callable[[Llava, Sequence[Sample], Pictures], list[str]]


def study(
    models: Mapping[str, Path],
    asked: Sequence[PictureQuestion],
    pictures: Pictures,
    load: Callable[[Path], Llava],
    respond: Respond,
    run: RunDir,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Ask every model, by its label, every question, and save what comes of it; what the run has is not done again.

    `respond` gives greedy answers, and `progress` is told of every step how far it has come. Raises UsageError where
    all questions are about one picture.
    """
    if len({question.image for question in asked}) < 2:
        raise UsageError("hallucination: all questions are about one picture, and a control needs another; add some")
    answers: list[list[str]] = []
    taken: list[Answered] = []
    for model, (label, path) in enumerate(models.items()):
        llava = cache(partial(load, path))  # not before something is asked of it
        given = _answers(run, model, llava, asked, pictures, respond, partial(progress, f"{label}: asking"))
        answers.append([said(text) for text in given["texts"]])
        steps = partial(progress, f"{label}: taking apart")
        taken += _taken_apart(run, model, llava, asked, answers[-1], given["words"], pictures, seed, steps)
    views = [pixels_of(path).view for path in models.values()]
    made = results(
        list(models), asked, answers, taken, lambda one: views[one.model](pictures(one.question.image)), seed
    )
    run.save(RESULT, made)
    return made


def chosen(asked: Sequence[PictureQuestion], answers: Sequence[str], seed: int) -> list[int]:
    """The numbers of the answers to be taken apart, ascending: every wrong yes, some right ones of either kind."""
    groups = [group_of(question, one) for question, one in zip(asked, answers, strict=True)]
    of = {group: [number for number, one in enumerate(groups) if one == group] for group in GROUPS}
    rng = np.random.default_rng(seed)
    found = list(of["wrong yes"])
    for group in ("right yes", "right no"):
        count = min(len(of[group]), max(FEWEST, PER_WRONG * len(of["wrong yes"])))
        found += rng.choice(of[group], count, replace=False).tolist() if count else []
    return sorted(found)


def _answers(
    run: RunDir,
    model: int,
    llava: Callable[[], Llava],
    asked: Sequence[PictureQuestion],
    pictures: Pictures,
    respond: Respond,
    note: Callable[[int, int], None],
) -> dict[str, Any]:
    """A model's answers, and its words for yes and no."""
    name = f"model-{model}/answers"
    note(0, len(asked))
    if not run.has(name):
        texts = respond(llava(), [question.sample for question in asked], pictures)
        tried = [(question.sample, pictures(question.image)) for question in asked[:_TRIED]]
        run.save(name, {"texts": texts, "words": wording(llava(), tried)})
    note(len(asked), len(asked))
    found: dict[str, Any] = run.load(name)
    return found


def _taken_apart(
    run: RunDir,
    model: int,
    llava: Callable[[], Llava],
    asked: Sequence[PictureQuestion],
    answers: Sequence[str],
    words: Sequence[str],
    pictures: Pictures,
    seed: int,
    note: Callable[[int, int], None],
) -> Iterator[Answered]:
    numbers = chosen(asked, answers, seed)
    others = sorted({question.image for question in asked})
    for done, number in enumerate(numbers):
        note(done, len(numbers))
        question, name = asked[number], f"model-{model}/{number:06d}"
        if not run.has(name):
            other = _another(others, question.image, seed + number)
            shown = pictures(question.image), pictures(other)
            run.save(name, measured(llava(), question, *shown, (words[0], words[1]), seed + number))
        yield Answered(model, number, question, group_of(question, answers[number]), run.load(name))
    note(len(numbers), len(numbers))


def _another(pictures: Sequence[str], own: str, seed: int) -> str:
    """One of the pictures, not a question's own."""
    rest = [picture for picture in pictures if picture != own]
    return rest[int(np.random.default_rng(seed).integers(len(rest)))]
