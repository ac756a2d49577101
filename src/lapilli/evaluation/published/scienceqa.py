"""ScienceQA: multiple choice, with a picture or without. Lu et al. 2022, arXiv 2209.09513.

A letter is read where the whole answer is one, where it begins with one and ". ", and where "The answer is X" and one
more character occurs exactly once. LLaVA-1.5's published figures are `image_accuracy`, of questions with a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.read import json_kind
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, read_mapping, read_objects, text_of
from lapilli.evaluation.published.figures import accuracy, by_group, figure, mean_score, unparsed
from lapilli.evaluation.published.protocol import EVAL_ZIP, Judged, Key, Layout, Published, each

LETTERS = "ABCDE"
_SENTENCE = re.compile(r"The answer is ([A-Z]).")


@dataclass(frozen=True)
class Reference:
    """The right letter, whether there is a picture, the letters to choose from, and the subject."""

    answer: str
    image: bool
    choices: str
    subject: str


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The labels of `problems.json`, of its test split where it has splits, or of `{id: {"answer": "B", "image"}}`.

    Raises LapilliError for a row that is neither.
    """
    rows = {name: (file, row) for file in files for name, row in read_mapping(file).items()}
    labels = {name: _reference(row, f"{file}: {name}") for name, (file, row) in rows.items()}
    return {name: labels[name] for name, (_, row) in rows.items() if row.get("split", "test") == "test"}


def _reference(row: Any, place: str) -> Reference:
    if not isinstance(row, dict):
        raise LapilliError(f"{place}: {json_kind(row)}, an object expected; {REMEDY}")
    choices, answer = row.get("choices"), row.get("answer")
    letters = LETTERS[: len(choices)] if isinstance(choices, list) else LETTERS
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(letters):
        answer = letters[answer]
    if not isinstance(answer, str) or len(answer) != 1 or answer not in letters:
        raise LapilliError(f"{place}: answer {answer!r}, one of {letters} or its number from 0 expected; {REMEDY}")
    subject = row.get("subject")
    return Reference(answer, bool(row.get("image")), letters, subject if isinstance(subject, str) else "")


def letter_of(text: str) -> str:
    """The letter that an answer chooses; "" where the rules read none."""
    if len(text) == 1 and text in LETTERS:
        return text
    if len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        return text[0]
    sentences = _SENTENCE.findall(text)
    return sentences[0] if len(sentences) == 1 else ""


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """Right is the right letter; one that is no choice, or none, is wrong."""
    letter = letter_of(row.text)
    offered = letter in reference.choices
    return Judged(
        row.id, reference.subject, row.id, row.text,
        parsed=letter,
        expected=reference.answer,
        score=float(letter == reference.answer),
        failed=not letter,
        labels={"image": "with" if reference.image else "without", "offered": "yes" if offered else "no"},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy of all, of the questions with a picture and of each subject; answers that were not read."""
    pictured = [row for row in rows if row.labels["image"] == "with"]
    subjects = by_group(rows) if any(row.group for row in rows) else {}
    return (
        accuracy(rows)
        | figure("image_accuracy", mean_score(pictured))
        | {"n_image": len(pictured), "unparsed": unparsed(rows)}
        | {"not_offered": sum(row.labels["offered"] == "no" and not row.failed for row in rows)}
        | ({"by_subject": subjects} if subjects else {})
    )


LETTER = "Answer with the option's letter from the given choices directly."
"""What LLaVA-1.5 is asked for a letter (arXiv 2310.03744, section 3.2)."""


def read_problems(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """LLaVA's file of conversations as rows of questions; the first turn is the question."""
    for place, row in read_objects(file):
        turns = row.get("conversations")
        first = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
        text = text_of(first, ("value",), f"{place}: conversations").replace(IMAGE_MARK, "").strip()
        yield place, {"question_id": row.get("id"), "image": row.get("image"), "text": f"{text}\n{LETTER}"}


BENCHMARK = Published(
    name="scienceqa",
    version="test split of problems.json; LLaVA's eval_science_qa.py",
    source="github.com/lupantech/ScienceQA, data/scienceqa/problems.json, or {question_id: {answer: B, image: true}}",
    references=read_labels,
    judge=each(judge),
    figures=figures,
    missing="FAILED",
    choices=lambda reference: reference.choices,
    layouts={
        "scienceqa": Layout(
            "llava_test_CQM-A.json",
            ("problems.json",),
            "images/test",
            read_problems,
            origin=f"questions come from {EVAL_ZIP}, pictures from where the labels do, test.zip",
        )
    },
)
