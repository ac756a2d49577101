"""SEED-Bench: multiple choice about pictures and about films. Li et al. 2023, arXiv 2307.16125.

LLaVA's rule is plain equality with the letter: "B." is wrong. `read_letter` beside it forgives what stands around it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.data.extra_fields import excerpt
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, add_label, identifier, read_mapping, text_of
from lapilli.evaluation.published.figures import accuracy, by_group, figure, grouped, mean_score, unparsed
from lapilli.evaluation.published.protocol import EVAL_ZIP, Judged, Key, Layout, Published, each

_LETTER = re.compile(r"\W*([A-D])(?:[\s.:),].*|\W*)", re.DOTALL)

Reference = tuple[str, str, str, str]
"""The letter, the type of question, image or video, and what is shown."""


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The labels of `SEED-Bench.json` by the question's name."""
    labels: dict[Key, Reference] = {}
    for file in files:
        content = read_mapping(file)
        questions, types = content.get("questions"), content.get("question_type")
        names = {str(number): name for name, number in types.items()} if isinstance(types, dict) else {}
        for at, row in enumerate(questions if isinstance(questions, list) else []):
            place = f"{file}, question {at}"
            if not isinstance(row, dict):
                raise LapilliError(f"{place}: an object expected; {REMEDY}")
            kind = names.get(str(row.get("question_type_id")), "")
            letter, shown = text_of(row, ("answer",), place), text_of(row, ("data_type",), place)
            if shown not in ("image", "video"):
                raise LapilliError(f"{place}: data_type {excerpt(shown)}, image or video expected; {REMEDY}")
            name = identifier(row, ("question_id",), place)
            add_label(labels, name, (letter, kind, shown, str(row.get("data_id", name))), place)
        if not labels:
            raise LapilliError(f"{file}: no list of questions; {REMEDY}")
    return labels


def read_letter(text: str) -> str:
    """The letter that an answer begins with, whatever signs stand around it; "" without one."""
    match = _LETTER.fullmatch(text)
    return match[1] if match else ""


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """Right is the letter alone."""
    letter, kind, shown, picture = reference
    parsed = read_letter(row.text)
    return Judged(
        row.id, kind, f"{shown}/{picture}", row.text,
        parsed=parsed,
        expected=letter,
        score=float(row.text == letter),
        failed=not parsed,
        beside={"lenient": float(parsed == letter)},
        labels={"shown": shown},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy of all, of pictures and of films, of each type; and the lenient one."""
    shown = grouped(rows, lambda row: row.labels["shown"])
    return (
        accuracy(rows)
        | {name: accuracy(of) for name, of in shown.items()}
        | figure("lenient_accuracy", mean_score(rows, "lenient"))
        | {"unparsed": unparsed(rows), "by_type": by_group(rows)}
    )


BENCHMARK = Published(
    name="seed",
    version="SEED-Bench-1; LLaVA's convert_seed_for_submission.py",
    source="huggingface.co/datasets/AILab-CVC/SEED-Bench, SEED-Bench.json",
    references=read_labels,
    judge=each(judge),
    figures=figures,
    missing="",
    choices=lambda _: "ABCD",
    layouts={
        "seed": Layout(
            "llava-seed-bench.jsonl",
            ("SEED-Bench.json",),
            ".",
            origin=(
                f"questions come from {EVAL_ZIP}, pictures from where the labels do: SEED-Bench-image, and the middle "
                "frame of each film as SEED-Bench-video-image"
            ),
        )
    },
)
