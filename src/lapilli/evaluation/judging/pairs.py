"""What is to be judged: an answer beside a reference, with its question, joined by name and never by position."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.read import checked
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, listed, read_answers, read_objects, text_of
from lapilli.evaluation.published.join import read_questions

_ALLOW = "give the files that belong together, or --allow-unmatched"
_PREFIX = "llava_bench_"


@dataclass(frozen=True)
class Pair:
    """Two answers to a question; `context` is what is known of its picture, "" where nothing is."""

    id: str
    category: str
    image: str
    question: str
    context: str
    reference: str
    answer: str


@dataclass(frozen=True)
class Paired:
    """The pairs, in the order of the questions, and the names of what was left out, where that is allowed."""

    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """Where questions, answers, references and contexts are."""

    questions: Path
    answers: Path
    references: Path
    contexts: Path | None = None


class _Instance(TypedDict):
    category: str
    bbox: list[float]


class _Context(TypedDict, total=False):
    captions: list[str]
    instances: list[_Instance]


def read_pairs(files: Files, allow: bool = False) -> Paired:
    """The pairs of the files.

    Raises LapilliError for what cannot be read, two answers to one question, and rows that do not match; with `allow`
    these are left out, and it is an error where nothing is left.
    """
    questions = read_questions(files.questions)
    sides = [(file, _by_name(file)) for file in (files.references, files.answers)]
    left_out: dict[str, None] = {}
    for file, rows in sides:
        left_out |= dict.fromkeys(_unmatched(file, rows, questions, allow))
    contexts = read_contexts(files.contexts) if files.contexts else {}
    common = [name for name in questions if all(name in rows for _, rows in sides)]
    if not common:
        raise LapilliError(f"{files.questions}: no question has both an answer and a reference; {_ALLOW}")
    texts = [{name: rows[name].text for name in common} for _, rows in sides]
    pairs = [_pair(name, questions[name], (texts[0][name], texts[1][name]), files.questions) for name in common]
    return Paired(tuple(_with_context(pair, contexts, files.contexts) for pair in pairs), tuple(left_out))


def read_contexts(file: Path) -> dict[str, str]:
    """What a judge reads of each picture: its captions, a line each, then its objects with boxes where there are any.

    A row has `image` and `caption`, as LLaVA-Bench's, or `captions` and `instances`. Raises LapilliError for others,
    and for two rows about one picture.
    """
    contexts: dict[str, str] = {}
    for place, row in read_objects(file):
        image = text_of(row, ("image",), place)
        if image in contexts:
            raise LapilliError(f"{place}: a second context of {image!r}; remove one of them")
        contexts[image] = _described(row, place)
    return contexts


def _by_name(file: Path) -> dict[str, AnswerRow]:
    rows: dict[str, AnswerRow] = {}
    for row in read_answers(file):
        other = rows.setdefault(row.id, row)
        if other is not row:
            raise LapilliError(f"{row.place}: a second answer to {row.id!r}, after {other.place}; remove one of them")
    return rows


def _unmatched(file: Path, rows: Collection[str], questions: Collection[str], allow: bool) -> list[str]:
    """The names that are not both in a file and among the questions."""
    strange = [name for name in rows if name not in questions]
    missing = [name for name in questions if name not in rows]
    if (strange or missing) and not allow:
        counts = f"{len(strange):,} rows answer none of the questions, {len(missing):,} questions have no row"
        raise LapilliError(f"{file}: {counts}: {listed(strange + missing)}; {_ALLOW}")
    return strange + missing


def _pair(name: str, row: Mapping[str, Any], texts: tuple[str, str], file: Path) -> Pair:
    place = f"{file}, question {name}"
    category, image = (text_of(row, (key,), place) if row.get(key) is not None else "" for key in ("category", "image"))
    question = text_of(row, ("text", "question"), place)
    return Pair(name, category.removeprefix(_PREFIX), image, question, "", reference=texts[0], answer=texts[1])


def _with_context(pair: Pair, contexts: Mapping[str, str], file: Path | None) -> Pair:
    if file is None:
        return pair
    if pair.image not in contexts:
        raise LapilliError(f"{file}: no context of {pair.image!r}, the picture of question {pair.id}; add it")
    return replace(pair, context=contexts[pair.image])


def _described(row: Mapping[str, Any], place: str) -> str:
    caption = row.get("caption", row.get("captions", []))
    captions = [caption] if isinstance(caption, str) else caption
    known = checked(_Context, {"captions": captions, "instances": row.get("instances", [])}, place, REMEDY)
    lines = "\n".join(line for line in known["captions"] if line.strip())
    boxes = "\n".join(f"{one['category']}: {_box(one['bbox'])}" for one in known["instances"])
    return "\n\n".join(part for part in (lines, boxes) if part)


def _box(bbox: list[float]) -> str:
    return "[" + ", ".join(f"{end:.3f}" for end in bbox) + "]"
