"""Questions about pictures whose right answers are known, as a folder holds them.

    questions.jsonl    {"id", "image", "question", "answer"} a line; "type" and "boxes" if known
    images/            the pictures
    masks/             if known: of every picture its things' pixels, k + 1 those of the k-th; 0 is background

`boxes` are those of what is asked about, each (x1, y1, x2, y2) in shares of the picture's width and height. Folders of
`lapilli data scenes` are such folders.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.core.template import IMAGE_MARK
from lapilli.data.sample import Sample, Turn

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2, in shares of the picture's width and height."""

_FILE = "questions.jsonl"
_TEXTS = ("id", "image", "question", "answer")


@dataclass(frozen=True)
class PictureQuestion:
    """A question about one picture, its right answer, and where what it asks about lies, if that is known."""

    id: str
    image: str
    question: str
    answer: str
    type: str = ""
    boxes: tuple[Box, ...] = ()

    @property
    def sample(self) -> Sample:
        """What asks it."""
        return Sample(self.id, (self.image,), (Turn("user", f"{IMAGE_MARK}\n{self.question}"),))


def read_picture_questions(folder: Path) -> list[PictureQuestion]:
    """All questions of a folder, in their order. Raises LapilliError, with file and line, for what is none."""
    file = folder / _FILE
    if not file.is_file():
        raise LapilliError(f"{file}: no such file; {_remedy(folder)}")
    lines = enumerate(file.read_bytes().split(b"\n"), 1)  # not splitlines: texts may hold other line breaks
    return [_question(f"{file}:{number}", line) for number, line in lines if line.strip()]


def fingerprint(folder: Path) -> str:
    """The SHA-256 of a folder's questions."""
    return hashlib.sha256((folder / _FILE).read_bytes()).hexdigest()


def same_answer(given: str, right: str) -> bool:
    """Whether an answer is the right one, but for capitals, a full stop and spaces around it."""
    return given.strip().rstrip(".").lower() == right.strip().rstrip(".").lower()


def _remedy(folder: Path) -> str:
    inside = [str(found.parent) for found in sorted(folder.glob(f"*/{_FILE}"))]
    if inside:
        return f"give a folder that has one: {', '.join(inside)}"
    return f"make scenes with: lapilli data scenes {folder} --split held_out"


def _question(place: str, line: bytes) -> PictureQuestion:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise LapilliError(f"{place}: {byte}; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # also thousands of digits, or of brackets
        raise LapilliError(f"{place}: not JSON: {error}; write one object a line") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) and row[name] for name in _TEXTS):
        raise LapilliError(f"{place}: a question has the texts {', '.join(_TEXTS)}; this one lacks some of them")
    texts = {name: row[name] for name in _TEXTS}
    return PictureQuestion(**texts, type=str(row.get("type") or ""), boxes=_boxes(place, row.get("boxes") or []))


def _boxes(place: str, given: Any) -> tuple[Box, ...]:
    try:
        boxes = tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in given)
    except (TypeError, ValueError) as error:
        raise LapilliError(f"{place}: boxes {given!r}: each is x1, y1, x2, y2 in shares of the picture") from error
    for x1, y1, x2, y2 in boxes:
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise LapilliError(f"{place}: box {x1, y1, x2, y2}: shares of the picture lie between 0 and 1, x1 < x2")
    return boxes
