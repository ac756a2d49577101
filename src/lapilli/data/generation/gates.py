"""The checks of a question and its answer: what makes them unusable, and what is only worth a look.

The thresholds were set on 111 answers that GPT-4 wrote for LLaVA's data, of which they drop none.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lapilli.core.read import control_character
from lapilli.data.contexts import Context
from lapilli.data.generation.kinds import Kind, Pair
from lapilli.data.generation.objects import unsupported
from lapilli.data.generation.reply import latin_share


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a pair: its name, the words that it objects to, and whether the pair is dropped for it."""

    gate: str
    evidence: str
    drops: bool


@dataclass(frozen=True)
class Checked:
    """A pair to be checked: its kind, and the context of its picture, if that is known."""

    pair: Pair
    kind: Kind
    context: Context | None


_LEAK = re.compile(
    r"\bcaptions?\b|\bbounding box(es)?\b|\bcoordinates?\b"
    r"|\b(given|provided|supplied) (descriptions?|sentences?|text|information|context|list)\b"
    r"|\b(descriptions?|sentences?|information|context|list) (you )?(given|provided|supplied)\b"
    r"|\b(according to|based on|from|in) the (descriptions?|sentences?|object list|list of objects|annotations?)\b"
    r"|\bannotations?\b",
    re.I,
)
_REFUSAL = re.compile(
    r"\bi('m| am) (sorry|unable|not able)\b|\bi apologi[sz]e\b|\bas an? (ai|artificial|language model)\b"
    r"|\bi (cannot|can't|can not|could not|couldn't) (see|view|help|assist|access|provide|answer|determine|describe)\b"
    r"|\b(unable|not able) to (see|view|access) (the |this |any )?(image|picture|photo)",
    re.I,
)
_COORDINATES = re.compile(r"[\[(]\s*[01]?\.\d+\s*,|\b0\.\d{2,}\s*,\s*0?\.\d{2,}|\bx[12]\s*[=:]\s*\d")
_MARKER = re.compile(
    r"</?s>|<\|\w{1,40}|\|>|<image>|\[/?INST\]|<</?SYS>>|^\s*(#{3,}|={3,})|^\s*(user|human|assistant|gpt|question|answer)\s*:",
    re.I | re.M,
)
_WORD = re.compile(r"[a-z0-9]+")
_EMPTY_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "there",
        "here",
        "of",
        "in",
        "on",
        "at",
        "to",
        "by",
        "with",
        "and",
        "or",
        "for",
        "from",
        "as",
        "he",
        "she",
        "they",
        "his",
        "her",
        "their",
        "them",
        "him",
        "i",
        "you",
        "we",
        "do",
        "does",
        "did",
        "has",
        "have",
        "had",
        "what",
        "which",
        "who",
        "where",
        "when",
        "why",
        "how",
        "yes",
        "no",
        "not",
        "image",
        "picture",
        "photo",
        "scene",
    ]
)
_LENGTHS: dict[Kind, tuple[int, int]] = {"conversation": (1, 150), "detail": (30, 250), "reasoning": (40, 350)}
"""The usual number of words of an answer."""

_SHORT_SENTENCE = 3  # words
_CHOICE = 4  # words of an answer that picks one of those that the question offers
_LONGEST = 800  # words of an answer that no other sample comes near
_MOST_CHARACTERS = 8_000  # of a question or an answer: as many words, or few that are none
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_COUNTED = 6  # boxes up to which annotators mark every object


def _format(one: Checked) -> Iterator[Verdict]:
    for text in (one.pair.question, one.pair.answer):
        if not any(char.isalnum() for char in text):
            yield Verdict("format", "an empty question or answer", drops=True)
        elif match := _MARKER.search(text):
            yield Verdict("format", match[0].strip(), drops=True)
        elif control := control_character(text):
            yield Verdict("format", f"a control character, {control}", drops=True)
        elif len(text) > _MOST_CHARACTERS:
            yield Verdict("format", f"a text of {len(text)} characters", drops=True)
    if len(one.pair.answer.split()) > _LONGEST:
        yield Verdict("format", f"an answer of {len(one.pair.answer.split())} words", drops=True)


def _leak(one: Checked) -> Iterator[Verdict]:
    """Speaks of captions or boxes, which only the teacher knew of; where a caption says the word, it may be there."""
    known = " ".join(one.context.captions).lower() if one.context else ""
    for verdict in _matches("leak", _LEAK, one.pair.question, one.pair.answer):
        if verdict.evidence.lower() not in known:
            yield verdict


