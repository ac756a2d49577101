"""A yes-or-no benchmark of one's own, as it is added: a file of `evaluation/`, and a line in the registry.

The data folder holds questions.jsonl, a line {"image", "question", "label"} for each question, and `images`. The same
questions are asked with a blank picture; beside both stands who always says yes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lapilli.core.errors import LapilliError
from lapilli.core.read import checked, read_json_lines
from lapilli.data.yes_no import read_yes_no
from lapilli.evaluation.benchmark import Benchmark, Table
from lapilli.evaluation.pope import COLUMNS, Score, cells, constants, is_right, scores
from lapilli.evaluation.scenes import EVERY_TYPE, SceneQuestion, expected, require_picture


@dataclass(frozen=True)
class Row:
    """A line of questions.jsonl."""

    image: str
    question: str
    label: Literal["yes", "no"]


def read(folder: Path, split: str, count: int) -> list[SceneQuestion]:
    """The first `count` questions of every type, here of one, named by their number.

    Raises LapilliError without any, and for a missing picture.
    """
    file = folder / "questions.jsonl"
    rows = read_rows(file)[:count]
    if not rows:
        raise LapilliError(f"{file}: no questions; write a line for each")
    for number, row in enumerate(rows):
        require_picture(folder, str(number), row.image)
    return [
        SceneQuestion(str(number), split, row.image, type="own", question=row.question, answer=row.label)
        for number, row in enumerate(rows)
    ]


def read_rows(file: Path) -> list[Row]:
    """All rows. Raises LapilliError with file, row and field for one that is none."""
    remedy = 'a row is {"image": "a.jpg", "question": "Is there a dog?", "label": "yes"}, and a label is yes or no'
    return [checked(Row, value, place, remedy) for place, value in read_json_lines(file, remedy)]


def table(scores: Sequence[Score], constants: Sequence[Score]) -> Table:
    """A row for each condition, and one for who always says yes; of one type, so that all together are enough."""
    every = [score for score in (*scores, *constants) if score.type == EVERY_TYPE]
    columns = ("picture", *COLUMNS[1:])
    return Table(columns, [cells(score.condition, score) for score in every], "%; accuracy with its 95 % interval")


BENCHMARK = Benchmark(
    name="toy_yes_no",
    rounds=(("", "image"), ("", "blank")),  # "": the data folder itself, which --data names
    read=read,
    normalise=read_yes_no,
    score=scores,
    constants=constants,
    table=table,
    is_right=is_right,
    expected=expected,
)
