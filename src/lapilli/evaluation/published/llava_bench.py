"""LLaVA-Bench (COCO, In-the-Wild): a judge's reviews of a candidate's answers beside a reference's. arXiv 2304.08485.

A review holds two scores from 1 to 10, the reference's first, as its `tuple` or `score`, or in its text. The published
figures are a ratio of means, and rows that were not read, at -1 and -1, are in the means. Beside them stand the figures
without those rows, and those of the scores that `scores_anywhere` reads in the texts: judges of mathematics write them
at the end, and the published rule reads the first line alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any, TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.read import checked
from lapilli.core.statistics.clusters import clustered_mean
from lapilli.core.terminal import printable
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, identifier, read_objects, text_of
from lapilli.evaluation.judge import UNPARSED, Scores, published_scores, relative_score, scores_anywhere
from lapilli.evaluation.published.figures import figure
from lapilli.evaluation.published.protocol import ALL, Judged, Layout, Published, each

_STORED = ("tuple", "score")
_TEXT = ("content", "text")
_PREFIX = "llava_bench_"


class Pair(TypedDict):
    """The two scores of a review."""

    pair: tuple[float, float]


def read_reviews(file: Path) -> list[AnswerRow]:
    """The reviews of a file; one without a name is called by its place. Raises LapilliError for what is none."""
    rows = []
    for place, row in read_objects(file):
        if not any(name in row for name in (*_STORED, *_TEXT)):
            raise LapilliError(f"{place}: no tuple, score, content or text: no review; {REMEDY}")
        names = [name for name in ("question_id", "id") if name in row]
        name = identifier(row, names, place) if names else printable(place)
        text = text_of(row, _TEXT, place) if any(key in row for key in _TEXT) else ""
        rows.append(AnswerRow(place, name, "", text, row | {"pair": stored_scores(row, place)}))
    return rows


def stored_scores(row: Mapping[str, Any], place: str) -> Scores | None:
    """The two scores that a row states; None where it has none. Raises LapilliError for anything but two numbers."""
    name = next((name for name in _STORED if row.get(name) is not None), None)
    return checked(Pair, {"pair": row[name]}, place, REMEDY)["pair"] if name else None


def judge(row: AnswerRow, _: None) -> Judged:
    """A review; its score is the candidate's, and what else is read of it stands beside."""
    stored, first_line, anywhere = row.fields["pair"], published_scores(row.text), scores_anywhere(row.text)
    reference, candidate = first_line if stored is None else stored
    category = row.fields.get("category")
    numbers = {"reference": reference, "candidate": candidate}
    if anywhere:
        numbers |= {"reread reference": anywhere[0], "reread candidate": anywhere[1]}
    return Judged(
        row.id, category.removeprefix(_PREFIX) if isinstance(category, str) else "",
        row.fields.get("image", row.id) if isinstance(row.fields.get("image", ""), str) else row.id,
        row.text,
        parsed=f"{reference:g} {candidate:g}",
        expected="",
        score=candidate,
        failed=(reference, candidate) == UNPARSED,
        beside={"reread": anywhere[1]} if anywhere else {},
        numbers=numbers,
        labels={"first line": "" if first_line == UNPARSED else "read", "text": "" if row.text == "" else "there"},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The published figures of all reviews and of each category, and beside them the others."""
    return (
        of_categories(rows, published_figures)
        | {"unparsed": sum(row.failed for row in rows)}
        | {"without_unparsed": of_categories([row for row in rows if not row.failed], published_figures)}
        | ({"reparsed": reparsed(rows)} if any(row.labels["text"] for row in rows) else {})
    )


def of_categories(rows: Sequence[Judged], of: Callable[[Sequence[Judged]], dict[str, Any]]) -> dict[str, Any]:
    """The figures of all rows and of each category, as far as rows have one."""
    names = [ALL, *dict.fromkeys(row.group for row in rows if row.group)]
    return {name: of([row for row in rows if name in (ALL, row.group)]) for name in names}


def published_figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The printed figures: 100 times the ratio of means, and ten times each mean, all to one digit, with intervals."""
    pairs = [(row.numbers["reference"], row.numbers["candidate"]) for row in rows]
    return _figures(pairs, [row.cluster for row in rows])


def _figures(pairs: Sequence[Scores], clusters: Sequence[Hashable]) -> dict[str, Any]:
    ratio = relative_score(pairs, clusters)
    means = [clustered_mean([pair[side] for pair in pairs], clusters) for side in (0, 1)]
    every = figure("relative", ratio) | figure("reference", means[0], 10) | figure("candidate", means[1], 10)
    return every | printed_figures(means[0].value, means[1].value) | {"n": len(pairs)}


def printed_figures(reference: float, candidate: float) -> dict[str, float]:
    """What the authors' program prints of two means, which it rounds to three digits before it divides them."""
    first, second = round(reference, 3), round(candidate, 3)
    relative = round(second / first * 100, 1) if first else nan
    return {"relative": relative, "reference": round(first * 10, 1), "candidate": round(second * 10, 1)}


def reparsed(rows: Sequence[Judged]) -> dict[str, Any]:
    """What the texts say: figures of all scores that they hold, and the rows on which that and the published differ.

    missed         reviews whose scores the published rule does not find in the text
    contradicting  reviews whose stored scores are not those of their text
    unreadable     reviews in whose text there are none
    """
    texts = [row for row in rows if row.labels["text"]]
    read = [row for row in texts if "reread reference" in row.numbers]
    pairs = [(row.numbers["reread reference"], row.numbers["reread candidate"]) for row in read]
    published = [(row.numbers["reference"], row.numbers["candidate"]) for row in read]
    differ = [
        row.id for row, pair, stored in zip(read, pairs, published, strict=True) if stored not in (pair, UNPARSED)
    ]
    return {
        ALL: _figures(pairs, [row.cluster for row in read]),
        "missed": [row.id for row in texts if not row.labels["first line"]],
        "contradicting": differ,
        "unreadable": [row.id for row in texts if "reread reference" not in row.numbers],
        "naive": _naive(texts),
    }


def _naive(rows: Sequence[Judged]) -> dict[str, Any]:
    """The published rule on the texts themselves: what it does not find is in the means as -1."""
    return _figures([published_scores(row.text) for row in rows], [row.cluster for row in rows])


_QUESTIONS = {"coco": "qa90_questions.jsonl", "wild": "questions.jsonl"}


def read_coco(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """LLaVA's questions about pictures of COCO, which are called as its val2014 calls them."""
    for place, row in read_objects(file):
        yield place, row | {"image": f"COCO_val2014_{text_of(row, ('image',), place)}"}


def _grading(name: str, references: str, contexts: str) -> tuple[str, ...]:
    """How the answers to a set of questions are judged and scored."""
    files = f"{{data}}/{_QUESTIONS[name]} --answers {{out}}/llava-bench-{name}.jsonl"
    beside = f"--references {{data}}/{references} --contexts {{data}}/{contexts}"
    return (
        f"lapilli judge {files} {beside} --published --model JUDGE --base-url URL --out judged",
        "lapilli score llava-bench --reviews judged/reviews.jsonl",
    )


BENCHMARK = Published(
    name="llava-bench",
    version="COCO and In-the-Wild; LLaVA's summarize_gpt_review.py",
    source="the reviews themselves",
    compared=lambda rows: [row for row in rows if not row.failed],
    score="the candidate's score, of reviews that were read",
    answers=read_reviews,
    judge=each(judge),
    figures=figures,
    layouts={
        "llava-bench-coco": Layout(
            _QUESTIONS["coco"],
            (),
            "val2014",
            read_coco,
            origin=(
                "questions come from haotian-liu/LLaVA, playground/data/coco2014_val_qa_eval, with the judge's "
                "qa90_gpt4_answer.jsonl, pictures from cocodataset.org, val2014.zip"
            ),
            grading=_grading("coco", "qa90_gpt4_answer.jsonl", "caps_boxes_coco2014_val_80.jsonl"),
        ),
        "llava-bench-wild": Layout(
            _QUESTIONS["wild"],
            (),
            "images",
            origin="questions and pictures come from huggingface.co/datasets/liuhaotian/llava-bench-in-the-wild",
            grading=_grading("wild", "answers_gpt4.jsonl", "context.jsonl"),
        ),
    },
    answer_tokens=1024,
    right_or_wrong=False,
)
