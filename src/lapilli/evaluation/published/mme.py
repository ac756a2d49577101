"""MME: two questions about each picture, one to be answered with yes and one with no. Fu et al. 2023, arXiv 2306.13394.

A task's score is 100 times the share of right answers plus 100 times that of pictures with both right. Perception is
the sum of ten tasks, cognition of four. Yes and no are looked for in the first four characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.read import read_text
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, add_label
from lapilli.evaluation.own import SHORT
from lapilli.evaluation.published.figures import accuracy, grouped, unparsed
from lapilli.evaluation.published.protocol import EVAL_ZIP, Judged, Key, Layout, Published, each
from lapilli.evaluation.published.resampling import interval_of

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")

_SUFFIX = "Please answer yes or no."

Reference = tuple[str, str, str]
"""The task, the picture and the label."""


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The labels of tasks, each a file TASK.txt with picture, question and label a line, separated by tabs.

    Raises LapilliError for a line of another form.
    """
    labels: dict[Key, Reference] = {}
    for file in files:
        for number, line in enumerate(read_text(file, REMEDY).split("\n"), 1):
            cells = [cell.strip() for cell in line.split("\t")]
            if line.strip() and (len(cells) < 3 or cells[2].lower() not in ("yes", "no")):
                raise LapilliError(f"{file}:{number}: not picture, question, and yes or no between tabs; {REMEDY}")
            if line.strip():
                label = (file.stem, cells[0], cells[2].lower())
                add_label(labels, _question(file.stem, cells[0], cells[1]), label, f"{file}:{number}")
    return labels


def key(row: AnswerRow, _: object = None) -> tuple[str, str, str]:
    """Task, picture and question; LLaVA calls a question TASK/PICTURE.png, and the words are in the prompt."""
    task, picture = row.id.partition("/")[::2]
    return _question(task, picture, row.prompt)


def _question(task: str, picture: str, question: str) -> tuple[str, str, str]:
    words = question.replace(SHORT, " ").replace(_SUFFIX, " ").split()
    return (task, PurePath(picture).stem, " ".join(words))


def yes_no(text: str) -> str:
    """yes or no, as the authors' program has it; "" where the first four characters hold neither."""
    start = text.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else ""


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """Right is the label; one that is neither yes nor no is wrong."""
    task, picture, label = reference
    parsed = yes_no(row.text)
    return Judged(
        f"{row.id} {key(row)[-1]}", task, f"{task}/{picture}", row.text,
        parsed=parsed,
        expected=label,
        score=float(parsed == label),
        failed=not parsed,
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The two sums and every task's score, its accuracy and its share of pictures with both answers right."""
    tasks = {name: _task(of) for name, of in grouped(rows, lambda row: row.group).items()}
    sums = {name: _sum(rows, of) for name, of in (("perception", PERCEPTION), ("cognition", COGNITION))}
    sums = {name: values for name, values in sums.items() if values}
    flat = {key: value for values in sums.values() for key, value in values.items()}
    return flat | accuracy(rows) | {"tasks": tasks, "unparsed": unparsed(rows)}


def _task(rows: Sequence[Judged]) -> dict[str, Any]:
    plus = _both(rows)
    every = np.ones((1, len(rows)))
    return {
        "score": float(_scores(every, rows)[0]),
        "score_interval": interval_of(rows, _scores),
        **accuracy(rows),
        "accuracy_plus": float(plus.mean()),
        "incomplete": sum(count != 2 for count in Counter(row.cluster for row in rows).values()),
    }


def _sum(rows: Sequence[Judged], tasks: Sequence[str]) -> dict[str, Any]:
    ours = [row for row in rows if row.group in tasks]
    if not ours:
        return {}
    name = "perception" if tasks is PERCEPTION else "cognition"
    value = float(_scores(np.ones((1, len(ours))), ours)[0])
    return {name: value, f"{name}_interval": interval_of(ours, _scores)}


def _both(rows: Sequence[Judged]) -> NDArray[np.float64]:
    """Whether both questions about the picture of each row were answered rightly, (row,)."""
    right = Counter(row.cluster for row in rows if row.score == 1)
    return np.array([float(right[row.cluster] == 2) for row in rows])


def _scores(weights: NDArray[np.float64], rows: Sequence[Judged]) -> NDArray[np.float64]:
    """The sum of the tasks' scores in every draw, (draw,)."""
    points = np.array([row.score for row in rows]) + _both(rows)
    total = np.zeros(len(weights))
    for task in dict.fromkeys(row.group for row in rows):
        ours = np.array([row.group == task for row in rows], np.float64)
        with np.errstate(invalid="ignore"):  # a draw may leave a task out
            total += 100 * (weights @ (ours * points)) / (weights @ ours)
    return total


BENCHMARK = Published(
    name="mme",
    version="MME_Benchmark_release_version; the authors' calculation.py",
    source="github.com/BradyFU/Awesome-Multimodal-Large-Language-Models, eval_tool/Your_Results/TASK.txt, all of them",
    references=read_labels,
    key=key,
    identity=key,
    judge=each(judge),
    figures=figures,
    choices=lambda _: ("Yes", "No", "yes", "no"),
    layouts={
        "mme": Layout(
            "llava_mme.jsonl",
            tuple(f"eval_tool/Your_Results/{task}.txt" for task in (*PERCEPTION, *COGNITION)),
            "MME_Benchmark_release_version",
            origin=f"questions come from {EVAL_ZIP}, pictures from MME's authors, who send them to whoever asks",
        )
    },
)