def _refusal(one: Checked) -> Iterator[Verdict]:
    yield from _matches("refusal", _REFUSAL, one.pair.answer)


def _coordinates(one: Checked) -> Iterator[Verdict]:
    yield from _matches("coordinates", _COORDINATES, one.pair.question, one.pair.answer)


def _unsupported(one: Checked) -> Iterator[Verdict]:
    """Names an object that neither boxes nor captions know. Reasoning may go beyond what is there."""
    if one.context is not None:
        for name, sentence in unsupported(one.pair.answer, one.context):
            yield Verdict("unsupported object", f"{name}: {sentence}", drops=one.kind != "reasoning")


def _answer_in_question(one: Checked) -> Iterator[Verdict]:
    """Asks what the question itself says: every word of the answer that says anything stands in it."""
    question, answer = (content_words(text) for text in (one.pair.question, one.pair.answer))
    is_choice = (" or " in one.pair.question.lower() and len(answer) <= _CHOICE) or _is_yes_no(one.pair)
    if len(answer) >= 2 and answer <= question and not is_choice:
        yield Verdict("answer in the question", one.pair.answer, drops=True)


def _length(one: Checked) -> Iterator[Verdict]:
    least, most = _LENGTHS[one.kind]
    words = len(one.pair.answer.split())
    if not least <= words <= most:
        yield Verdict("length", f"{words} words; {least} to {most} are usual", drops=False)


def _repetition(one: Checked) -> Iterator[Verdict]:
    if again := _repeated(one.pair.answer):
        yield Verdict("repetition", again, drops=False)


def _language(one: Checked) -> Iterator[Verdict]:
    if latin_share(one.pair.question + one.pair.answer) < 0.9:
        yield Verdict("language", one.pair.answer[:60], drops=False)


def _count(one: Checked) -> Iterator[Verdict]:
    """States a number of objects that is far from that of their boxes; of many, annotators mark some alone."""
    for category, boxes in (one.context.categories if one.context else {}).items():
        for number, _ in re.findall(
            rf"\b({'|'.join(_NUMBERS)}) ({re.escape(category)}(?:e?s)?)\b", one.pair.answer.lower()
        ):
            if boxes <= _COUNTED and abs(_NUMBERS[number] - boxes) > 1:
                yield Verdict("count", f"{number} {category}, {boxes} boxes", drops=False)


GATES: dict[str, Callable[[Checked], Iterator[Verdict]]] = {
    "format": _format,
    "leak": _leak,
    "refusal": _refusal,
    "coordinates": _coordinates,
    "unsupported object": _unsupported,
    "answer in the question": _answer_in_question,
    "length": _length,
    "repetition": _repetition,
    "language": _language,
    "count": _count,
}
"""Every check of a single pair, by the name that reports have for it; two questions are compared by `same_question`."""


def check(one: Checked) -> list[Verdict]:
    """What all gates say of a pair; nothing of a good one."""
    return [verdict for gate in GATES.values() for verdict in gate(one)]


def same_question(pair: Pair) -> str:
    """What two questions have in common that are the same but for capitals and signs."""
    return " ".join(_WORD.findall(pair.question.lower()))


def content_words(text: str) -> set[str]:
    """The words of a text that say anything, in lower case."""
    return set(_WORD.findall(text.lower())) - _EMPTY_WORDS


def _matches(gate: str, pattern: re.Pattern[str], *texts: str) -> Iterator[Verdict]:
    for text in texts:
        if match := pattern.search(text):
            yield Verdict(gate, match[0].strip(), drops=True)


def _repeated(text: str) -> str:
    """A run of four words that a text has three times or more, or a sentence that it has twice; "" without one."""
    words = text.lower().split()
    runs = Counter(" ".join(words[at : at + 4]) for at in range(len(words) - 3))
    sentences = Counter(
        part.strip(" \n.!?").lower() for part in re.split(r"[.!?]\s+", text) if len(part.split()) > _SHORT_SENTENCE
    )
    often = [run for run, count in runs.items() if count >= 3] + [one for one, count in sentences.items() if count > 1]
    return often[0] if often else ""


def _is_yes_no(pair: Pair) -> bool:
    return re.match(r"(yes|no)\b", pair.answer.strip(), re.I) is not None
