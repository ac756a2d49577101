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
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from lapilli.core import spelling
from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import sha256
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.read import half_character, json_kind
from lapilli.data.faults import Fault
from lapilli.data.rows import place, read_rows
from lapilli.data.sample import Sample, Turn

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2, in shares of the picture's width and height."""

_FILE = "questions.jsonl"
_ROWS = (".json", ".jsonl", ".csv", ".tsv")
_PICTURES = ("images", "masks")
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


def one_question(image: str, question: str) -> Sample:
    """The sample that asks a question about the picture `image`. Raises UsageError for what is no question."""
    if not question.strip():
        raise UsageError("question: empty; ask something about the picture")
    if IMAGE_MARK in question:
        raise UsageError(f"question: {question!r} holds {IMAGE_MARK}, which stands for a picture; leave it out")
    if half_character(question):
        raise UsageError(f"question: {question!r} holds half a character; leave it out")
    return PictureQuestion("question", image, question, "").sample


def read_picture_questions(folder: Path) -> list[PictureQuestion]:
    """All questions of a folder, in their order. Raises LapilliError, with file and row, for what is none."""
    file = folder / _FILE
    if not file.is_file():
        raise LapilliError(f"{file}: no such file; {_remedy(folder)}")
    rows = read_rows(file)
    if not rows:
        raise LapilliError(f"{file}: no questions; write one object a line")
    return [_question(place(file, row.number), row.value) for row in rows]


def drawn(questions: Sequence[PictureQuestion], count: int, seed: int) -> list[PictureQuestion]:
    """At most `count` questions, no two of them about one picture or in the same words: samples must be independent.

    Pictures, and the question of each, are drawn by the seed.
    """
    rng = random.Random(seed)
    by_picture: dict[str, list[PictureQuestion]] = {}
    for question in questions:
        by_picture.setdefault(question.image, []).append(question)
    chosen: dict[str, PictureQuestion] = {}
    for picture in rng.sample(list(by_picture), len(by_picture)):
        fresh = [question for question in by_picture[picture] if question.question not in chosen]
        if fresh and len(chosen) < count:
            question = rng.choice(fresh)
            chosen[question.question] = question
    return list(chosen.values())


def without_pictures(sample: Sample) -> Sample:
    """The same question with no picture to it."""
    (turn,) = sample.turns
    return replace(sample, images=(), turns=(Turn(turn.role, turn.text.partition("\n")[2]),))


def fingerprint(folder: Path) -> str:
    """The SHA-256 of all that is read of a folder of questions: what a figure was measured on.

    That is the content of its files of rows, questions, scenes and what else there is, and of its pictures and masks
    the names and sizes.
    """
    rows = sorted(file for file in folder.iterdir() if file.suffix in _ROWS and file.is_file())
    entries = [[file.name, sha256(file)] for file in rows]
    for name in _PICTURES:
        inside = [file.relative_to(folder / name).as_posix() for file in (folder / name).rglob("*") if file.is_file()]
        entries.append([name, picture_sizes(folder / name, inside)])
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def picture_sizes(images: Path, names: Iterable[str]) -> str:
    """The SHA-256 of the names of pictures in a folder and of their sizes, in any order; hidden files are left out."""
    shown = sorted({name for name in names if not PurePath(name).name.startswith(".")})
    sizes = [[name, (images / name).stat().st_size] for name in shown]
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()


def same_answer(answer: str, right: str) -> bool:
    """Whether an answer is the right one, but for capitals, a full stop and spaces around it; nothing is no answer."""
    return bool(plain_answer(answer)) and plain_answer(answer) == plain_answer(right)


def plain_answer(text: str) -> str:
    """An answer without what does not count: capitals, a full stop at the end, spaces around it."""
    return text.strip().rstrip(".").rstrip().lower()


def _remedy(folder: Path) -> str:
    inside = [str(file.parent) for file in sorted(folder.glob(f"*/{_FILE}"))]
    if inside:
        return f"give a folder that has one: {', '.join(inside)}"
    split = folder.name if folder.name in ("train", "compositional") else "held_out"
    return f"make scenes with: lapilli data scenes {folder} --split {split}"


def _question(where: str, row: object) -> PictureQuestion:
    if isinstance(row, Fault):
        raise LapilliError(f"{where}: {row}")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) and row[name] for name in _TEXTS):
        raise LapilliError(f"{where}: a question has the texts {', '.join(_TEXTS)}; this one lacks some of them")
    texts = {name: row[name] for name in _TEXTS} | {"type": spelling.name(row.get("type") or "")}
    if not isinstance(texts["type"], str):
        raise LapilliError(f"{where}: type: {json_kind(texts['type'])}, a string expected; name the kind of question")
    if half := next(filter(None, map(half_character, texts.values())), None):
        raise LapilliError(f"{where}: half a character, {half}; write the whole surrogate pair")
    if IMAGE_MARK in row["question"]:
        raise LapilliError(
            f"{where}: {IMAGE_MARK} in the question; remove it, the picture is shown before the question"
        )
    return PictureQuestion(**texts, boxes=_boxes(where, row.get("boxes") or []))


def _boxes(where: str, rows: Any) -> tuple[Box, ...]:
    try:
        boxes = tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in rows)
    except (TypeError, ValueError, OverflowError) as error:
        raise LapilliError(f"{where}: boxes {rows!r}: each is x1, y1, x2, y2 in shares of the picture") from error
    for x1, y1, x2, y2 in boxes:
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise LapilliError(f"{where}: box {x1, y1, x2, y2}: shares of the picture lie between 0 and 1, x1 < x2")
    return boxes
