"""Somebody's own questions about their own pictures: a file of questions as a benchmark.

An answer is compared with every right one in three ways, `exact`, `normalised` and `contains` (`docs/evaluating.md`).
The controls ask about a blank picture and about another picture of the file, and beside them stands the answer that is
right most often: what a model gets right that does not look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.progress import Progress
from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.proportion import Proportion
from lapilli.data.pictures import check_paths, check_pictures
from lapilli.evaluation import turns
from lapilli.evaluation.asking import HISTORIES
from lapilli.evaluation.benchmark import Benchmark, Response, Table, percent, question_text, with_interval
from lapilli.evaluation.question_file import OwnQuestion, compared, read_question_file
from lapilli.evaluation.scenes import EVERY_TYPE

SHORT = "Answer the question using a single word or phrase."
"""What LLaVA-1.5 was trained to be asked for a short answer (arXiv 2310.03744, section 3.2)."""

CONSTANT = "constant"
"""The condition of who gives the answer that is right most often, without being asked."""

_CONTROLS = {"blank": "blank", "other": "swapped", "constant": CONSTANT}
_NOTE = "a blank picture, another of the file, the best constant answer"
_COLUMNS = ("type", "n", "normalised", "exact", "contains", *_CONTROLS)


@dataclass(frozen=True)
class Score:
    """How the questions of one type (or `all`) were answered under one condition; figures with 95 % intervals.

    normalised  answers that are a right one after VQA's normaliser (`question_file.compared`)
    exact       answers that are a right one to the letter, but for spaces around it
    contains    answers in which a right one occurs, in whole words, after the normaliser
    words       the mean number of words of an answer
    empty       answers without a word

    Questions about one picture are a cluster.
    """

    condition: str
    type: str
    normalised: Proportion
    exact: Proportion
    contains: Proportion
    words: Estimate
    empty: Proportion


@dataclass(frozen=True)
class Constant:
    """The answer that is right most often for one type, and how often it is, normalised.

    For `all` the share is that of the best answer of every type, and `answer` is empty.
    """

    type: str
    answer: str
    share: Proportion


def own_benchmark(
    file: Path, images: Path, per_type: int | None = None, *, short: bool = False, progress: Progress | None = None
) -> Benchmark[OwnQuestion]:
    """The questions of a file about the pictures in `images` as a benchmark, called by the file's name.

    At most `per_type` of a type are asked, or all; with `short` each ends in LLaVA's words for a short answer.
    Conversations are asked turn by turn, counted by their first ones, and scored by turn (`turns.py`), normalised.
    `progress` gets the number of pictures that are checked. Raises LapilliError as `read_question_file` does, and for a
    picture that cannot be opened; all are tried.
    """
    questions = _first(read_question_file(file), per_type)
    _require_pictures(file, images, questions, progress)
    conditions = ["image", "blank"]
    if len({question.image for question in questions}) > 1:  # else there is none to swap it with
        conditions.append("swapped")
    has_turns = any(question.turn > 1 for question in questions)
    return Benchmark(
        name=file.name,
        rounds=tuple(("", condition) for condition in (*conditions, *(HISTORIES if has_turns else ()))),
        read=lambda *_: questions,
        normalise=compared,
        score=_scores_with_turns if has_turns else scores,
        constants=_constants_with_turns if has_turns else constants,
        table=_table_of_turns if has_turns else table,
        prompt=_short_prompt if short else question_text,
        pictures=images,
        is_right=is_right,
        expected=lambda question: question.answers,
        conversation=(lambda question: question.conversation) if has_turns else None,
    )


def _short_prompt(question: OwnQuestion) -> str:
    return f"{question.question}\n{SHORT}"


def _first(questions: Sequence[OwnQuestion], per_type: int | None) -> list[OwnQuestion]:
    """The first questions of every type, in their order, and the turns behind them."""
    counts: Counter[str] = Counter()
    chosen: list[OwnQuestion] = []
    conversations: set[str] = set()
    for question in questions:
        counts[question.type] += question.turn == 1
        is_first = question.turn == 1 and (per_type is None or counts[question.type] <= per_type)
        if is_first or (question.turn > 1 and question.conversation in conversations):
            chosen.append(question)
            conversations.add(question.conversation)
    return chosen


def _require_pictures(file: Path, images: Path, questions: Sequence[OwnQuestion], progress: Progress | None) -> None:
    """Raise LapilliError for the first question whose picture cannot be opened, with the number of the others."""
    if not images.is_dir():
        raise LapilliError(f"{images}: no such folder; give the folder of the pictures of {file} with --images")
    names = list(dict.fromkeys(question.image for question in questions))
    faults = check_paths(images, names) or check_pictures(images, names, progress)
    if faults:
        question = next(question for question in questions if question.image in faults)
        others = f" (and {len(faults) - 1} more pictures)" if len(faults) > 1 else ""
        raise LapilliError(f"{file}: question {question.id!r}: {faults[question.image]}{others}; pictures: {images}")


def is_exact(response: Response[OwnQuestion]) -> bool:
    """Whether the answer is a right one to the letter, but for spaces around it."""
    return response.answer.strip() in response.question.answers


def is_right(response: Response[OwnQuestion]) -> bool:
    """Whether the answer is a right one as `compared` has them; nothing is no answer."""
    return compared(response.answer) in map(compared, response.question.answers)


def contains_right(response: Response[OwnQuestion]) -> bool:
    """Whether a right answer occurs in the answer in whole words, both as `compared` has them."""
    reply = f" {compared(response.answer)} "
    return any(f" {compared(answer)} " in reply for answer in response.question.answers)


def scores(responses: Sequence[Response[OwnQuestion]]) -> list[Score]:
    """One score for each condition and type, and for all types together, the last of its condition."""
    conditions = dict.fromkeys(response.condition for response in responses)
    kinds = [*dict.fromkeys(response.question.type for response in responses if response.question.type), EVERY_TYPE]
    return [
        _score(condition, kind, of)
        for condition in conditions
        for kind in kinds
        if (of := [one for one in responses if one.condition == condition and kind in (one.question.type, EVERY_TYPE)])
    ]


def _score(condition: str, kind: str, responses: Sequence[Response[OwnQuestion]]) -> Score:
    images = [response.question.image for response in responses]

    def share(judge: Callable[[Response[OwnQuestion]], bool]) -> Proportion:
        return clustered([judge(response) for response in responses], images)

    lengths = [len(response.answer.split()) for response in responses]
    return Score(
        condition,
        kind,
        normalised=share(is_right),
        exact=share(is_exact),
        contains=share(contains_right),
        words=clustered_mean([float(length) for length in lengths], images),
        empty=clustered([length == 0 for length in lengths], images),
    )


def constants(questions: Sequence[OwnQuestion]) -> list[Constant]:
    """The best constant answer of every type, and the share that all of them together get right."""
    best, responses = [], []
    for kind in dict.fromkeys(question.type for question in questions):
        of_kind = [question for question in questions if question.type == kind]
        answer = _most_frequent(of_kind)
        by_constant = [Response(question, CONSTANT, answer) for question in of_kind]
        responses += by_constant
        if kind:
            best.append(Constant(kind, answer, _share(by_constant)))
    return [*best, Constant(EVERY_TYPE, "" if best else responses[0].answer, _share(responses))]


def _most_frequent(questions: Sequence[OwnQuestion]) -> str:
    """The answer that is right for the most questions, in its first spelling; of several the first."""
    spellings = {compared(answer): answer for question in reversed(questions) for answer in reversed(question.answers)}
    counts = Counter(
        plain for question in questions for plain in dict.fromkeys(compared(answer) for answer in question.answers)
    )
    return spellings[counts.most_common(1)[0][0]]


def _share(responses: Sequence[Response[OwnQuestion]]) -> Proportion:
    return clustered([is_right(response) for response in responses], [one.question.image for one in responses])


def table(scores: Sequence[Score], constants: Sequence[Constant]) -> Table:
    """A row for every type, the last for all: the three shares, and normalised ones under the controls."""
    by_kind = {(score.condition, score.type): score.normalised for score in scores}
    by_kind |= {(CONSTANT, constant.type): constant.share for constant in constants}
    rows = []
    for score in (score for score in scores if score.condition == "image"):
        controls = (by_kind.get((condition, score.type)) for condition in _CONTROLS.values())
        rows.append([
            score.type,
            str(score.normalised.n),
            *(with_interval(share.estimate, share.low, share.high) for share in (score.normalised, score.exact)),
            percent(score.contains.estimate),
            *(percent(share.estimate) if share else "–" for share in controls),
        ])  # fmt: skip
    every = next(score for score in scores if (score.condition, score.type) == ("image", EVERY_TYPE))
    replies = f"Replies: {every.words.value:.1f} words on average, {every.empty.correct} of {every.empty.n} empty"
    return Table(_COLUMNS, rows, f"% right, with 95 % intervals. Controls, normalised: {_NOTE}. {replies}")


def _scores_with_turns(responses: Sequence[Response[OwnQuestion]]) -> list[Any]:
    return [*turns.scores(responses, is_right), *scores(responses)]


def _constants_with_turns(questions: Sequence[OwnQuestion]) -> list[Any]:
    of_turns = [
        turns.Constant(turn, row.type, row.answer, row.share)
        for turn, group in turns.by_turn(questions).items()
        for row in constants(group)
    ]
    return [*of_turns, *constants(questions)]


def _table_of_turns(scores: Sequence[Any], constants: Sequence[Any]) -> Table:
    return turns.table(scores, constants, f"Normalised: {turns.NOTE}. By type: in results/scores.json")
