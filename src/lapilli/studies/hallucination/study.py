"""From questions and models to results: ask all, take some of the answers apart.

Asking is cheap, taking apart is not, and few answers are made up. So all questions are asked, and of the answers every
wrong yes is taken apart, beside some right ones of either kind, drawn at random: areas under ROC curves do not depend
on how many there are of each. For what turns when patches are taken away, every wrong yes gets a right one about the
same object that is as sure.

    model-0/answers   a model's answers to all questions, and its words for yes and no
    model-0/000012    its answer to a question, taken apart
    model-0/margins   the margins of its grounded yes about the objects of made-up ones
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, fingerprint
from lapilli.data.scenes.absent import object_of
from lapilli.data.yes_no import leading_word
from lapilli.inference.answer import answer
from lapilli.model.hub import recorded
from lapilli.model.llava import Llava, load, pixels_of
from lapilli.model.parts import origin
from lapilli.model.placement import settings as device_settings
from lapilli.studies.hallucination.analysed_answers import GROUPS, AnalysedAnswer, group_of
from lapilli.studies.hallucination.analysis import analyse
from lapilli.studies.hallucination.margin import Words, margin, measured, wording
from lapilli.studies.hallucination.matching import Matching, Yes, matched
from lapilli.studies.hallucination.settings import RESULT, Settings
from lapilli.studies.steps import Step, carry_out, result

VERSION = 2
"""Of what is measured. A folder that was begun with another is not gone on with."""

PER_WRONG = 4
"""Right answers of either kind that are taken apart for every wrong yes."""

FEWEST = 50
"""Right answers of either kind that are taken apart at least, where there are so many."""

Note: TypeAlias = Callable[[int, int], None]
"""Is told how many questions are done, and of how many."""

_TRIED = 8  # questions by which a model's wording is told
_MAX_NEW_TOKENS = 8  # yes or no, and a few words to see that it was neither


def opened(out: Path, of: Settings, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of a study: new, interrupted, or finished.

    Raises LapilliError as `RunDir.begin` does, and where the models' place is not there, before anything is written.
    """
    device_settings(placement)
    models = list(of.models.values())
    recipe: dict[str, Any] = {"study": RESULT, "version": VERSION, "data": str(of.data.resolve())}
    recipe |= {"questions": of.questions, "seed": of.seed, "models": [recorded(model) for model in models]}
    recipe |= {"data_sha256": fingerprint(of.data), "weights": [origin(model).sha256 for model in models]}
    return RunDir.begin(out, recipe, of.seed)


def study(of: Settings, run: RunDir, placement: Placement, progress: Progress) -> dict[str, Any]:
    """Ask every model every question, and save what comes of it; what the run has is not done again."""
    opening = lru_cache(maxsize=1)(partial(load, placement=placement))  # one model at a time is held
    subjects = [
        Subject(of, run, number, label, partial(opening, path))
        for number, (label, path) in enumerate(of.models.items())
    ]
    last = Step("results", [result(run, RESULT, partial(_results, of, subjects))], counted=False)
    carry_out(chain(*(subject.steps(progress) for subject in subjects), [last]), progress)
    made: dict[str, Any] = run.load(RESULT)
    return made


def _results(of: Settings, subjects: Sequence["Subject"]) -> dict[str, Any]:
    views = [pixels_of(path).view for path in of.models.values()]

    def picture_of(answer: AnalysedAnswer) -> Image.Image:
        return views[answer.model](open_picture(of.data / "images", answer.question.image))

    return analyse(
        list(of.models),
        of.picture_questions,
        answers=[subject.answers for subject in subjects],
        analysed=[answer for subject in subjects for answer in subject.taken],
        matchings=[(subject.matching, subject.pairs) for subject in subjects],
        picture_of=picture_of,
        seed=of.seed,
    )


