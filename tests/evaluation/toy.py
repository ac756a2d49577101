"""A benchmark of one's own, as it is added: this file, and a line in the registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.read import checked, read_json_lines
from lapilli.core.statistics.clusters import clustered
from lapilli.core.statistics.proportion import Proportion
from lapilli.evaluation.benchmark import Benchmark, Response, Table, percent
from lapilli.evaluation.scenes import require_picture


@dataclass(frozen=True)
class ToyQuestion:
    """A question with several right answers, as VQAv2 has them."""

    id: str
    image: str
    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A line of toy.jsonl; a `Literal` or another dataclass would be checked too."""

    id: str
    image: str
    text: str
    answers: list[str]


@dataclass(frozen=True)
class ToyScore:
    """The share of answers that are among the right ones."""

    condition: str
    share: Proportion


def read(folder: Path, split: str, count: int) -> list[ToyQuestion]:
    """The first questions of toy.jsonl."""
    rows = read_rows(folder / "toy.jsonl")[:count]
    for row in rows:
        require_picture(folder, row.id, row.image)
    return [ToyQuestion(row.id, row.image, row.text, tuple(row.answers)) for row in rows]


def read_rows(file: Path) -> list[Row]:
    """All rows. Raises LapilliError with file, row and field for one that is none."""
    remedy = 'a row is {"id": "1", "image": "a.jpg", "text": "Which animal?", "answers": ["cat"]}'
    return [checked(Row, value, place, remedy) for place, value in read_json_lines(file, remedy)]


def normalise(text: str) -> str:
    """The first word."""
    return text.lower().split(maxsplit=1)[0] if text.strip() else ""


def score(responses: Sequence[Response[ToyQuestion]]) -> list[ToyScore]:
    """One score for each condition."""
    return [
        ToyScore(condition, _share(of))
        for condition in dict.fromkeys(one.condition for one in responses)
        if (of := [one for one in responses if one.condition == condition])
    ]


def _share(responses: Sequence[Response[ToyQuestion]]) -> Proportion:
    right = [normalise(one.answer) in one.question.answers for one in responses]
    return clustered(right, [one.question.image for one in responses])


def constants(questions: Sequence[ToyQuestion]) -> list[ToyScore]:
    """The score of who always says the first answer of the first question."""
    return score([Response(one, "constant", questions[0].answers[0]) for one in questions])


def table(scores: Sequence[ToyScore], constants: Sequence[ToyScore]) -> Table:
    """A row for each condition."""
    rows = [[one.condition, percent(one.share.estimate)] for one in (*scores, *constants)]
    return Table(("picture", "right"), rows, "% right")


BENCHMARK = Benchmark(
    name="toy",
    rounds=(("", "image"), ("", "language_only")),  # "": the data folder itself, which --data names
    read=read,
    normalise=normalise,
    score=score,
    constants=constants,
    table=table,
    prompt=lambda question: f"{question.question} Answer with one word.",
)
