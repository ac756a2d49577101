"""Does a model say that there is what is not there? Yes-or-no questions about objects of scenes, as POPE asks them.

Li et al. 2023, arXiv 2305.10355. Half of the questions are about an object of the picture and half about one that is
not there, of three kinds (`data/scenes/absent.py`): random, popular and adversarial. Each kind is scored with as many
questions about present objects of the same pictures in the same words, so that half of the right answers are yes.

The same questions are asked with a blank picture and with another scene's, and beside all stands who always says yes:
of constant answers the best, as its accuracy is that of always no and its F1 is higher.

`is_right`, `scores`, `constants`, `COLUMNS` and `cells` serve any yes-or-no questions, with precision and recall of the
answer yes; `table` shows these kinds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered, clustered_f1
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.proportion import Proportion
from lapilli.data.scenes.absent import KINDS, existence_pairs
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.yes_no import read_yes_no
from lapilli.evaluation.benchmark import Benchmark, Response, Table, percent, with_interval
from lapilli.evaluation.scenes import EVERY_TYPE, SceneQuestion, draw, expected, grouped, require_picture

ALWAYS_YES = "always yes"
"""The condition of whoever says yes without being asked."""

COLUMNS = ("type", "n", "accuracy", "precision", "recall", "F1", "yes", "other")
"""The columns of `cells`."""

_LINES = {"blank": "blank", "swapped": "another", ALWAYS_YES: ALWAYS_YES}
_NOTE = "%; half of the right answers are yes. Controls: a blank picture, another one; who always says yes"


@dataclass(frozen=True)
class Score:
    """How the questions of one kind (or `all`) were answered under one condition; figures with 95 % intervals.

    accuracy   right answers of all; what is neither yes nor no is wrong
    precision  present objects of those that were said to be there
    recall     objects that were said to be there of those that are
    f1         their harmonic mean
    yes        answers of yes of all
    other      answers that are neither yes nor no, of all

    Questions about one picture are a cluster. A figure of no answers, as precision without a yes, is nan.
    """

    split: str
    condition: str
    type: str
    accuracy: Proportion
    precision: Proportion
    recall: Proportion
    f1: Estimate
    yes: Proportion
    other: Proportion


def read_questions(folder: Path, split: str, per_kind: int) -> list[SceneQuestion]:
    """`per_kind` questions of every kind about a folder of scenes, half of them to be answered with yes.

    An odd number is rounded up. Where the scenes allow fewer there are fewer, and as many of every kind. Raises
    LapilliError for a folder that holds no scenes, or none with both objects to ask about, and for a missing picture.
    """
    pairs = list(islice(existence_pairs(read_scenes(folder)), len(KINDS) * -(-per_kind // 2)))
    pairs = pairs[: len(pairs) // len(KINDS) * len(KINDS)]
    if not pairs:
        raise LapilliError(f"{folder}: too few scenes to ask about absent objects of every kind; draw more")
    for absent, _ in pairs:
        require_picture(folder, absent.id, absent.image)
    return [
        SceneQuestion(one.id, split, one.image, absent.type, one.question, answer=one.answer)
        for absent, present in pairs
        for one in (absent, present)
    ]


def is_right(response: Response[SceneQuestion]) -> bool:
    """Whether the answer is yes of what is there, and no of what is not; what is neither is wrong."""
    return read_yes_no(response.answer) == response.question.answer


def scores(responses: Sequence[Response[SceneQuestion]]) -> list[Score]:
    """One score for each condition and kind, and for all kinds together."""
    return [_score(key, group) for key, group in grouped(responses).items()]


def _score(key: tuple[str, str, str], responses: Sequence[Response[SceneQuestion]]) -> Score:
    answers = [read_yes_no(response.answer) for response in responses]
    truths = [response.question.answer for response in responses]
    images = [response.question.image for response in responses]
    yes, there = [answer == "yes" for answer in answers], [truth == "yes" for truth in truths]
    right = list(map(is_right, responses))
    return Score(
        *key,
        accuracy=clustered(right, images),
        precision=_share_where(yes, right, images),
        recall=_share_where(there, right, images),
        f1=clustered_f1(yes, there, images),
        yes=clustered(yes, images),
        other=clustered([answer == "other" for answer in answers], images),
    )


def _share_where(where: Sequence[bool], right: Sequence[bool], images: Sequence[str]) -> Proportion:
    chosen = [index for index, holds in enumerate(where) if holds]
    return clustered([right[index] for index in chosen], [images[index] for index in chosen])


def constants(questions: Sequence[SceneQuestion]) -> list[Score]:
    """The scores of the constant answer yes."""
    return scores([Response(question, ALWAYS_YES, "yes") for question in questions])


def table(scores: Sequence[Score], constants: Sequence[Score]) -> Table:
    """A row for every kind, one for all, and of all one for each control."""
    lines = {score.type: score for score in scores if score.condition == "image"}
    every = [score for score in (*scores, *constants) if score.type == EVERY_TYPE]
    lines = {kind: lines[kind] for kind in (*KINDS, EVERY_TYPE)}
    lines |= {_LINES[score.condition]: score for score in every if score.condition in _LINES}
    return Table(COLUMNS, [cells(name, score) for name, score in lines.items()], _NOTE)


def cells(name: str, score: Score) -> list[str]:
    """A row of a table that begins with a name."""
    return [
        name,
        str(score.accuracy.n),
        with_interval(score.accuracy.estimate, score.accuracy.low, score.accuracy.high),
        percent(score.precision.estimate),
        percent(score.recall.estimate),
        percent(score.f1.value),
        percent(score.yes.estimate),
        percent(score.other.estimate),
    ]


BENCHMARK = Benchmark(
    name="pope",
    rounds=(("held_out", "image"), ("held_out", "blank"), ("held_out", "swapped")),
    read=read_questions,
    normalise=read_yes_no,
    score=scores,
    constants=constants,
    table=table,
    draw=draw,
    is_right=is_right,
    expected=expected,
)
