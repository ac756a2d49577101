"""Conversations scored by turn, and by whether an answer before was wrong.

Each question is asked behind the model's own earlier answers. One behind a wrong answer may go wrong because of it, or
because the picture is hard. So it is asked again behind the right answers (teacher-forced): what is right then and
wrong behind the model's own is the work of its errors. Without the earlier turns, and with a blank picture, are the
controls of what the conversation and the picture are needed for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.estimate import Tested
from lapilli.core.statistics.paired import paired_difference
from lapilli.core.statistics.proportion import Proportion
from lapilli.evaluation.asking import NO_HISTORY, TEACHER_FORCED
from lapilli.evaluation.benchmark import Response, Table, percent, with_interval
from lapilli.evaluation.scenes import EVERY_TYPE

LATER = "2+"
"""All turns but the first, together."""

Earlier: TypeAlias = Literal["any", "right", "wrong"]
"""The questions of a turn: all, those where every earlier answer of the model was right, and the others."""


class Turned(Protocol):
    """What questions have that may be turns of a conversation."""

    @property
    def id(self) -> str:
        """Its own in the benchmark."""

    @property
    def image(self) -> str:
        """The name of its picture."""

    @property
    def question(self) -> str:
        """Its text."""

    @property
    def conversation(self) -> str:
        """Its conversation, empty where it is of none."""

    @property
    def turn(self) -> int:
        """Its turn, from 1."""


T = TypeVar("T", bound=Turned)


@dataclass(frozen=True)
class Score:
    """The share of right answers at a turn (or all from 2 on, LATER) under one condition, with its 95 % interval.

    `earlier` chooses the questions by the answers that the model gave before them in the conversation with its picture;
    under every condition they are the same questions. The conversations about one picture are a cluster.
    """

    condition: str
    turn: str
    earlier: Earlier
    share: Proportion


@dataclass(frozen=True)
class Propagation:
    """What the model's own earlier answers do: the share right behind them less that behind the right ones.

    Both are of the same questions, each compared with itself. Behind right answers only their wording differs.
    """

    turn: str
    earlier: Earlier
    difference: Tested


@dataclass(frozen=True)
class Constant:
    """The answer that is right most often for a type of question at a turn, and how often it is.

    For all types together (`all`) the share is that of the best answer of every type, and `answer` is empty.
    """

    turn: str
    type: str
    answer: str
    share: Proportion


def scores(responses: Sequence[Response[T]], is_right: Callable[[Response[T]], bool]) -> list[Score | Propagation]:
    """Of every turn, and of all later ones, the scores under each condition, and what the model's own errors do."""
    right = {(one.condition, one.question.id): is_right(one) for one in responses}
    conditions = dict.fromkeys(one.condition for one in responses)
    rows: list[Score | Propagation] = []
    for (turn, earlier), questions in _groups(responses, right).items():
        pictures = [question.image for question in questions]
        by_condition = {
            condition: [right[condition, question.id] for question in questions]
            for condition in conditions
            if (condition, questions[0].id) in right
        }
        rows += [Score(condition, turn, earlier, clustered(some, pictures)) for condition, some in by_condition.items()]
        if TEACHER_FORCED in by_condition:
            difference = paired_difference(by_condition["image"], by_condition[TEACHER_FORCED], pictures)
            rows.append(Propagation(turn, earlier, difference))
    return rows


def _groups(
    responses: Sequence[Response[T]], right: Mapping[tuple[str, str], bool]
) -> dict[tuple[str, Earlier], list[T]]:
    """The questions of every turn: all, those with nothing but right answers before them, and the others."""
    groups: defaultdict[tuple[str, Earlier], list[T]] = defaultdict(list)
    is_right_so_far: dict[str, bool] = {}
    for question in (one.question for one in responses if one.condition == "image"):
        before = is_right_so_far.get(question.conversation, True)
        is_right_so_far[question.conversation] = before and right["image", question.id]
        for turn in _labels(question):
            groups[turn, "any"].append(question)
            if question.turn > 1:
                groups[turn, "right" if before else "wrong"].append(question)
    return {key: groups[key] for key in sorted(groups, key=lambda key: (_place(key[0]), key[1]))}


def by_turn(questions: Sequence[T]) -> dict[str, list[T]]:
    """The questions of every turn, and of all later ones, which come last."""
    groups: defaultdict[str, list[T]] = defaultdict(list)
    for question in questions:
        for turn in _labels(question):
            groups[turn].append(question)
    return {turn: groups[turn] for turn in sorted(groups, key=_place)}


def _labels(question: Turned) -> list[str]:
    """What a question's turn is scored as."""
    return [str(question.turn), LATER] if question.turn > 1 else [str(question.turn)]


def _place(turn: str) -> float:
    return inf if turn == LATER else int(turn)


_COLUMNS = ("turn", "n", "own", "forced", "own - forced", "none", "blank", "constant")
NOTE = (
    "% right after the model's own answers, and after the right ones (forced), also where all earlier answers were "
    "right, and where one was wrong. Controls: no earlier turns, a blank picture, the best constant answer"
)


def table(scores: Sequence[Any], constants: Sequence[Any], note: str = NOTE) -> Table:
    """A row for every turn and for all later ones, each of these also apart by the answers before it.

    Rows that are no `Score`, `Propagation` or `Constant` are passed over.
    """
    shares = {(one.turn, one.earlier, one.condition): one.share for one in scores if isinstance(one, Score)}
    changes = {(one.turn, one.earlier): one.difference for one in scores if isinstance(one, Propagation)}
    best = {one.turn: one.share for one in constants if isinstance(one, Constant) and one.type == EVERY_TYPE}
    rows = []
    for turn, earlier in ((turn, earlier) for turn, earlier, condition in shares if condition == "image"):
        own = shares[turn, earlier, "image"]
        others = (shares.get((turn, earlier, of)) for of in (TEACHER_FORCED, NO_HISTORY, "blank"))
        forced, *controls = map(_percent, (*others, best[turn] if earlier == "any" else None))
        name = turn if earlier == "any" else f"{turn} {earlier}"
        change = _change(changes.get((turn, earlier)))
        rows.append([name, str(own.n), with_interval(own.estimate, own.low, own.high), forced, change, *controls])
    return Table(_COLUMNS, rows, note)


def _percent(share: Proportion | None) -> str:
    return percent(share.estimate if share else nan)


def _change(difference: Tested | None) -> str:
    """A difference of shares with its interval; a dash where there is none, as without earlier turns."""
    if difference is None or isnan(difference.value):
        return percent(nan)
    if isnan(difference.p):  # of a single picture, or where all questions differ alike
        return f"{100 * difference.value:+.1f}".replace("-", "−")
    ends = f"[{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]"
    return f"{100 * difference.value:+.1f} {ends}".replace("-", "−")
