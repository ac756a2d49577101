"""Samples whose pictures, or questions, are those of an evaluation.

COCO has the same pictures under several names: COCO_val2014_000000441147.jpg is train2017's 000000441147.jpg. A number
of twelve digits at the end of a name is therefore the picture's id; other pictures are compared by their names, and
where their folders are known also by what they show: Visual Genome, for one, has COCO's under names and in sizes of its
own.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from lapilli.core.errors import LapilliError
from lapilli.core.progress import Progress
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.copies import copies
from lapilli.data.rows import place, read_rows
from lapilli.data.sample import Sample, parse_row

_COCO = re.compile(r"(?:^|_)(\d{12})$")
_WORD = re.compile(r"\w+")
_PICTURES, _QUESTIONS = ("image", "image_path", "picture", "file"), ("question", "text", "q")
_REMEDY = "give rows with an image, and a question or text; or samples"

_Row = tuple[tuple[str, ...], tuple[str, ...]]  # pictures and questions


@dataclass(frozen=True)
class Overlap:
    """What samples share with an evaluation: `pictures` and `questions` are the numbers of their rows, from 0.

    `pictures` have a picture of the same name, `questions` the question to it too; `copies` have a picture that looks
    the same under another name, and are None where pictures were not opened.
    """

    file: Path
    rows: int
    pictures: tuple[int, ...]
    questions: tuple[int, ...]
    copies: tuple[int, ...] | None = None
    unread: int = 0
    """Pictures that could not be opened."""


@dataclass(frozen=True)
class Folders:
    """Where pictures lie: those of the samples, and those of the evaluation."""

    samples: Path
    evaluation: Path


def overlap(
    samples: Sequence[Sample], file: Path, folders: Folders | None = None, progress: Progress | None = None
) -> Overlap:
    """What samples share with the questions in a file, .json or .jsonl, which may be samples themselves.

    Samples without a picture in it are skipped. With folders, pictures are opened and compared too. Raises LapilliError
    for a question that names no picture, and where no row does.
    """
    rows = list(_evaluation(file))
    if not rows:
        raise LapilliError(f"{file}: no row names a picture; {_REMEDY}")
    wanted = {(picture_id(image), question) for images, texts in rows for image in images for question in texts}
    names = {name for name, _ in wanted}
    pictures, questions = [], []
    for row, sample in enumerate(samples):
        own = {picture_id(image) for image in sample.images}
        if own & names:
            pictures.append(row)
        if any((name, text) in wanted for name in own for text in _texts(sample)):
            questions.append(row)
    result = Overlap(file, len(rows), tuple(pictures), tuple(questions))
    return result if folders is None else _with_copies(result, samples, rows, folders, progress)


def _with_copies(
    result: Overlap, samples: Sequence[Sample], rows: Sequence[_Row], folders: Folders, progress: Progress | None
) -> Overlap:
    others = dict.fromkeys(image for images, _ in rows for image in images)
    own = dict.fromkeys(image for sample in samples for image in sample.images)
    alike = copies((folders.samples, own), (folders.evaluation, others), progress)
    of_name = set(result.pictures)
    rows_alike = (row for row, one in enumerate(samples) if row not in of_name and alike.names & set(one.images))
    return replace(result, copies=tuple(rows_alike), unread=alike.unread)


def without(samples: Sequence[Sample], overlaps: Iterable[Overlap]) -> list[Sample]:
    """The samples that have no picture of any of the evaluations, by its name or by what it shows."""
    shared = {row for one in overlaps for row in (*one.pictures, *(one.copies or ()))}
    return [sample for row, sample in enumerate(samples) if row not in shared]


def picture_id(name: str) -> str:
    """What two names of one picture have in common: COCO's number, or the name without its folder and ending."""
    stem = PurePath(name.replace("\\", "/")).stem
    match = _COCO.search(stem)
    return match[1] if match else stem.lower()


def _evaluation(file: Path) -> Iterator[_Row]:
    """The pictures of every row, and its questions; of a row of samples all that are asked."""
    for row in read_rows(file):
        where = place(file, row.number)
        value = row.value if isinstance(row.value, dict) else {}
        if "conversations" in value:
            sample = parse_row(value, where)
            images, questions = sample.images, tuple(_texts(sample))
        else:
            images = tuple(value[key] for key in _PICTURES if isinstance(value.get(key), str))[:1]
            question = next((value[key] for key in _QUESTIONS if isinstance(value.get(key), str)), "")
            questions = (_plain(question),)
        if images:
            yield images, questions
        elif "conversations" not in value:
            raise LapilliError(f"{where}: no picture is named; {_REMEDY}")


def _texts(sample: Sample) -> Iterable[str]:
    return (_plain(turn.text.replace(IMAGE_MARK, "")) for turn in sample.turns[::2])


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
