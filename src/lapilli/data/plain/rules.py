"""Rules that a program can check of a reply, such as that it has three items, or begins with a word.

A rule is a kind, a name of `RULES`, with a value: {"items": 3, "any_of": ["apple", "pear"]} are two. Capitals count
in `uppercase` alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lapilli.data.questions import same_answer

_MARKED = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+\S")  # a line of a list: a dash, or a number with a full stop
_BETWEEN = re.compile(r",\s*(?:and\s+)?|\s+and\s+")
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
_QUOTES = "\"'“”‘’*_ \n"
_ENDS = _QUOTES + ".,!?:;"


def follows(reply: str, rules: Mapping[str, Any]) -> bool:
    """Whether a reply follows all rules; one without a word follows none. Raises KeyError for an unknown kind."""
    return bool(reply.strip()) and all(RULES[kind](reply, value) for kind, value in rules.items())


def _end_of(reply: str, phrase: str, start: int = 0) -> int:
    """Where a phrase ends that stands in the reply in whole words; -1 where it does not."""
    match = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE).search(reply, start)
    return match.end() if match else -1


def _any_of(reply: str, phrases: Sequence[str]) -> bool:
    return any(_end_of(reply, phrase) >= 0 for phrase in phrases)


def _all_of(reply: str, phrases: Sequence[str]) -> bool:
    return all(_end_of(reply, phrase) >= 0 for phrase in phrases)


def _none_of(reply: str, phrases: Sequence[str]) -> bool:
    return not _any_of(reply, phrases)


def _in_order(reply: str, phrases: Sequence[str]) -> bool:
    """Each phrase behind the one before; other words may stand between them."""
    at = 0
    for phrase in phrases:
        at = _end_of(reply, phrase, at)
        if at < 0:
            return False
    return True


def _answer(reply: str, answers: Sequence[str]) -> bool:
    """Nothing but one of the answers."""
    return any(same_answer(reply, answer) for answer in answers)


def _items(reply: str, count: int) -> bool:
    """The lines with a number or a dash; if there are none all lines, but for a heading; of a single one its parts."""
    lines = [line for line in reply.splitlines() if line.strip()]
    items = [line for line in lines if _MARKED.match(line)] or [line for line in lines if not line.endswith(":")]
    if len(items) == 1 and not _MARKED.match(items[0]):
        items = [part for part in _BETWEEN.split(items[0].rpartition(":")[2]) if part.strip(_ENDS)]
    return len(items) == count


def _most_words(reply: str, count: int) -> bool:
    return len(reply.split()) <= count


def _fewest_words(reply: str, count: int) -> bool:
    return len(reply.split()) >= count


def _first_word(reply: str, word: str) -> bool:
    return reply.split()[0].strip(_ENDS).lower() == word.lower()


def _last_word(reply: str, word: str) -> bool:
    return reply.split()[-1].strip(_ENDS).lower() == word.lower()


def _ends_with(reply: str, sign: str) -> bool:
    return reply.rstrip(_QUOTES).endswith(sign)


def _uppercase(reply: str, whether: bool) -> bool:
    return reply.isupper() is whether


def _letters(reply: str, whether: bool) -> bool:
    return any(character.isalpha() for character in reply) is whether


def _number(reply: str, ends: Sequence[float]) -> bool:
    """The last number, which in a sum is the result, from the first of `ends` to the second."""
    low, high = ends
    numbers = _NUMBER.findall(reply)
    return bool(numbers) and low <= float(numbers[-1].replace(",", "")) <= high


RULES: dict[str, Callable[[str, Any], bool]] = {
    "any_of": _any_of,
    "all_of": _all_of,
    "none_of": _none_of,
    "in_order": _in_order,
    "answer": _answer,
    "items": _items,
    "most_words": _most_words,
    "fewest_words": _fewest_words,
    "first_word": _first_word,
    "last_word": _last_word,
    "ends_with": _ends_with,
    "uppercase": _uppercase,
    "letters": _letters,
    "number": _number,
}
"""Every kind of rule."""
