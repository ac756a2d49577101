"""Samples whose pictures, or questions, are those of an evaluation.

COCO has the same pictures under several names: COCO_val2014_000000441147.jpg is train2017's 000000441147.jpg. A number
of twelve digits at the end of a name is therefore the picture's id; other pictures are compared by their names.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.rows import place, read_rows
from lapilli.data.sample import Sample

_COCO = re.compile(r"(?:^|_)(\d{12})$")
_WORD = re.compile(r"\w+")
_PICTURES, _QUESTIONS = ("image", "image_path", "picture", "file"), ("question", "text", "q")
_REMEDY = "give rows with an image, and a question or text"


@dataclass(frozen=True)
class Overlap:
    """What samples share with an evaluation: `pictures` and `questions` are the numbers of their rows, from 0.

    A question counts where the picture is the same too.
    """

    file: Path
    rows: int
    pictures: tuple[int, ...]
    questions: tuple[int, ...]


def overlap(samples: Sequence[Sample], file: Path) -> Overlap:
    """What samples share with the questions in a file, .json or .jsonl. Raises LapilliError for a row that is none."""
    wanted = _evaluation(file)
    names = {name for name, _ in wanted}
    pictures, questions = [], []
    for row, sample in enumerate(samples):
        shown = {picture_id(image) for image in sample.images}
        if shown & names:
            pictures.append(row)
        if any((name, text) in wanted for name in shown for text in _texts(sample)):
            questions.append(row)
    return Overlap(file, len(wanted), tuple(pictures), tuple(questions))


def picture_id(name: str) -> str:
    """What two names of one picture have in common: COCO's number, or the name without its folder and ending."""
    stem = PurePath(name.replace("\\", "/")).stem
    match = _COCO.search(stem)
    return match[1] if match else stem.lower()


def _evaluation(file: Path) -> set[tuple[str, str]]:
    wanted = set()
    for row in read_rows(file):
        value = row.value if isinstance(row.value, dict) else {}
        image = next((value[key] for key in _PICTURES if isinstance(value.get(key), str)), None)
        question = next((value[key] for key in _QUESTIONS if isinstance(value.get(key), str)), "")
        if image is None:
            raise LapilliError(f"{place(file, row.number)}: no picture is named; {_REMEDY}")
        wanted.add((picture_id(image), _plain(question)))
    return wanted


def _texts(sample: Sample) -> Iterable[str]:
    return (_plain(turn.text.replace(IMAGE_MARK, "")) for turn in sample.turns[::2])


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
