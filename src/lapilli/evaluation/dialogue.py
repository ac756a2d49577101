"""Conversations about scenes, whose later questions need the earlier ones, scored by turn (`turns.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered
from lapilli.data.questions import plain_answer, same_answer
from lapilli.data.scenes.dialogue import dialogue
from lapilli.data.scenes.facts import read_scenes
from lapilli.evaluation import turns
from lapilli.evaluation.asking import HISTORIES
from lapilli.evaluation.benchmark import Benchmark, Response
from lapilli.evaluation.scenes import EVERY_TYPE, draw, require_picture

SPLIT = "held_out"


@dataclass(frozen=True)
class TurnQuestion:
    """A question of a conversation about a picture of the folder `split`, its turn from 1, and its one right answer."""

    id: str
    split: str
    image: str
    type: str
    question: str
    answer: str
    conversation: str
    turn: int


def read_questions(folder: Path, split: str, count: int) -> list[TurnQuestion]:
    """The questions of the first `count` conversations about a folder of scenes, one a scene that allows one.

    Raises LapilliError for a folder that holds no scenes, or none to talk about, and for a missing picture.
    """
    questions = []
    talks = ((image, talk) for image, scene in read_scenes(folder).items() if (talk := dialogue(scene, scene.seed)))
    for image, talk in islice(talks, count):
        name = image.rsplit(".", 1)[0]
        for turn, one in enumerate(talk, 1):
            question = TurnQuestion(
                f"{name}-{turn}", split, image, type=one.type, question=one.text, answer=one.answer,
                conversation=name, turn=turn,
            )  # fmt: skip
            questions.append(question)
        require_picture(folder, f"{name}-1", image)
    if not questions:
        raise LapilliError(f"{folder}: no scene of which a second question could be asked; draw more")
    return questions


def is_right(response: Response[TurnQuestion]) -> bool:
    """Whether the answer is the right one, but for capitals, a full stop and spaces around it."""
    return same_answer(response.answer, response.question.answer)


def expected(question: TurnQuestion) -> tuple[str]:
    """The one right answer."""
    return (question.answer,)


def scores(responses: Sequence[Response[TurnQuestion]]) -> list[turns.Score | turns.Propagation]:
    """The scores of every turn, by whether the answer is the right one."""
    return turns.scores(responses, is_right)


def constants(questions: Sequence[TurnQuestion]) -> list[turns.Constant]:
    """Of every turn the best constant answer of each type, and the share that all of them together get right."""
    rows = []
    for turn, group in turns.by_turn(questions).items():
        kinds = dict.fromkeys(question.type for question in group)
        best = {kind: Counter(one.answer for one in group if one.type == kind).most_common(1)[0][0] for kind in kinds}
        for kind in (*kinds, EVERY_TYPE):
            some = [question for question in group if kind in (question.type, EVERY_TYPE)]
            right = [question.answer == best[question.type] for question in some]
            share = clustered(right, [question.image for question in some])
            rows.append(turns.Constant(turn, kind, best.get(kind, ""), share))
    return rows


BENCHMARK = Benchmark(
    name="dialogue",
    rounds=tuple((SPLIT, condition) for condition in ("image", *HISTORIES, "blank")),
    read=read_questions,
    normalise=plain_answer,
    score=scores,
    constants=constants,
    table=turns.table,
    draw=draw,
    is_right=is_right,
    expected=expected,
    conversation=lambda question: question.conversation,
)
