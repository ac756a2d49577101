"""VQAv2 and VizWiz: short answers that ten annotators gave too. arXiv 1612.00837 and 1802.08218.

Labels are read as both distribute them, and as `{question_id: [ten answers]}`. Answers and labels are normalised before
they are compared. `server_accuracy` beside it leaves labels alone on which all annotators agree, as the servers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.read import json_kind, parsed, read_text
from lapilli.evaluation.answer_file import (
    REMEDY,
    AnswerRow,
    identifier,
    read_mapping,
    read_objects,
    text_of,
    texts_of,
    whole_number,
)
from lapilli.evaluation.normalize import normalize_answer
from lapilli.evaluation.own import SHORT
from lapilli.evaluation.published.annotators import normalised_accuracy, server_accuracy
from lapilli.evaluation.published.figures import accuracy, by_group, figure, mean_score, share
from lapilli.evaluation.published.protocol import Judged, Key, Layout, Published, Questions, each

UNANSWERABLE = "unanswerable"


@dataclass(frozen=True)
class Reference:
    """The annotators' answers to a question, its picture, and the type that the annotations give it."""

    answers: tuple[str, ...]
    image: str
    kind: str


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The annotators' answers by the question's name, of VizWiz the picture's.

    Raises LapilliError for a file of another form, and for a question that is in it twice.
    """
    labels: dict[Key, Reference] = {}
    for file in files:
        for name, reference in _references(file):
            if name in labels:
                raise LapilliError(f"{file}: question {name!r} is there twice; remove one")
            labels[name] = reference
    return labels


def _references(file: Path) -> Iterator[tuple[str, Reference]]:
    value = parsed(read_text(file, REMEDY), str(file), REMEDY)
    if isinstance(value, dict) and "annotations" not in value:
        for name, answers in value.items():
            yield name.strip(), Reference(texts_of(answers, f"{file}: {name}"), name, "")
        return
    rows = value["annotations"] if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise LapilliError(f"{file}: {json_kind(rows)}, annotations or {{question_id: [answers]}} expected; {REMEDY}")
    for number, row in enumerate(rows):
        place = f"{file}, row {number}"
        if not isinstance(row, dict):
            raise LapilliError(f"{place}: {json_kind(row)}, an object expected; {REMEDY}")
        name = identifier(row, ("question_id", "image"), place)
        image = identifier(row, ("image_id", "image", "question_id"), place)
        yield name, Reference(texts_of(row.get("answers"), place), image, _kind(row))


def _kind(row: Mapping[str, Any]) -> str:
    kind = row.get("answer_type")
    return kind if isinstance(kind, str) else ""


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """An answer by its annotators, both normalised."""
    most = max(reference.answers, key=reference.answers.count)
    return Judged(
        row.id, reference.kind, reference.image, row.text,
        parsed=normalize_answer(row.text),
        expected=most,
        score=normalised_accuracy(row.text, reference.answers),
        failed=not row.text.strip(),
        beside={"server": server_accuracy(row.text, reference.answers)},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy, that of the servers, of each type of answer, and the share of answers that say unanswerable."""
    refused = share([row.parsed == UNANSWERABLE for row in rows], [row.cluster for row in rows])
    types = by_group(rows) if any(row.group for row in rows) else {}
    return (
        accuracy(rows)
        | figure("server_accuracy", mean_score(rows, "server"))
        | figure("unanswerable_share", refused)
        | ({"by_answer_type": types} if types else {})
    )


def upload(answers: Sequence[AnswerRow], questions: Questions) -> list[dict[str, Any]]:
    """What EvalAI takes: of VizWiz, whose questions have a picture as their name, by picture, else by question.

    A question of the file of questions without an answer gets an empty one.
    """
    given_answers = {row.id: normalize_answer(row.text) for row in answers}
    names = list(questions) or list(given_answers)
    return [_uploaded(name, questions.get(name, {}), given_answers.get(name, "")) for name in names]


def _uploaded(name: str, question: Mapping[str, Any], answer: str) -> dict[str, Any]:
    number = whole_number(name)
    if number is None:
        return {"image": question.get("image", name), "answer": answer}
    return {"question_id": number, "answer": answer}


REFUSE = "When the provided information is insufficient, respond with 'Unanswerable'."
"""What LLaVA-1.5 is told of VizWiz's questions (arXiv 2310.03744, table 8)."""


def read_vqav2_questions(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """VQAv2's own questions about pictures of COCO, as LLaVA-1.5 is asked them."""
    rows = read_mapping(file).get("questions")
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        place = f"{file}, question {number}"
        if not isinstance(row, dict):
            raise LapilliError(f"{place}: {json_kind(row)}, an object expected; {REMEDY}")
        name, image = identifier(row, ("question_id",), place), identifier(row, ("image_id",), place)
        text = f"{text_of(row, ('question',), place)}\n{SHORT}"
        yield place, {"question_id": name, "image": f"COCO_val2014_{image:0>12}.jpg", "text": text}


def read_vizwiz_questions(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """VizWiz's own questions, named by their pictures, as LLaVA-1.5 is asked them."""
    for place, row in read_objects(file):
        image = text_of(row, ("image",), place)
        text = f"{text_of(row, ('question',), place)}\n{REFUSE}\n{SHORT}"
        yield place, {"question_id": image, "image": image, "text": text}


BENCHMARK = Published(
    name="vqa",
    version="VQAv2 and VizWiz; LLaVA's m4c_evaluator.py, the servers' vqaEval.py beside it",
    source=(
        "visualqa.org/download.html, v2_mscoco_val2014_annotations.json, or vizwiz.org, Annotations/val.json; or "
        "{question_id: [ten answers]}"
    ),
    references=read_labels,
    judge=each(judge),
    figures=figures,
    upload=upload,
    layouts={
        "vqav2": Layout(
            "v2_OpenEnded_mscoco_val2014_questions.json",
            ("v2_mscoco_val2014_annotations.json",),
            "val2014",
            read_vqav2_questions,
            origin=(
                "questions come from visualqa.org/download.html, v2_Questions_Val_mscoco.zip, pictures from "
                "cocodataset.org, val2014.zip"
            ),
        ),
        "vizwiz": Layout(
            "Annotations/val.json",
            ("Annotations/val.json",),
            "val",
            read_vizwiz_questions,
            origin="pictures come from vizwiz.org, val.zip",
        ),
    },
)
