"""COCO-QA by the rule of a study of what visual instruction tuning changes, and by rules that long answers do not win.

The rows hold their own labels, `{"predicted_answer", "ground_truth"}`. The study's rule is containment both ways, of
letters: an empty answer is right, "The batter is tapping" has "bat", and longer answers score more. Beside it stand
`exact`, in lower case without a full stop; `normalised`, VQA's normaliser; and `length_controlled`, the label in whole
words among the first five of the answer, however long that is.

A model is asked COCO-QA's own test questions (Ren et al. 2015, arXiv 1505.02074), whose files have a line for each:
`questions.txt`, `answers.txt`, `img_ids.txt` and `types.txt`. As in the study it answers with at most 10 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.read import read_text
from lapilli.core.terminal import printable
from lapilli.data.extra_fields import excerpt
from lapilli.data.questions import same_answer
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, identifier, read_objects, text_of, whole_number
from lapilli.evaluation.normalize import normalize_answer
from lapilli.evaluation.own import SHORT
from lapilli.evaluation.published.figures import by_group, figure, mean_score
from lapilli.evaluation.published.protocol import Judged, Layout, Published, each, lines_of

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


def judge(row: AnswerRow, _: object) -> Judged:
    """An answer by all four rules; its picture and type are those that its row has."""
    image, kind = (row.fields.get(name) for name in ("image", "type"))
    label = row.fields["ground_truth"]
    normalised = normalize_answer(row.text)
    beside = {
        "exact": same_answer(row.text, label),
        "normalised": bool(normalised) and normalised == normalize_answer(label),
        "length_controlled": in_first_words(row.text, label),
    }
    return Judged(
        row.id,
        kind if isinstance(kind, str) else "",
        image if isinstance(image, str) else row.id,
        row.text,
        parsed=normalised,
        expected=label,
        score=float(contained(row.text, label)),
        failed=not row.text.strip(),
        beside={name: float(right) for name, right in beside.items()},
    )  # fmt: skip


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """The share that is right by each rule, with n, and the empty answers, which containment counts as right.

    Where rows have types, the share by containment of each.
    """
    rules = {"containment": "", "exact": "exact", "normalised": "normalised", "length_controlled": "length_controlled"}
    shares = {name: figure(name, mean_score(rows, rule)) for name, rule in rules.items()}
    return {key: value for of in shares.values() for key, value in of.items()} | {
        "n": len(rows),
        "empty": sum(row.failed for row in rows),
        **({"by_type": by_group(rows)} if any(row.group for row in rows) else {}),
    }


TYPES = ("object", "number", "color", "location")
"""What the numbers of `types.txt` mean, from 0."""

_FILES = ("test/questions.txt", "test/answers.txt", "test/img_ids.txt", "test/types.txt")


def read_test(questions: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of COCO-QA's test set, whose files lie beside that of the questions, as the study asked them.

    Raises LapilliError for files of different lengths, and for a picture or a type that is no number.
    """
    columns = [_lines(questions.with_name(Path(name).name)) for name in _FILES]
    counts = [len(lines) for lines in columns]
    if len(set(counts)) > 1:
        each_has = ", ".join(f"{Path(name).name} {count:,}" for name, count in zip(_FILES, counts, strict=True))
        raise LapilliError(f"{questions.parent}: one line a question expected, but lines are {each_has}; {REMEDY}")
    for number, (text, label, image, kind) in enumerate(zip(*columns, strict=True)):
        place = f"{questions}:{number + 1}"
        if whole_number(image) is None or kind not in map(str, range(len(TYPES))):
            problem = f"picture {excerpt(image)} and type {excerpt(kind)}"
            raise LapilliError(f"{place}: {problem}, a number and one of 0 to {len(TYPES) - 1} expected; {REMEDY}")
        type_of = TYPES[int(kind)]
        yield (
            place,
            {
                "question_id": str(number),
                "image": f"COCO_val2014_{image:0>12}.jpg",
                "text": f"{text.removesuffix('?').strip()}?\n{SHORT}",
                "category": type_of,
                "type": type_of,
                "ground_truth": label,
            },
        )


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in read_text(file, REMEDY).rstrip("\r\n").split("\n")]


def written(rows: Sequence[AnswerRow]) -> str:
    """The answers with their labels, as `read_rows` takes them."""
    return lines_of(
        {"question_id": row.id, "prompt": row.prompt, "predicted_answer": row.text, **row.fields} for row in rows
    )


BENCHMARK = Published(
    name="cocoqa",
    version="containment both ways after lower case and digits as words",
    source="the rows themselves",
    answers=read_rows,
    judge=each(judge),
    figures=figures,
    score="containment",
    layouts={
        "cocoqa": Layout(
            _FILES[0],
            _FILES[1:],
            "val2014",
            read_test,
            origin=(
                "questions and labels come from COCO-QA's archive (cs.toronto.edu/~mren/research/imageqa/data/cocoqa), "
                "pictures from cocodataset.org, val2014.zip"
            ),
        )
    },
    answer_tokens=10,
    written=written,
)
