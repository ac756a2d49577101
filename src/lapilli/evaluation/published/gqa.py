"""GQA: reasoning about real pictures. Hudson & Manning 2019, arXiv 1902.09506.

LLaVA takes the answer in lower case without full stops at its end, and GQA's program compares it as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from lapilli.core.read import checked
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, read_mapping
from lapilli.evaluation.published.figures import accuracy, by_group, grouped
from lapilli.evaluation.published.protocol import EVAL_ZIP, Judged, Key, Layout, Published, Questions, each


class Types(TypedDict, total=False):
    """How a question is built."""

    structural: str


class Answered(TypedDict):
    """What a question must have: those of GQA's test split have no answer, and are scored by its server alone."""

    answer: str


class Reference(Answered, total=False):
    """A question of GQA as its file has it."""

    imageId: str
    types: Types


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The questions of `testdev_balanced_questions.json` and its like, by their names."""
    return {
        name: checked(Reference, row, f"{file}: {name}", REMEDY)
        for file in files
        for name, row in read_mapping(file).items()
    }


def prediction(text: str) -> str:
    """The answer as LLaVA hands it to GQA's program."""
    return text.rstrip(".").lower()


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """Right is what is the label to the letter, after `prediction`."""
    parsed, expected = prediction(row.text), reference["answer"]
    structural = reference.get("types", cast(Types, {})).get("structural", "")
    return Judged(
        row.id, structural, reference.get("imageId", row.id), row.text,
        parsed=parsed,
        expected=expected,
        score=float(parsed == expected),
        failed=not parsed.strip(),
        labels={"form": "open" if structural == "query" else "binary"} if structural else {},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy, also of open and of binary questions, and of each structure."""
    forms = grouped([row for row in rows if row.labels], lambda row: row.labels["form"])
    return accuracy(rows) | {name: accuracy(of) for name, of in forms.items()} | {"by_structure": by_group(rows)}


def upload(answers: Sequence[AnswerRow], _: Questions) -> list[dict[str, str]]:
    """What GQA's own program reads."""
    return [{"questionId": row.id, "prediction": prediction(row.text)} for row in answers]


BENCHMARK = Published(
    name="gqa",
    version="testdev_balanced 1.2; LLaVA's convert_gqa_for_eval.py and GQA's eval.py",
    source="cs.stanford.edu/people/dorarad/gqa, testdev_balanced_questions.json: {id: {answer, imageId, types}}",
    references=read_labels,
    judge=each(judge),
    figures=figures,
    upload=upload,
    layouts={
        "gqa": Layout(
            "llava_gqa_testdev_balanced.jsonl",
            ("data/testdev_balanced_questions.json",),
            "data/images",
            origin=f"questions come from {EVAL_ZIP}, pictures from cs.stanford.edu/people/dorarad/gqa, images.zip",
        )
    },
)
