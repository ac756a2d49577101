"""What hybrids answer in their own words: greedy decoding, which a run of the patching study may have inside.

results/answers/base-tuned-003  every answer of the base with those parts of the tuned model that patch 3 exchanges
results/generated               shares of right answers and of the gain, beside one draw of random changes
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Role
from lapilli.core.placement import Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.core.statistics.multiple import holm
from lapilli.core.statistics.paired import mcnemar
from lapilli.core.statistics.proportion import wilson
from lapilli.core.statistics.recovery import shares_of_gain
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion
from lapilli.evaluation.question_file import compared
from lapilli.inference.answer import answer
from lapilli.inspection.intervention.patching import Patch, patched
from lapilli.model.llava import Llava
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.settings import OTHER, RANDOM
from lapilli.studies.patch.study import in_float32, load_role
from lapilli.studies.steps import Step, Task, carry_out
from lapilli.studies.tuned_models import Models, begun
from lapilli.studies.tuning import Tuning

FOLDER, RESULT = "generated", "generated"
"""The folder inside that of the patching study, and the result in it."""

VERSION = 1
"""Of what is measured. A folder that was begun with another is not gone on with."""

LONGEST = 32
"""The most tokens of an answer."""

EXAMPLES = 12
"""The questions whose answers the page shows."""

_CONTROL = f"{RANDOM}-0"

Answers: TypeAlias = Mapping[str, Sequence[Any]]
"""`text` of every sample, and whether the model `ended` it."""

Score: TypeAlias = Callable[[PictureQuestion, str], bool]
"""Whether an answer to a question is right."""


def is_right(question: PictureQuestion, text: str) -> bool:
    """Whether an answer is the right one after VQA's normaliser; an empty one, or one that holds it, is not."""
    return bool(compared(text)) and compared(text) == compared(question.answer)


def opened(out: Path, of: Tuning, placement: Placement, score: Score = is_right) -> RunDir:
    """The run folder: new, interrupted, or finished. Raises LapilliError as `begun` does.

    `score`, which says what answers are right, is recorded by its name: with another the folder is not gone on with.
    """
    return begun(out, of, in_float32(placement), RESULT, VERSION, score=f"{score.__module__}.{score.__qualname__}")


def study(
    of: Tuning, run: RunDir, plan: Plan, placement: Placement, progress: Progress, score: Score = is_right
) -> dict[str, Any]:
    """Let the hybrids answer, and save the figures; what the run has is not done again. Raises as `patched` does.

    `score` must be that of `opened`.
    """
    models = Models(partial(load_role, of, placement))
    carry_out(_Generation(of, run, models, plan, score).steps(), progress)
    made: dict[str, Any] = run.load(RESULT)
    return made


def answers_of(
    pair: tuple[Llava, Llava], questions: Sequence[PictureQuestion], folder: Path, patch: Patch
) -> dict[str, list[Any]]:
    """The greedy answers of a hybrid to questions about pictures of a folder, as `Answers`."""
    with patched(*pair, patch):
        answers = answer(
            pair[0], [question.sample for question in questions], partial(open_picture, folder / "images"), LONGEST
        )
    ended = [bool((one.layout.role[one.layout.last_answer] == Role.STOP).any()) for one in answers]
    return {"text": [one.text for one in answers], "ended": ended}