@dataclass(frozen=True, eq=False)
class Subject:
    """One model of a study: the steps that measure it, and what they have saved. `llava` opens it."""

    of: Settings
    run: RunDir
    model: int
    label: str
    llava: Callable[[], Llava]

    def steps(self, progress: Progress) -> Iterator[Step]:
        """Asking, and taking answers apart: first those that are chosen at random, then those that are matched."""
        yield from self._whole("asking", "answers", self._ask, len(self.of.picture_questions), progress)
        yield self._taking_apart("taking apart", self._chosen)
        yield from self._whole("reading margins", "margins", self._read_margins, len(self._grounded), progress)
        yield self._taking_apart("taking partners apart", [partner for _, partner in self.matching.pairs])

    @cached_property
    def answers(self) -> list[str]:
        """yes, no or other, of every question."""
        return [leading_word(text) for text in self.run.load(self._file("answers"))["texts"]]

    @cached_property
    def taken(self) -> list[AnalysedAnswer]:
        """The answers that are chosen at random, taken apart."""
        return self._answered(self._chosen)

    @cached_property
    def matching(self) -> Matching:
        """The made-up answers beside grounded ones that are taken apart for their sake."""
        margins = dict(zip(self._grounded, self.run.load(self._file("margins")), strict=True))
        grounded = [Yes(number, self._object(number), one) for number, one in margins.items() if one > 0]
        return matched([Yes(one.number, self._object(one.number), one.margin) for one in self._made_up], grounded)

    @property
    def pairs(self) -> list[tuple[AnalysedAnswer, AnalysedAnswer]]:
        """The pairs of the matching, taken apart."""
        made_up = {one.number: one for one in self._made_up}
        partners = self._answered([partner for _, partner in self.matching.pairs])
        return [(made_up[number], one) for (number, _), one in zip(self.matching.pairs, partners, strict=True)]

    @cached_property
    def _words(self) -> Words:
        first, second = self.run.load(self._file("answers"))["words"]
        return first, second

    @cached_property
    def _images(self) -> list[str]:
        return sorted({question.image for question in self.of.picture_questions})

    @cached_property
    def _chosen(self) -> list[int]:
        return chosen(self.of.picture_questions, self.answers, self.of.seed)

    @property
    def _made_up(self) -> list[AnalysedAnswer]:
        return [one for one in self.taken if one.group == "wrong yes" and one.is_kept]

    @cached_property
    def _grounded(self) -> list[int]:
        """The numbers of all grounded yes about the objects of made-up ones."""
        objects = {self._object(one.number) for one in self._made_up}
        return [
            number
            for number in range(len(self.of.picture_questions))
            if self._group(number) == "right yes" and self._object(number) in objects
        ]

    def _whole(
        self, what: str, name: str, make: Callable[[Note], Any], count: int, progress: Progress
    ) -> Iterator[Step]:
        """The step that makes one result, of so many questions."""
        note = partial(progress, f"{self.label}: {what}")
        note(0, count)
        yield Step(f"{self.label}: {what}", [result(self.run, self._file(name), partial(make, note))], counted=False)
        note(count, count)

    def _taking_apart(self, what: str, numbers: Sequence[int]) -> Step:
        tasks = [result(self.run, self._file(f"{number:06d}"), partial(self._measured, number)) for number in numbers]
        return Step(f"{self.label}: {what}", tasks)

    def _ask(self, note: Note) -> dict[str, Any]:
        questions = self.of.picture_questions

        def answered(done: int) -> None:
            note(done, len(questions))

        samples = [question.sample for question in questions]
        answers = answer(self.llava(), samples, self._picture, _MAX_NEW_TOKENS, progress=answered)
        tried = [(question.sample, self._picture(question.image)) for question in questions[:_TRIED]]
        return {"texts": [one.text for one in answers], "words": wording(self.llava(), tried)}

    def _measured(self, number: int) -> dict[str, Any]:
        question, seed = self.of.picture_questions[number], self.of.seed + number
        picture, other = (self._picture(name) for name in (question.image, another(self._images, question.image, seed)))
        return measured(self.llava(), question, picture, other=other, words=self._words, seed=seed)

    def _read_margins(self, note: Note) -> list[float]:
        margins = []
        for done, number in enumerate(self._grounded):
            note(done, len(self._grounded))
            question = self.of.picture_questions[number]
            margins.append(margin(self.llava(), question, self._picture(question.image), self._words))
        return margins

    def _answered(self, numbers: Sequence[int]) -> list[AnalysedAnswer]:
        measurements = [self.run.load(self._file(f"{number:06d}")) for number in numbers]
        return [
            AnalysedAnswer(self.model, number, self.of.picture_questions[number], self._group(number), one)
            for number, one in zip(numbers, measurements, strict=True)
        ]

    def _group(self, number: int) -> str:
        """Which of GROUPS the answer to a question is."""
        return group_of(self.of.picture_questions[number], self.answers[number])

    def _object(self, number: int) -> str:
        return object_of(self.of.picture_questions[number])

    def _picture(self, name: str) -> Image.Image:
        return open_picture(self.of.data / "images", name)

    def _file(self, name: str) -> str:
        return f"model-{self.model}/{name}"


def chosen(questions: Sequence[PictureQuestion], answers: Sequence[str], seed: int) -> list[int]:
    """The numbers of the answers to be taken apart, ascending: every wrong yes, some right ones of either kind."""
    groups = [group_of(question, one) for question, one in zip(questions, answers, strict=True)]
    of = {group: [number for number, one in enumerate(groups) if one == group] for group in GROUPS}
    rng = np.random.default_rng(seed)
    numbers = list(of["wrong yes"])
    for group in ("right yes", "right no"):
        count = min(len(of[group]), max(FEWEST, PER_WRONG * len(of["wrong yes"])))
        numbers += rng.choice(of[group], count, replace=False).tolist() if count else []
    return sorted(numbers)


def another(pictures: Sequence[str], own: str, seed: int) -> str:
    """One of the pictures, not a question's own."""
    rest = [picture for picture in pictures if picture != own]
    return rest[int(np.random.default_rng(seed).integers(len(rest)))]
