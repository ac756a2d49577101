"""POPE: is there an object in the picture? Li et al. 2023, arXiv 2305.10355; RePOPE's labels, arXiv 2504.15707, too.

A question is one of a split, adversarial, popular or random, and each split has a file of labels. These have been
renumbered since LLaVA's file of questions was made, so a label is found by the picture and the question's words.

The authors' rule takes what stands before the first full stop, without commas, for a no where it has the word "No",
"no" or "not", and everything else for a yes, an empty answer too. Beside it stands `read_yes_no`, which knows a third
answer: neither (`data/yes_no.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered_f1
from lapilli.data.yes_no import read_yes_no
from lapilli.evaluation.answer_file import AnswerRow, read_objects, text_of
from lapilli.evaluation.own import SHORT
from lapilli.evaluation.published.figures import figure, grouped, share
from lapilli.evaluation.published.protocol import EVAL_ZIP, Judged, Key, Layout, Published, each
from lapilli.evaluation.published.resampling import interval_of

_NO = {"No", "not", "no"}

Reference = tuple[str, str, str]
"""The split, the picture and the label."""


def published_yes_no(text: str) -> str:
    """yes or no, as the authors' program has it."""
    words = text.partition(".")[0].replace(",", "").split(" ")
    return "no" if _NO & set(words) else "yes"


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The labels of splits, each a file whose name ends in `_SPLIT`; the key is split, picture and question.

    Raises LapilliError for a label that is neither yes nor no, for two labels of one question and two files of a split.
    """
    splits = [file.stem.rpartition("_")[2].lower() for file in files]
    if twice := next((split for split in splits if splits.count(split) > 1), None):
        raise LapilliError(f"two files of the split {twice!r}; name each ..._SPLIT.json")
    labels: dict[Key, Reference] = {}
    for split, file in zip(splits, files, strict=True):
        for place, row in read_objects(file):
            image, label = text_of(row, ("image",), place), text_of(row, ("label", "answer"), place).strip().lower()
            if label not in ("yes", "no"):
                raise LapilliError(f"{place}: label {label!r}, yes or no expected; check the file")
            name = (split, *_question(image, text_of(row, ("text", "question"), place)))
            if labels.setdefault(name, (split, image, label))[2] != label:
                raise LapilliError(f"{place}: another row has the other label for this question; remove one")
    return labels


def key(row: AnswerRow, question: Mapping[str, Any]) -> Key:
    """The question's split, picture and words. Raises LapilliError for a question that has none of these."""
    place = f"question {row.id!r}"
    image, text = text_of(question, ("image",), place), text_of(question, ("text", "question"), place)
    return (text_of(question, ("category", "split"), place).strip().lower(), *_question(image, text))


def _question(image: str, text: str) -> tuple[str, str]:
    return PurePath(image).name, " ".join(text.replace(SHORT, " ").split())


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """An answer by the authors' rule; one that says neither yes nor no has failed."""
    split, image, label = reference
    said_plainly, parsed = read_yes_no(row.text), published_yes_no(row.text)
    return Judged(
        row.id, split, image, row.text,
        parsed=parsed,
        expected=label,
        score=float(parsed == label),
        failed=said_plainly == "other",
        beside={"strict": float(said_plainly == label)},
    )  # fmt: skip


def split_figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy, precision, recall, F1, share of yes and the table of a split; a figure of nothing is null."""
    yes, there = [row.parsed == "yes" for row in rows], [row.expected == "yes" for row in rows]
    images = [row.cluster for row in rows]
    right = [row.score == 1 for row in rows]
    pairs = list(zip(yes, there, strict=True))
    counts = {"tp": (True, True), "fp": (True, False), "tn": (False, False), "fn": (False, True)}
    return {
        "n": len(rows),
        **figure("accuracy", share(right, images)),
        **figure("precision", _share_where(yes, right, images)),
        **figure("recall", _share_where(there, right, images)),
        **figure("f1", clustered_f1(yes, there, images)),
        **figure("yes_share", share(yes, images)),
        **{name: pairs.count(pair) for name, pair in counts.items()},
        **figure("strict_accuracy", share([row.beside["strict"] == 1 for row in rows], images)),
        "neither": sum(row.failed for row in rows),
    }


def _share_where(where: Sequence[bool], right: Sequence[bool], images: Sequence[Any]) -> Any:
    chosen = [index for index, holds in enumerate(where) if holds]
    return share([right[index] for index in chosen], [images[index] for index in chosen])


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The figures of each split, and the mean of their F1."""
    splits = {split: split_figures(of) for split, of in grouped(rows, lambda row: row.group).items()}
    mean = fmean(of["f1"] for of in splits.values())
    return {"splits": splits, "f1": mean, "f1_interval": interval_of(rows, _mean_f1)}


def _mean_f1(weights: NDArray[np.float64], rows: Sequence[Judged]) -> NDArray[np.float64]:
    """The mean F1 of the splits in every draw, (draw,); the splits ask about the same pictures, which are drawn."""
    by_split = []
    for split in dict.fromkeys(row.group for row in rows):
        ours = np.array([row.group == split for row in rows])
        yes = np.array([row.parsed == "yes" for row in rows]) & ours
        there = np.array([row.expected == "yes" for row in rows]) & ours
        both, either = weights @ (yes & there), weights @ yes.astype(float) + weights @ there.astype(float)
        with np.errstate(invalid="ignore"):
            by_split.append(2 * both / either)
    return np.asarray(np.mean(by_split, axis=0))


BENCHMARK = Published(
    name="pope",
    version="labels of AoiDragon/POPE or RePOPE; LLaVA's eval_pope.py",
    source=(
        "github.com/AoiDragon/POPE, output/coco/coco_pope_{adversarial,popular,random}.json, or YanNeu/RePOPE: "
        "one {question_id, image, text, label} a line"
    ),
    references=read_labels,
    key=key,
    judge=each(judge),
    figures=figures,
    needs_questions=True,
    choices=lambda _: ("Yes", "No", "yes", "no"),
    layouts={
        "coco-pope": Layout(
            "llava_pope_test.jsonl",
            ("coco/coco_pope_adversarial.json", "coco/coco_pope_popular.json", "coco/coco_pope_random.json"),
            "val2014",
            origin=f"questions come from {EVAL_ZIP}, pictures from cocodataset.org, val2014.zip",
            also={"RePOPE": tuple(f"coco/coco_repope_{split}.json" for split in ("adversarial", "popular", "random"))},
        )
    },
)