@dataclass(frozen=True, eq=False)
class _Generation:
    """What the steps have in common."""

    of: Tuning
    run: RunDir
    models: Models
    plan: Plan
    score: Score

    def steps(self) -> Iterator[Step]:
        """The answers of every target and source, then the figures."""
        for target, source in self._exchanges:
            tasks = [self._answering(target, source, at) for at in self._numbers(source)]
            yield Step(f"answers, {source} into {target}", tasks)
        yield Step("answers", [Task(self.run.product(RESULT), self._bring_together)], counted=False)

    @property
    def _exchanges(self) -> list[tuple[str, str]]:
        return [*OTHER.items(), *((target, _CONTROL) for target in OTHER)]

    def _numbers(self, source: str) -> list[int]:
        """The hybrids' places in the plan; with random changes the target itself, the first, is not run again."""
        numbers = self.plan.numbers(self.plan.answering)
        return numbers[1:] if source == _CONTROL else numbers

    def _answering(self, target: str, source: str, at: int) -> Task:
        name = f"answers/{target}-{source}-{at:03}"
        return Task(self.run.product(name), partial(self._answer, name, target, source, at))

    def _answer(self, name: str, target: str, source: str, at: int) -> None:
        first, second = self.models.loaded(target, f"{source}-{target}" if source == _CONTROL else source)
        self.run.save(name, answers_of((first, second), self.of.questions, self.of.data, self.plan.patches[at]))

    def _bring_together(self) -> None:
        answers = {
            (target, source, at): self.run.load(f"answers/{target}-{source}-{at:03}")
            for target, source in self._exchanges
            for at in self._numbers(source)
        }
        hybrids = [self._figures(answers, *place) for place in answers]
        true = [one for one in hybrids if one["source"] != _CONTROL and one["at"]]
        for one, p in zip(true, holm([one["p"] for one in true]), strict=True):
            one["holm"] = p
        self.run.save(RESULT, {
            "n": len(self.of.questions), "longest": LONGEST, "tests": len(true),
            "hybrids": hybrids, "examples": self._examples(answers),
        })  # fmt: skip

    def _figures(self, answers: Mapping[Any, Answers], target: str, source: str, at: int) -> dict[str, Any]:
        """A hybrid's right answers, its share of the gain, its test against its target, and what form they have."""
        own, other = (self._right(answers[one, OTHER[one], 0]) for one in (target, OTHER[target]))
        mine = answers[target, source, at]
        right = self._right(mine)
        (share,) = shares_of_gain((right - own)[None], other - own, self.of.seed)
        test = mcnemar(list(right > 0), list(own > 0))
        return {
            "target": target, "source": source, "at": at, "right": asdict(wilson(int(right.sum()), len(right))),
            "share": asdict(share), "gained": test.first_only, "lost": test.second_only, "p": test.p, "holm": None,
            "words": float(np.mean([len(text.split()) for text in mine["text"]])),
            "no_answer": asdict(wilson(self._misformed(mine), len(right))),
            "unfinished": asdict(wilson(len(right) - sum(mine["ended"]), len(right))),
        }  # fmt: skip

    def _right(self, answers: Answers) -> NDArray[np.float64]:
        rows = zip(self.of.questions, answers["text"], strict=True)
        return np.array([self.score(question, text) for question, text in rows], np.float64)

    def _misformed(self, answers: Answers) -> int:
        """How many answers are none of those that questions of the type have in the data."""
        rows = zip(self.of.questions, answers["text"], strict=True)
        return sum(compared(text) not in self._answers[question.type] for question, text in rows)

    @cached_property
    def _answers(self) -> dict[str, set[str]]:
        """The right answers to questions of every type."""
        answers: dict[str, set[str]] = {}
        for question in self.of.all_questions:
            answers.setdefault(question.type, set()).add(compared(question.answer))
        return answers

    def _examples(self, answers: Mapping[Any, Answers]) -> list[dict[str, Any]]:
        """The first questions with what both models say, and what the base says with parts of the tuned model."""
        base, tuned = OTHER
        columns = {"base": answers[base, tuned, 0], "tuned": answers[tuned, base, 0]}
        for part in ("connector", "layers"):
            (at,) = self.plan.numbers([self.plan.parts[part]])
            columns[part] = answers[base, tuned, at]
        return [
            {"question": one.question, "answer": one.answer, **{name: of["text"][row] for name, of in columns.items()}}
            for row, one in enumerate(self.of.questions[:EXAMPLES])
        ]
