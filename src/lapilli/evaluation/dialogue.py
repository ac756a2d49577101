"""Conversations about scenes, whose later questions need the earlier ones: accuracy by turn, and why it falls.

Each conversation is asked turn by turn, with the model's own earlier answers before every question. Questions after a
wrong answer may go wrong because of that answer, or because the picture is hard. So they are asked again after the
right answers (teacher-forced): what is right then and wrong after the model's own is the work of its errors. Without
the earlier turns, and with a blank picture, are the controls of what the conversation and the picture are needed for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan, nan
from pathlib import Path
from typing import Literal, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.estimate import Tested
from lapilli.core.statistics.paired import paired_difference
from lapilli.core.statistics.proportion import Proportion
from lapilli.data.questions import plain_answer, same_answer
from lapilli.data.scenes.dialogue import dialogue
from lapilli.data.scenes.facts import read_scenes
from lapilli.evaluation.asking import NO_HISTORY, TEACHER_FORCED
from lapilli.evaluation.benchmark import Benchmark, Response, Table, percent, with_interval
from lapilli.evaluation.scenes import EVERY_TYPE, draw, require_picture

SPLIT = "held_out"

LATER = "2+"
"""All turns but the first, together."""

Earlier: TypeAlias = Literal["any", "right", "wrong"]
"""The questions of a turn: all, those where every earlier answer of the model was right, and the others."""


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


@dataclass(frozen=True)
class Score:
    """The share of right answers at a turn (or all from 2 on, LATER) under one condition, with its 95 % interval.

    `earlier` chooses the questions by the answers that the model gave before them in the conversation with its picture;
    under every condition they are the same questions. Those of one conversation are a cluster.
    """

    split: str
    condition: str
    turn: str
    earlier: Earlier
    share: Proportion


@dataclass(frozen=True)
class Propagation:
    """How much is lost by the model's own earlier answers: the share right after them less that after the right ones.

    Both are of the same questions, each compared with itself. After right answers it is 0 but for what wording does.
    """

    split: str
    turn: str
    earlier: Earlier
    difference: Tested


@dataclass(frozen=True)
class Constant:
    """The answer that is right most often for a type of question at a turn, and how often it is.

    For all types together (`all`) the share is that of the best answer of every type, and `answer` is empty.
    """

    split: str
    turn: str
    type: str
    answer: str
    share: Proportion


Responses: TypeAlias = Sequence[Response[TurnQuestion]]


def read_questions(folder: Path, split: str, count: int) -> list[TurnQuestion]:
    """The questions of the first `count` conversations about a folder of scenes, one a scene that allows one.

    Raises LapilliError for a folder that holds no scenes, or none to talk about, and for a missing picture.
    """
    questions = []
    talks = ((image, talk) for image, scene in read_scenes(folder).items() if (talk := dialogue(scene, scene.seed)))
    for image, talk in islice(talks, count):
        name = image.rsplit(".", 1)[0]
        for turn, one in enumerate(talk, 1):
            identity = f"{name}-{turn}"
            questions.append(TurnQuestion(identity, split, image, one.type, one.text, one.answer, name, turn))
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


def scores(responses: Responses) -> list[Score | Propagation]:
    """Of every turn, and of all later ones, the scores under each condition, and what the model's own errors do."""
    right = {(one.condition, one.question.id): is_right(one) for one in responses}
    conditions = dict.fromkeys(one.condition for one in responses)
    rows: list[Score | Propagation] = []
    for (split, turn, earlier), questions in _groups(responses).items():
        clusters = [question.conversation for question in questions]
        by_condition = {
            condition: [right[condition, question.id] for question in questions]
            for condition in conditions
            if (condition, questions[0].id) in right
        }
        rows += [Score(split, of, turn, earlier, clustered(some, clusters)) for of, some in by_condition.items()]
        if TEACHER_FORCED in by_condition:
            difference = paired_difference(by_condition["image"], by_condition[TEACHER_FORCED], clusters)
            rows.append(Propagation(split, turn, earlier, difference))
    return rows


