"""The calls of a judging: every pair, in one order or both, so and so often; and what they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from lapilli.core.errors import UsageError
from lapilli.core.fields import Range
from lapilli.core.llm.call import Call, Message, Sampling
from lapilli.core.llm.settings import CallSettings, read_call_settings
from lapilli.core.plain import json_text
from lapilli.evaluation.judge import (
    UNPARSED,
    Scores,
    fence,
    fenced_prompt,
    fenced_scores,
    published_prompt,
    published_scores,
)
from lapilli.evaluation.judging.pairs import Pair
from lapilli.evaluation.judging.rubric import NEWEST, Procedure, Rubric, read_rubric

DEFAULTS = Path("evaluation/judging/settings.yaml")
"""The settings that hold without a file of one's own; it says what each means."""


@dataclass(frozen=True)
class JudgeSettings(CallSettings):
    """The settings of a judging, beside those of its calls."""

    rubric: Annotated[str, "The version of the rubric, or a folder of one's own."] = NEWEST
    role: Annotated[str, "What the published procedure calls an answer's author."] = "Assistant"
    temperature: Annotated[float | None, "0 makes all samples of an order alike.", Range(0, 2)] = 0.2
    concurrency: Annotated[int, "The most calls under way.", Range(1, 256)] = 16


@dataclass(frozen=True)
class Plan:
    """What the judgements depend on, frozen as the recipe of the folder: another one is another folder."""

    pairs: str
    """The SHA-256 of the pairs."""
    procedure: Procedure
    samples: int
    model: str
    rubric: str
    rubric_sha256: str
    role: str
    sampling: Sampling


@dataclass(frozen=True)
class Trial:
    """One judgement to be made: of a pair, in an order (`swapped`: the answer first), and its number there."""

    pair: Pair
    swapped: bool
    sample: int


@dataclass(frozen=True)
class Work:
    """What is to be judged, by which plan and rubric, and the settings that may change."""

    pairs: Sequence[Pair]
    plan: Plan
    rubric: Rubric
    settings: JudgeSettings

    @cached_property
    def trials(self) -> list[Trial]:
        """Every judgement, in the order of the pairs."""
        return list(_trials(self.pairs, self.plan))

    def call(self, trial: Trial) -> Call:
        """The call that asks for a judgement."""
        plan, pair = self.plan, trial.pair
        rule = self.rubric.rule(plan.procedure, plan.role)
        answers = (pair.answer, pair.reference) if trial.swapped else (pair.reference, pair.answer)
        if plan.procedure == "published":
            text = published_prompt(pair.context, pair.question, answers, plan.role, rule)
        else:
            text = fenced_prompt(pair.context, pair.question, answers, self.mark(trial), rule)
        messages = (Message("system", self.rubric.texts["system"]), Message("user", text))
        seed = None if plan.sampling.seed is None else (plan.sampling.seed + trial.sample) % 2**31
        about = {"id": pair.id, "order": "answer first" if trial.swapped else "reference first"}
        purpose = f"judge/{plan.procedure}/{plan.rubric}"
        return Call(messages, plan.model, replace(plan.sampling, seed=seed), purpose, sample=trial.sample, about=about)

    def mark(self, trial: Trial) -> str:
        """The mark of a call's fences: another one for each, always the same for one, and in none of its texts."""
        pair = trial.pair
        secret = f"{self.plan.sampling.seed}/{pair.id}/{trial.swapped}/{trial.sample}"
        return fence(secret, pair.context, pair.question, pair.reference, pair.answer)

    def scores(self, trial: Trial, reply: str) -> Scores | None:
        """The two scores of a reply in the order in which the answers stood; None where they cannot be read."""
        if self.plan.procedure == "balanced":
            return fenced_scores(reply, self.mark(trial))
        scores = published_scores(reply)
        return None if scores == UNPARSED else scores


def _trials(pairs: Sequence[Pair], plan: Plan) -> Iterator[Trial]:
    orders = (False,) if plan.procedure == "published" else (False, True)
    for pair in pairs:
        for sample in range(plan.samples):
            for swapped in orders:
                yield Trial(pair, swapped, sample)


def read_settings(file: Path | None, overrides: list[str]) -> JudgeSettings:
    """The settings in a file, or the package's, with overrides. Raises UsageError as `read_recipe` does."""
    settings = read_call_settings(file or DEFAULTS, overrides, JudgeSettings)
    if not settings.role.strip():
        raise UsageError(f"{file or DEFAULTS}: role: empty; write a name such as Assistant")
    return settings


def plan_work(pairs: Sequence[Pair], procedure: Procedure, samples: int, model: str, settings: JudgeSettings) -> Work:
    """Say what is to be judged. Raises UsageError for a rubric that is none."""
    rubric = read_rubric(settings.rubric)
    content = "".join(json_text(pair) + "\n" for pair in pairs)
    plan = Plan(
        pairs=hashlib.sha256(content.encode()).hexdigest(),
        procedure=procedure,
        samples=samples,
        model=model,
        rubric=rubric.version,
        rubric_sha256=rubric.sha256,
        role=settings.role,
        sampling=settings.sampling,
    )
    return Work(pairs, plan, rubric, settings)
