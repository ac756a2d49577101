"""What a model can do without a picture: instructions, scenes described in words, and how it predicts prose.

A model that is tuned on pictures forgets some of what its language model could; the same questions before and after
show how much. They are always the same: 50 instructions with rules that a program checks, 40 questions of each type
about scenes whose description stands where a picture would, and one story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count as numbers
from itertools import islice
from pathlib import Path
from typing import Any

from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.proportion import Proportion, wilson
from lapilli.data.plain.rules import follows
from lapilli.data.plain.texts import held_out_prose, instructions
from lapilli.data.scenes.questions import TYPES
from lapilli.data.scenes.textual import question_in_words
from lapilli.evaluation.benchmark import TEXT, Benchmark, Response, Table, percent, with_interval
from lapilli.evaluation.own import Constant
from lapilli.evaluation.perplexity import Likelihood, Perplexity, perplexities

INSTRUCTION = "instruction"
"""The type of the instructions; the others are those of scenes."""

EVERY_SCENE = "all scenes"
"""The questions of all types about scenes in words."""

MOST = 40
"""Questions of each type about scenes in words."""

_NOTE = "% right, with 95 % intervals; the right answer somewhere in the reply; the best constant one. Perplexity: no %"


@dataclass(frozen=True)
class TextQuestion:
    """A question without a picture, and the rules that a right answer follows (`data/plain/rules.py`)."""

    id: str
    type: str
    question: str
    rules: Mapping[str, Any]
    image: str = ""


@dataclass(frozen=True)
class Score:
    """How the questions of one type were answered; shares with 95 % intervals, each question about its own scene.

    right     answers that follow all rules: of a scene, that are the right one as the benchmark `scenes` has it
    contains  answers in which the right one stands, in whole words, whatever else is said; None for instructions
    """

    type: str
    right: Proportion
    contains: Proportion | None


def read_questions(_folder: Path, _split: str, per_type: int) -> list[TextQuestion]:
    """The first `per_type` instructions, and as many questions of each type about scenes in words, at most 40."""
    plain = [TextQuestion(one.id, INSTRUCTION, one.question, one.rules) for one in instructions()[:per_type]]
    return plain + [question for kind in TYPES for question in _about_scenes(kind, min(per_type, MOST))]


def _about_scenes(kind: str, count: int) -> list[TextQuestion]:
    """Questions of a type, each about the next scene that allows one."""
    drawn = ((f"text/{kind}/{number}", question_in_words(f"text/{kind}/{number}", kind)) for number in numbers())
    questions = (TextQuestion(name, kind, one.text, {"answer": [one.answer]}) for name, one in drawn if one)
    return list(islice(questions, count))


def is_right(response: Response[TextQuestion]) -> bool:
    """Whether the answer follows all rules of its question."""
    return follows(response.answer, response.question.rules)


def expected(question: TextQuestion) -> list[str]:
    """The right answers to a question about a scene; the rules of an instruction, in words."""
    answers = question.rules.get("answer")
    return answers or [f"{kind.replace('_', ' ')}: {_words(value)}" for kind, value in question.rules.items()]


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def scores(responses: Sequence[Response[TextQuestion]]) -> list[Score]:
    """One score for the instructions, one for each type of question about scenes, and one for all of these."""
    kinds = dict.fromkeys(response.question.type for response in responses)
    groups = {kind: [response for response in responses if response.question.type == kind] for kind in kinds}
    scenes = [response for response in responses if response.question.type != INSTRUCTION]
    return [_score(kind, group) for kind, group in (groups | {EVERY_SCENE: scenes}).items()]


def _score(kind: str, responses: Sequence[Response[TextQuestion]]) -> Score:
    right = wilson(sum(map(is_right, responses)), len(responses))
    if kind == INSTRUCTION:
        return Score(kind, right, None)
    contains = (follows(one.answer, {"any_of": one.question.rules["answer"]}) for one in responses)
    return Score(kind, right, wilson(sum(contains), len(responses)))


def constants(questions: Sequence[TextQuestion]) -> list[Constant]:
    """The best constant answer of every type about scenes; no single answer does for instructions."""
    rows = []
    for kind in TYPES:
        answers = Counter(one.rules["answer"][0] for one in questions if one.type == kind)
        ((answer, right),) = answers.most_common(1)
        rows.append(Constant(kind, answer, wilson(right, answers.total())))
    return rows


def prose(likelihood: Likelihood) -> list[Perplexity]:
    """The perplexity of the held-out story, per token and per word."""
    return perplexities(likelihood, held_out_prose())


def table(scores: Sequence[Score | Perplexity], constants: Sequence[Constant]) -> Table:
    """A row for the instructions, for each type about scenes and for all of these, and the two perplexities."""
    best = {row.type: row.share for row in constants}
    rows = [
        _perplexity_row(score) if isinstance(score, Perplexity) else _share_row(score, best.get(score.type))
        for score in scores
    ]
    return Table(("type", "n", "right", "contains", "constant"), rows, _NOTE)


def _share_row(score: Score, constant: Proportion | None) -> list[str]:
    right = with_interval(score.right.estimate, score.right.low, score.right.high)
    others = (percent(share.estimate) if share else "–" for share in (score.contains, constant))
    return [score.type, str(score.right.n), right, *others]


def _perplexity_row(score: Perplexity) -> list[str]:
    return [f"perplexity per {score.unit}", str(score.nats.n), _number_with_interval(score.perplexity), "–", "–"]


def _number_with_interval(of: Estimate) -> str:
    return f"{of.value:.3g} [{of.low:.3g}, {of.high:.3g}]"


BENCHMARK = Benchmark(
    name="text",
    rounds=(("", TEXT),),
    read=read_questions,
    normalise=str.strip,
    score=scores,
    constants=constants,
    table=table,
    is_right=is_right,
    expected=expected,
    measure=prose,
    answer_tokens=64,
)
