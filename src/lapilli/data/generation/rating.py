"""What is good and bad about a sample: the checks of the engine, and those that need no context of its picture.

A score is 1 less what each bad point weighs, and never below 0. It is for finding samples to look at: a cut by score
made published data worse as often as better, so nothing is dropped for it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.contexts import Context
from lapilli.data.faults import faults
from lapilli.data.generation.gates import Checked, check, content_words, same_question
from lapilli.data.generation.kinds import Kind, Pair
from lapilli.data.generation.objects import mentions
from lapilli.data.rows import read_rows
from lapilli.data.sample import Sample, sample_of

_DROPPED, _FLAGGED = 0.6, 0.2
_DETAIL = re.compile(
    r"\b(describe|description|detail|account|explain|elaborate|characteri[sz]e|analy[sz]e|narrate)\b", re.I
)
_LONG = 30  # words, from which an answer is more than a sentence
_SHORT_SENTENCE = 3  # words
_ENDS = ".!?\"')”"
_INNER_END = re.compile(r"[.!?]\s+[A-Z]")
_EMPTY_TALK = re.compile(
    r"\b(it depends|hard to say|many things|various (things|objects|items)|and so on|some(thing| kind of thing)"
    r"|(nice|interesting|beautiful) (picture|image|photo)|as (you|we) can see|needless to say)\b",
    re.I,
)
_REASON = re.compile(r"\b(because|since|so that|therefore|thus|as a result|suggests?|due to|indicates?)\b", re.I)
_TYPES = {
    "number": r"how many|number of",
    "color": r"\bcolou?rs?\b",
    "place": r"\bwhere\b|position|location|(left|right|front|behind|next to)",
    "action": r"\bdoing\b|happening|going on|activity",
    "reason": r"\bwhy\b|reason|purpose|\bmight\b|\bcould\b|should",
    "presence": r"^(is|are) there\b|^do you see\b",
    "kind": r"what (kind|type|sort)|^what (is|are)\b",
}


@dataclass(frozen=True)
class Point:
    """One thing that is good (`weight` 0) or bad about a sample: its name, its evidence, what it takes off."""

    name: str
    evidence: str
    weight: float


@dataclass(frozen=True)
class Rating:
    """What is said of a sample: its row from 0 and id, the score from 0 to 1, and the points.

    `has_context` says whether anything was known of its picture.
    """

    row: int
    id: str
    score: float
    good: tuple[Point, ...]
    bad: tuple[Point, ...]
    has_context: bool = False


def rate_file(file: Path, contexts: Mapping[str, Context]) -> list[Rating]:
    """The rating of every row of a file of samples, in its order; `contexts` are those of its pictures, if known.

    A row that is no sample has the score 0. Raises LapilliError for a file that cannot be read, or has no rows.
    """
    ratings = []
    for row in read_rows(file):
        if row.number is None:
            raise LapilliError(f"{file}: {row.value}")
        fault = next(faults(row.value), None)
        if fault is not None or not isinstance(row.value, dict):
            name = str(row.value.get("id", "")) if isinstance(row.value, dict) else ""
            ratings.append(Rating(row.number, name, 0.0, (), (Point("no sample", str(fault), 1.0),)))
        else:
            sample = sample_of(row.value)
            image = sample.images[0] if sample.images else ""
            ratings.append(rate(row.number, sample, contexts.get(image)))
    if not ratings:
        raise LapilliError(f"{file}: no rows; give a file of samples")
    return ratings


def rate(row: int, sample: Sample, context: Context | None) -> Rating:
    """The rating of one sample."""
    pairs = pairs_of(sample)
    kind = kind_of_pairs(pairs)
    bad = [*_bad_pairs(pairs, kind, context), *_bad_whole(pairs, context)]
    score = max(0.0, 1.0 - sum(point.weight for point in bad))
    good = tuple(_good(pairs, kind, context))
    return Rating(row, sample.id, round(score, 3), good, tuple(bad), has_context=context is not None)


def pairs_of(sample: Sample) -> list[Pair]:
    """The questions, without the mark of the picture, and the answers of a sample."""
    texts = [turn.text.replace(IMAGE_MARK, "").strip() for turn in sample.turns]
    return [Pair(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=False)]


def kind_of_pairs(pairs: Sequence[Pair]) -> Kind:
    """The kind that a sample has by its form: one long answer to a request for a description, or to a question."""
    if len(pairs) != 1 or len(pairs[0].answer.split()) < _LONG:
        return "conversation"
    return "detail" if _DETAIL.search(pairs[0].question) and "why" not in pairs[0].question.lower() else "reasoning"


def _bad_pairs(pairs: Sequence[Pair], kind: Kind, context: Context | None) -> Iterator[Point]:
    for pair in pairs:
        for verdict in check(Checked(pair, kind, context)):
            is_grave = verdict.drops or verdict.gate == "repetition"
            yield Point(verdict.gate, verdict.evidence, _DROPPED if is_grave else _FLAGGED)
        if match := _EMPTY_TALK.search(pair.answer):
            yield Point("says nothing", match[0], 0.3)
        words = pair.answer.split()
        if len(words) > 2 * _SHORT_SENTENCE and _is_prose(pair.answer) and not _is_ended(pair.answer):
            yield Point("unfinished", " ".join(words[-4:]), 0.4)


def _bad_whole(pairs: Sequence[Pair], context: Context | None) -> Iterator[Point]:
    for question, count in Counter(map(same_question, pairs)).items():
        if count > 1:
            yield Point("duplicate", question, 0.4)
    answers = Counter(pair.answer.strip().lower() for pair in pairs)
    if pairs and max(answers.values()) > max(1, len(pairs) // 2):
        yield Point("one answer to most questions", next(iter(answers)), 0.4)
    if context is not None and not _shared(pairs, context):
        yield Point("not about the picture", pairs[0].question, 0.6)


def _shared(pairs: Sequence[Pair], context: Context) -> bool:
    """Whether anything that the pairs say is in the captions or the boxes; a bare yes or number may be about it too."""
    text = "\n".join(f"{pair.question} {pair.answer}" for pair in pairs)
    known = content_words(" ".join((*context.captions, *context.categories)))
    return bool(content_words(text) & known) or any(mentions(text, name) for name in context.categories)


def _is_prose(text: str) -> bool:
    """Whether a text has sentences, and is no caption without a full stop, such as "a dog on a bench"."""
    return text.strip()[0].isupper() or _INNER_END.search(text) is not None


def _is_ended(text: str) -> bool:
    return text.rstrip()[-1] in _ENDS


def _good(pairs: Sequence[Pair], kind: Kind, context: Context | None) -> Iterator[Point]:
    text = "\n".join(f"{pair.question} {pair.answer}" for pair in pairs)
    if context is not None and (present := [name for name in context.categories if mentions(text, name)]):
        yield Point("grounded", f"names {len(present)} of {len(context.categories)} kinds of objects", 0.0)
    types = [name for name, pattern in _TYPES.items() if any(re.search(pattern, p.question, re.I) for p in pairs)]
    if len(types) > 1:
        yield Point("varied", ", ".join(types), 0.0)
    if kind == "reasoning" and (match := _REASON.search(pairs[0].answer)):
        yield Point("gives reasons", match[0], 0.0)
    if pairs and all(len(p.answer.split()) >= _SHORT_SENTENCE and _is_ended(p.answer) for p in pairs):
        yield Point("full sentences", f"{len(pairs)} answers", 0.0)
    if kind == "conversation" and any(len(a.answer.split()) < len(b.answer.split()) for a, b in pairwise(pairs)):
        yield Point("from simple to complex", "later answers are longer", 0.0)
