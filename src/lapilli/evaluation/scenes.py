"""Accuracy on scenes by type of question, beside the controls that show whether the model sees at all.

Each question is asked four times: with its picture, with a blank picture, with another scene's picture, and without a
picture (the language model alone). The share that one constant answer would get right stands beside them: whoever does
not look cannot do much better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import Literal

from lapilli.core.errors import LapilliError
from lapilli.core.progress import Progress
from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.proportion import Proportion
from lapilli.data.paths import PictureError, picture_path
from lapilli.data.questions import plain_answer, read_picture_questions, same_answer
from lapilli.data.scenes.questions import TYPES
from lapilli.evaluation.asking import CONDITIONS
from lapilli.evaluation.benchmark import Benchmark, Response, Table, percent, with_interval

SPLITS: tuple[Literal["held_out"], Literal["compositional"]] = ("held_out", "compositional")
"""Scenes like those of the training, and those of combinations that the training withholds."""

EVERY_TYPE = "all"
UNTYPED = "other"
"""The type of questions that name none."""

_COLUMNS = {
    "held-out": ("held_out", "image"),
    "compositional": ("compositional", "image"),
    "blank": ("held_out", "blank"),
    "other": ("held_out", "swapped"),
    "none": ("held_out", "language_only"),
}
_NOTE = "% right, with 95 % intervals. Controls: a blank picture, another one, none; the best constant answer"


@dataclass(frozen=True)
class SceneQuestion:
    """A question about a picture of the folder `split`, and its one right answer."""

    id: str
    split: str
    image: str
    type: str
    question: str
    answer: str


@dataclass(frozen=True)
class Score:
    """The share of right answers of one type (or `all`) under one condition, with its 95 % interval.

    Questions about one picture are a cluster: what is drawn badly is answered wrongly whatever is asked.
    """

    split: str
    condition: str
    type: str
    share: Proportion


@dataclass(frozen=True)
class Constant:
    """The answer that is right most often for one type, and how often it is."""

    split: str
    type: str
    answer: str
    share: Proportion


def read_questions(folder: Path, split: str, per_type: int) -> list[SceneQuestion]:
    """The first `per_type` questions of every type of a folder, those of `lapilli data scenes` in its order.

    Raises LapilliError for a folder without questions, for a row that is none, for a type named as all together are,
    and for a picture that is not there.
    """
    by_type: dict[str, list[SceneQuestion]] = {kind: [] for kind in TYPES}
    for row in read_picture_questions(folder):
        require_picture(folder, row.id, row.image)
        if row.type == EVERY_TYPE:
            raise LapilliError(
                f"{folder}: question {row.id!r}: type {EVERY_TYPE!r} means all together; name it otherwise"
            )
        kind = row.type or UNTYPED
        question = SceneQuestion(row.id, split, row.image, kind, row.question, answer=row.answer)
        by_type.setdefault(kind, []).append(question)
    return [question for questions in by_type.values() for question in questions[:per_type]]


def require_picture(folder: Path, question: str, image: str) -> None:
    """Raise LapilliError, with the question's id, where its picture is not in the folder's `images`."""
    try:
        picture_path(folder / "images", image)
    except PictureError as error:
        raise LapilliError(f"{folder}: question {question!r}: {error}") from error


def is_right(response: Response[SceneQuestion]) -> bool:
    """Whether the answer is the right one, but for capitals, a full stop and spaces around it."""
    return same_answer(response.answer, response.question.answer)


def expected(question: SceneQuestion) -> tuple[str]:
    """The one right answer."""
    return (question.answer,)


def scores(responses: Sequence[Response[SceneQuestion]]) -> list[Score]:
    """One score for each split, condition and type, and for all types together; in the order of the tables."""
    return [Score(*key, _share(group)) for key, group in grouped(responses).items()]


def grouped(
    responses: Sequence[Response[SceneQuestion]],
) -> dict[tuple[str, str, str], list[Response[SceneQuestion]]]:
    """The responses of each split, condition and type, and of all types together, in their order."""
    groups: dict[tuple[str, str, str], list[Response[SceneQuestion]]] = {}
    for response in responses:
        for kind in (response.question.type, EVERY_TYPE):
            groups.setdefault((response.question.split, response.condition, kind), []).append(response)
    return groups


def _share(responses: Sequence[Response[SceneQuestion]]) -> Proportion:
    return clustered(list(map(is_right, responses)), [response.question.image for response in responses])


def best_constants(questions: Sequence[SceneQuestion]) -> dict[str, tuple[str, Proportion]]:
    """For each type the answer that is right most often, and how often it is."""
    best = {}
    for kind in dict.fromkeys(question.type for question in questions):
        of_kind = [question for question in questions if question.type == kind]
        answers = Counter(plain_answer(question.answer) for question in of_kind)
        plain = answers.most_common(1)[0][0]
        answer = next(question.answer for question in of_kind if plain_answer(question.answer) == plain)
        best[kind] = (answer, _share([Response(question, "constant", answer) for question in of_kind]))
    return best


def constants(questions: Sequence[SceneQuestion]) -> list[Constant]:
    """`best_constants` of a split, as rows."""
    split = next((question.split for question in questions), "")
    return [Constant(split, kind, *best) for kind, best in best_constants(questions).items()]


def table(scores: Sequence[Score], constants: Sequence[Constant]) -> Table:
    """A row for every type, the last for all: the share right with pictures of both splits, and under the controls."""
    shares = {(score.split, score.condition, score.type): score.share for score in scores}
    best = {row.type: row.share for row in constants if row.split == "held_out"}
    kinds = dict.fromkeys(score.type for score in scores if score.type != EVERY_TYPE) | {EVERY_TYPE: None}
    rows = []
    for kind in kinds:
        cells = [shares.get((*column, kind)) for column in _COLUMNS.values()]
        count = str(cells[0].n) if cells[0] else "0"
        measured, controls = cells[:2], [*cells[2:], best.get(kind)]
        rows.append([kind, count, *map(_with_interval, measured), *map(_percent, controls)])
    return Table(("type", "n", *_COLUMNS, "constant"), rows, _NOTE)


def _with_interval(share: Proportion | None) -> str:
    """A dash where nothing was asked: a few scenes may hold no card to read."""
    return with_interval(share.estimate, share.low, share.high) if share else percent(nan)


def _percent(share: Proportion | None) -> str:
    return percent(share.estimate if share else nan)


def draw(folder: Path, count: int, seed: int, progress: Progress) -> None:
    """New scenes of both splits; four for every question of a type, since one scene in three has a card to read."""
    from lapilli.data.scenes.dataset import write_scenes

    for split in SPLITS:
        write_scenes(folder / split, 4 * count, split, seed, partial(_drawn, progress, split, 4 * count))


def _drawn(progress: Progress, split: str, total: int, done: int) -> None:
    progress(f"scenes, {split}", done, total)


BENCHMARK = Benchmark(
    name="scenes",
    rounds=(
        *(("held_out", condition) for condition in CONDITIONS),
        ("compositional", "image"),
    ),
    read=read_questions,
    normalise=plain_answer,
    score=scores,
    constants=constants,
    table=table,
    draw=draw,
    is_right=is_right,
    expected=expected,
)
