"""A teacher's reply, read strictly: blocks of Question and Answer between lines of ===, or a plain description."""

import re
from unicodedata import name as character_name

from lapilli.core.llm.call import Reply
from lapilli.data.generation.kinds import Kind, Pair

_SEPARATOR = re.compile(r"^[ \t]*={3,}[ \t]*$", re.M)
_LIST = re.compile(r"^\s*([-*•]\s|#{1,6}\s|\d{1,2}[.)]\s|\*\*[^*\n]+\*\*:?$)", re.M)
_PREAMBLE = re.compile(r"(sure|certainly|of course|absolutely|here('s| is| are)|okay|description:)\b", re.I)
_LATIN = 0.9  # share of a text's letters
_SHORTEST = 20  # letters of a text whose script can be said


class MalformedError(ValueError):
    """A reply that cannot be used, and why, in words that the model can be told."""


def read_pairs(kind: Kind, reply: Reply, request: str) -> list[Pair]:
    """The questions and answers in a reply; a description answers `request`.

    Raises MalformedError for a reply that did not end by itself, has another form, or is not in English letters.
    """
    if reply.finish_reason not in ("stop", ""):
        raise MalformedError(f"it ended early ({reply.finish_reason})")
    text = reply.text.replace("\r\n", "\n").strip()
    if not text:
        raise MalformedError("it is empty")
    if latin_share(text) < _LATIN:
        raise MalformedError("it is not in English")
    pairs = [Pair(request, _description(text))] if kind == "detail" else _blocks(text)
    if kind == "reasoning" and len(pairs) != 1:
        raise MalformedError(f"it has {len(pairs)} questions, one was asked for")
    return pairs


def latin_share(text: str) -> float:
    """The share of Latin letters among the letters of a text; 1 for one that is too short to say."""
    letters = [char for char in text if char.isalpha()]
    if len(letters) < _SHORTEST:
        return 1.0
    return sum(char.isascii() or character_name(char, "").startswith("LATIN") for char in letters) / len(letters)


def _description(text: str) -> str:
    if _SEPARATOR.search(text) or re.search(r"^(Question|Answer):", text, re.M):
        raise MalformedError("it has questions and answers, a description alone was asked for")
    if _LIST.search(text):
        raise MalformedError("it has a heading or a list, plain paragraphs were asked for")
    if match := _PREAMBLE.match(text):
        raise MalformedError(f"it begins with {match[0]!r}, the description alone was asked for")
    return text


def _blocks(text: str) -> list[Pair]:
    parts = [part.strip() for part in _SEPARATOR.split(text)]
    parts = parts[:-1] if parts and not parts[-1] else parts  # a separator behind the last answer
    if len(parts) % 2:
        raise MalformedError("a question or an answer is missing, or a line of === between them")
    return [
        Pair(_below("Question", one), _below("Answer", other))
        for one, other in zip(parts[::2], parts[1::2], strict=True)
    ]


def _below(heading: str, part: str) -> str:
    """The text below a heading."""
    match = re.fullmatch(rf"{heading}:\s*(.+)", part, re.DOTALL)
    if match is None:
        raise MalformedError(f"a part does not begin with {heading}:, or nothing follows it")
    if re.search(r"^(Question|Answer):", match[1], re.M):
        raise MalformedError("a line of === is missing between a question and an answer")
    return match[1].strip()