def _groups(responses: Responses) -> dict[tuple[str, str, Earlier], list[TurnQuestion]]:
    """The questions of every split and turn: all, those with nothing but right answers before them, and the others."""
    groups: defaultdict[tuple[str, str, Earlier], list[TurnQuestion]] = defaultdict(list)
    is_right_so_far: dict[str, bool] = {}
    for response in (one for one in responses if one.condition == "image"):
        question = response.question
        before = is_right_so_far.get(question.conversation, True)
        is_right_so_far[question.conversation] = before and is_right(response)
        for turn in _labels(question):
            groups[question.split, turn, "any"].append(question)
            if question.turn > 1:
                groups[question.split, turn, "right" if before else "wrong"].append(question)
    return {key: groups[key] for key in sorted(groups, key=lambda key: (key[0], key[1] == LATER, *key[1:]))}


def _labels(question: TurnQuestion) -> list[str]:
    """What a question's turn is scored as."""
    return [str(question.turn), LATER] if question.turn > 1 else [str(question.turn)]


def constants(questions: Sequence[TurnQuestion]) -> list[Constant]:
    """Of every turn the best constant answer of each type, and the share that all of them together get right."""
    rows = []
    for turn in sorted({turn for question in questions for turn in _labels(question)}):
        of_turn = [question for question in questions if turn in _labels(question)]
        kinds = dict.fromkeys(question.type for question in of_turn)
        best = {kind: Counter(one.answer for one in of_turn if one.type == kind).most_common(1)[0][0] for kind in kinds}
        for kind in (*kinds, EVERY_TYPE):
            some = [question for question in of_turn if kind in (question.type, EVERY_TYPE)]
            right = [question.answer == best[question.type] for question in some]
            share = clustered(right, [question.conversation for question in some])
            rows.append(Constant(of_turn[0].split, turn, kind, best.get(kind, ""), share))
    return rows


_COLUMNS = ("turn", "n", "own", "forced", "own - forced", "none", "blank", "constant")
_NOTE = (
    "% right after the model's own answers, and after the right ones (forced); `right` and `wrong`: where all earlier "
    "answers were right, and where one was wrong. Controls: no earlier turns, a blank picture, the best constant answer"
)


def table(scores: Sequence[Score | Propagation], constants: Sequence[Constant]) -> Table:
    """A row for every turn and for all later ones, each of these also apart by the answers before it."""
    shares = {(one.turn, one.earlier, one.condition): one.share for one in scores if isinstance(one, Score)}
    changes = {(one.turn, one.earlier): one.difference for one in scores if isinstance(one, Propagation)}
    best = {one.turn: one.share for one in constants if one.type == EVERY_TYPE}
    rows = []
    for turn, earlier in ((turn, earlier) for turn, earlier, condition in shares if condition == "image"):
        own = shares[turn, earlier, "image"]
        others = (shares.get((turn, earlier, of)) for of in (TEACHER_FORCED, NO_HISTORY, "blank"))
        forced, *controls = map(_percent, (*others, best[turn] if earlier == "any" else None))
        name = turn if earlier == "any" else f"{turn} {earlier}"
        change = _change(changes.get((turn, earlier)))
        rows.append([name, str(own.n), with_interval(own.estimate, own.low, own.high), forced, change, *controls])
    return Table(_COLUMNS, rows, _NOTE)


def _percent(share: Proportion | None) -> str:
    return percent(share.estimate if share else nan)


def _change(difference: Tested | None) -> str:
    """A difference of shares with its interval; a dash where there is none, as without earlier turns."""
    if difference is None or isnan(difference.value):
        return percent(nan)
    ends = f"[{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]"
    return f"{100 * difference.value:+.1f} {ends}".replace("-", "−")


BENCHMARK = Benchmark(
    name="dialogue",
    rounds=tuple((SPLIT, condition) for condition in ("image", TEACHER_FORCED, NO_HISTORY, "blank")),
    read=read_questions,
    normalise=plain_answer,
    score=scores,
    constants=constants,
    table=table,
    draw=draw,
    is_right=is_right,
    expected=expected,
    conversation=lambda question: question.conversation,
)
