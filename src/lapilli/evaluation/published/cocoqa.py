"""COCO-QA by the rule of a study of what visual instruction tuning changes, and by rules that long answers do not win.

The rows hold their own labels, `{"predicted_answer", "ground_truth"}`. The study's rule is containment both ways, of
letters: an empty answer is right, "The batter is tapping" has "bat", and longer answers score more. Beside it stand
`exact`, in lower case without a full stop; `normalised`, VQA's normaliser; and `length_controlled`, the label in whole
words among the first five of the answer, however long that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lapilli.core.terminal import printable
from lapilli.data.questions import same_answer
from lapilli.evaluation.answer_file import AnswerRow, identifier, read_objects, text_of
from lapilli.evaluation.normalize import normalize_answer
from lapilli.evaluation.published.figures import figure, mean_score
from lapilli.evaluation.published.protocol import Judged, Published, each

WORDS = 5
"""The words of an answer that are looked at under `length_controlled`."""

_NAMES = ("sample_id", "question_id", "id")
_DIGITS = {"10": "ten", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five"}
_DIGITS |= {"6": "six", "7": "seven", "8": "eight", "9": "nine"}


def read_rows(file: Path) -> list[AnswerRow]:
    """The answers of a file; a row without a name is called by its place. Raises LapilliError for other rows."""
    return [
        AnswerRow(place, _name(row, place), "", text_of(row, ("predicted_answer",), place), row)
        for place, row in read_objects(file)
        if text_of(row, ("ground_truth",), place) is not None
    ]


def _name(row: dict[str, Any], place: str) -> str:
    names = [name for name in _NAMES if name in row]
    return identifier(row, names, place) if names else printable(place)


def contained(answer: str, label: str) -> bool:
    """The study's rule: one of the two is in the other, digits spelled out one by one: 12 is "onetwo".

    A label of a single character must be in the answer as it is written.
    """
    if len(label) == 1:
        return label in answer
    answer, label = _spelled(answer.lower()), _spelled(label.lower())
    return label in answer or answer in label


def _spelled(text: str) -> str:
    for digits, word in _DIGITS.items():
        text = text.replace(digits, word)
    return text


def in_first_words(answer: str, label: str) -> bool:
    """Whether the label stands in whole words among the answer's first, both as VQA's normaliser has them."""
    words = " ".join(normalize_answer(answer).split()[:WORDS])
    return bool(normalize_answer(label)) and f" {normalize_answer(label)} " in f" {words} "


def judge(row: AnswerRow, _: None) -> Judged:
    """An answer by all four rules."""
    label = row.fields["ground_truth"]
    normalised = normalize_answer(row.text)
    beside = {
        "exact": same_answer(row.text, label),
        "normalised": bool(normalised) and normalised == normalize_answer(label),
        "length_controlled": in_first_words(row.text, label),
    }
    return Judged(
        row.id, "", row.id, row.text,
        parsed=normalised,
        expected=label,
        score=float(contained(row.text, label)),
        failed=not row.text.strip(),
        beside={name: float(right) for name, right in beside.items()},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The share that is right by each rule, with n, and the empty answers, which containment counts as right."""
    rules = {"containment": "", "exact": "exact", "normalised": "normalised", "length_controlled": "length_controlled"}
    shares = {name: figure(name, mean_score(rows, rule)) for name, rule in rules.items()}
    return {key: value for of in shares.values() for key, value in of.items()} | {
        "n": len(rows),
        "empty": sum(row.failed for row in rows),
    }


BENCHMARK = Published(
    name="cocoqa",
    version="containment both ways after lower case and digits as words",
    source="the rows themselves",
    answers=read_rows,
    judge=each(judge),
    figures=figures,
    score="containment",
)
