"""TextVQA: questions about text in pictures. Singh et al. 2019, arXiv 1904.08920.

LLaVA calls a question by its picture, about which there may be several, so its words belong to its name. They are in
the prompt, between what LLaVA wrote around them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, identifier, read_mapping, text_of, texts_of
from lapilli.evaluation.normalize import normalize_answer
from lapilli.evaluation.published.annotators import normalised_accuracy
from lapilli.evaluation.published.figures import accuracy
from lapilli.evaluation.published.protocol import EVAL_ZIP, Judged, Key, Layout, Published, each

Reference = tuple[str, tuple[str, ...]]
"""The picture and the annotators' answers."""

_OLDER = re.compile(r"Question: (.*?) Short answer:", re.DOTALL)
_TOKENS = "Reference OCR token:"


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The annotators' answers by picture and question, of `TextVQA_0.5.1_val.json`."""
    labels: dict[Key, Reference] = {}
    for file in files:
        rows = read_mapping(file).get("data")
        for number, row in enumerate(rows if isinstance(rows, list) else []):
            place = f"{file}, row {number}"
            if not isinstance(row, dict):
                raise LapilliError(f"{place}: an object expected; {REMEDY}")
            image = identifier(row, ("image_id",), place)
            question = text_of(row, ("question",), place).lower().strip()
            labels[image, question] = (image, texts_of(row.get("answers"), place))
        if not labels:
            raise LapilliError(f"{file}: no list of questions as data; {REMEDY}")
    return labels


def question_of(row: AnswerRow) -> str:
    """The question in a prompt of LLaVA's, in lower case. Raises LapilliError for a prompt of another form."""
    lines = row.prompt.split("\n")
    if row.prompt.startswith("OCR tokens: ") and (match := _OLDER.search(row.prompt)):
        question = match[1]
    elif _TOKENS in row.prompt and len(lines) == 3:
        question = lines[1] if row.prompt.startswith(_TOKENS) else lines[0]
    elif len(lines) <= 2 and row.prompt.strip():
        question = lines[0]
    else:
        raise LapilliError(f"{row.place}: prompt: no question in it, of the form that LLaVA writes; {REMEDY}")
    return question.lower().strip()


def key(row: AnswerRow, _: object = None) -> Key:
    """The picture and the question."""
    return (row.id, question_of(row))


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """An answer by its annotators, both normalised."""
    image, answers = reference
    return Judged(
        f"{row.id} {question_of(row)}", "", image, row.text, normalize_answer(row.text),
        expected=max(answers, key=answers.count),
        score=normalised_accuracy(row.text, answers),
        failed=not row.text.strip(),
    )  # fmt: skip


BENCHMARK = Published(
    name="textvqa",
    version="0.5.1; LLaVA's eval_textvqa.py and m4c_evaluator.py",
    source="textvqa.org/dataset, TextVQA_0.5.1_val.json: {data: [{image_id, question, answers}]}",
    references=read_labels,
    key=key,
    identity=key,
    judge=each(judge),
    figures=accuracy,
    layouts={
        "textvqa": Layout(
            "llava_textvqa_val_v051_ocr.jsonl",
            ("TextVQA_0.5.1_val.json",),
            "train_images",
            origin=f"questions come from {EVAL_ZIP}, pictures from textvqa.org/dataset, train_val_images.zip",
        )
    },
)
