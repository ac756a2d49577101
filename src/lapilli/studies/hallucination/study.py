"""From questions and models to results: ask all, take some of the answers apart, and keep each as soon as it is done.

Asking is cheap, taking apart is not, and few answers are made up. So all questions are asked, and of the answers every
wrong yes is taken apart, beside some right ones of either kind, drawn at random: areas under ROC curves do not depend
on how many there are of each. For what turns when patches are taken away, every wrong yes gets a right one about the
same object that is as sure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
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
from lapilli.data.scenes.absent import object_of
from lapilli.data.yes_no import leading_word
from lapilli.model.llava import Llava, pixels_of
from lapilli.studies.hallucination.answered import GROUPS, Answered, group_of
from lapilli.studies.hallucination.margin import Words, margin, measured, wording
from lapilli.studies.hallucination.matching import Matching, Yes, matched
from lapilli.studies.hallucination.results import results

RESULT = "hallucination"
"""The name of the study's result in its run folder."""

VERSION = 2
"""Of what is measured. A folder that was begun with another is not gone on with."""

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
    matchings: list[tuple[Matching, list[tuple[Answered, Answered]]]] = []
    for model, (label, path) in enumerate(models.items()):
        llava = cache(partial(load, path))  # not before something is asked of it
        given = _answers(run, model, llava, asked, pictures, respond, partial(progress, f"{label}: asking"))
        answers.append([leading_word(text) for text in given["texts"]])
        words = given["words"][0], given["words"][1]
        subject = _Subject(run, model, label, llava, asked, answers[-1], words, pictures, seed, progress)
        mine = list(_taken_apart(subject, chosen(asked, answers[-1], seed), "taking apart"))
        taken += mine
        matchings.append(_matched(subject, mine))
    views = [pixels_of(path).view for path in models.values()]

    def shown(one: Answered) -> Image.Image:
        return views[one.model](pictures(one.question.image))

    made = results(list(models), asked, answers, taken, matchings, shown, seed)
    run.save(RESULT, made)
    return made


@dataclass(frozen=True)
class _Subject:
    """A model, what it was asked and answered, and its words for yes and no."""

    run: RunDir
    model: int
    label: str
    llava: Callable[[], Llava]
    asked: Sequence[PictureQuestion]
    answers: Sequence[str]
    words: Words
    pictures: Pictures
    seed: int
    progress: Progress

    def note(self, step: str, done: int, total: int) -> None:
        """How far a step of this model's has come."""
        self.progress(f"{self.label}: {step}", done, total)

    def group(self, number: int) -> str:
        """Which of GROUPS the answer to a question is."""
        return group_of(self.asked[number], self.answers[number])


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


def _taken_apart(subject: _Subject, numbers: Sequence[int], step: str) -> Iterator[Answered]:
    asked, run, seed = subject.asked, subject.run, subject.seed
    others = sorted({question.image for question in asked})
    for done, number in enumerate(numbers):
        subject.note(step, done, len(numbers))
        question, name = asked[number], f"model-{subject.model}/{number:06d}"
        if not run.has(name):
            other = _another(others, question.image, seed + number)
            shown = subject.pictures(question.image), subject.pictures(other)
            run.save(name, measured(subject.llava(), question, *shown, subject.words, seed + number))
        yield Answered(subject.model, number, question, subject.group(number), run.load(name))
    subject.note(step, len(numbers), len(numbers))


def _matched(subject: _Subject, taken: Sequence[Answered]) -> tuple[Matching, list[tuple[Answered, Answered]]]:
    """The made-up answers beside grounded ones that are taken apart for their sake."""
    made_up = [one for one in taken if one.group == "wrong yes" and one.is_kept]
    about = {one.number: object_of(one.question) for one in made_up}
    grounded = [
        Yes(number, object_of(subject.asked[number]), margin)
        for number, margin in _margins(subject, set(about.values())).items()
        if margin > 0
    ]
    matching = matched([Yes(one.number, about[one.number], one.margin) for one in made_up], grounded)
    numbers = [number for _, number in matching.pairs]
    partners = _taken_apart(subject, numbers, "taking partners apart")
    of = {one.number: one for one in made_up}
    return matching, [(of[pair[0]], one) for pair, one in zip(matching.pairs, partners, strict=True)]


def _margins(subject: _Subject, objects: Set[str]) -> dict[int, float]:
    """The margins of all grounded yes about these objects, by their questions' numbers."""
    numbers = [
        number
        for number, question in enumerate(subject.asked)
        if subject.group(number) == "right yes" and object_of(question) in objects
    ]
    name, margins = f"model-{subject.model}/margins", []
    if not subject.run.has(name):
        for done, number in enumerate(numbers):
            subject.note("reading margins", done, len(numbers))
            question = subject.asked[number]
            margins.append(margin(subject.llava(), question, subject.pictures(question.image), subject.words))
        subject.run.save(name, margins)
    subject.note("reading margins", len(numbers), len(numbers))
    return dict(zip(numbers, subject.run.load(name), strict=True))


def _another(pictures: Sequence[str], own: str, seed: int) -> str:
    """One of the pictures, not a question's own."""
    rest = [picture for picture in pictures if picture != own]
    return rest[int(np.random.default_rng(seed).integers(len(rest)))]
