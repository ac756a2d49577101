"""MM-Vet: free answers that a grader gave from 0 to 1. Yu et al. 2023, arXiv 2308.02490.

The file of answers is that of the grades, `{"v1_0": {"content": [...], "score": [1.0, ...]}}`, with one score a run.
What the grader reads, and `lapilli eval` writes, is `{"v1_0": answer}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from lapilli.core.errors import LapilliError
from lapilli.core.plain import json_text
from lapilli.core.read import checked
from lapilli.core.statistics.clusters import clustered_mean
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, read_mapping
from lapilli.evaluation.published.figures import figure, grouped, unparsed
from lapilli.evaluation.published.protocol import Judged, Key, Layout, Published, each


class Reference(TypedDict, total=False):
    """A question of MM-Vet as its file has it."""

    answer: str
    imagename: str
    capability: list[str]


class Grades(TypedDict):
    """The grades of an answer, one a run; below 0 where a run gave none."""

    score: list[float]


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The questions of `mm-vet.json` by their names."""
    return {
        name: checked(Reference, row, f"{file}: {name}", REMEDY)
        for file in files
        for name, row in read_mapping(file).items()
    }


def read_grades(file: Path) -> list[AnswerRow]:
    """A row for each question; its text are the grader's words. Raises LapilliError for a row without grades."""
    rows = []
    for name, row in read_mapping(file).items():
        place = f"{file}: {name}"
        if not checked(Grades, row, place, REMEDY)["score"]:
            raise LapilliError(f"{place}: score: an empty list; {REMEDY}")
        rows.append(AnswerRow(place, name, "", _words(row.get("content")), row))
    return rows


def _words(content: object) -> str:
    return "\n".join(map(str, content)) if isinstance(content, list) else str(content or "")


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """The mean grade of the runs that gave one from 0 to 1; without any the answer counts as 0, and as failed."""
    runs = {f"run {at}": grade for at, grade in enumerate(row.fields["score"], 1) if 0 <= grade <= 1}
    grades = list(runs.values())
    return Judged(
        row.id, " ".join(sorted(reference.get("capability", []))), reference.get("imagename", row.id), row.text,
        parsed=" ".join(f"{grade:g}" for grade in grades),
        expected=reference.get("answer", ""),
        score=sum(grades) / len(grades) if grades else 0.0,
        failed=len(grades) < len(row.fields["score"]),
        numbers=runs,
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The mean grade, that of what every run graded, of every capability and of every set of them."""
    capabilities = dict.fromkeys(name for row in rows for name in row.group.split())
    runs = sorted({name for row in rows for name in row.numbers}, key=lambda name: int(name.split()[1]))
    means = [float(np.mean([row.numbers[name] for row in rows if name in row.numbers])) for name in runs]
    return (
        _mean(rows, "total")
        | {"runs": means, "runs_std": float(np.std(means)) if means else nan, "unparsed": unparsed(rows)}
        | {"by_capability": {name: _mean([row for row in rows if name in row.group.split()]) for name in capabilities}}
        | {"by_integration": {name: _mean(of) for name, of in grouped(rows, lambda row: row.group).items()}}
    )


def _mean(rows: Sequence[Judged], name: str = "score") -> dict[str, Any]:
    return figure(name, clustered_mean([row.score for row in rows], [row.cluster for row in rows])) | {"n": len(rows)}


class Question(TypedDict):
    """What a model is asked."""

    imagename: str
    question: str


def read_questions(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The questions of `mm-vet.json` as they stand, which is how LLaVA-1.5 is asked them."""
    for name, row in read_mapping(file).items():
        place = f"{file}: {name}"
        of = checked(Question, row, place, REMEDY)
        category = " ".join(sorted(checked(Reference, row, place, REMEDY).get("capability", [])))
        yield place, {"question_id": name, "image": of["imagename"], "text": of["question"], "category": category}


def written(rows: Sequence[AnswerRow]) -> str:
    """The answers as the authors' grader reads them."""
    return json_text({row.id: row.text for row in rows})


BENCHMARK = Published(
    name="mm-vet",
    version="v1, 218 questions; the authors' mm-vet_evaluator",
    source="github.com/yuweihao/MM-Vet, mm-vet.json: {v1_0: {imagename, answer, capability}}",
    references=read_labels,
    answers=read_grades,
    judge=each(judge),
    figures=figures,
    score="grade",
    layouts={
        "mm-vet": Layout(
            "mm-vet.json",
            ("mm-vet.json",),
            "images",
            read_questions,
            origin="questions and pictures come from mm-vet.zip of github.com/yuweihao/MM-Vet",
            grading=(
                "grade {out}/mm-vet.json with mm-vet_evaluator of github.com/yuweihao/MM-Vet, as GRADES",
                "lapilli score mm-vet --answers GRADES --references {data}/mm-vet.json",
            ),
        )
    },
    answer_tokens=1024,
    right_or_wrong=False,
    written=written,
    ending=".json",
)
