"""Whether a free answer means yes or no: one home for the benchmarks and for the study of made-up objects.

An answer is `yes`, `no` or `other`, which is neither. There are two rules:

`leading_word`  The answer begins with the word. Who looks at the token that decides needs it there.
`read_yes_no`     The answer begins with the word, or its first sentence holds one. Who scores answers needs no more.

The second follows POPE (Li et al. 2023, arXiv 2305.10355), whose program reads the first sentence, takes "no" or "not"
in it for a no, and everything else for a yes, also an empty answer. It differs where that program is wrong or blind:

* "Yes, there is no doubt" is a yes: the word at the beginning decides.
* "It isn't there" and "It cannot be seen" are a no: n't and cannot count as not.
* An answer without any of these words is a yes only if it says yes. Otherwise it is `other`.

Where no answer is `other`, scores are those of POPE's program but for the first two points.
"""

import re
from typing import Literal, TypeAlias

YesNo: TypeAlias = Literal["yes", "no", "other"]

_NEGATIONS = {"no", "not", "cannot"}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?](?=[\s*_\"')]|$)|\n")


def leading_word(text: str) -> YesNo:
    """yes or no, where an answer begins with it, in any case and before `.`, `,` or `!`; else other."""
    first = text.strip().lower().split(maxsplit=1)[:1]
    return _literal(first[0].rstrip(".,!") if first else "")


def read_yes_no(text: str) -> YesNo:
    """What an answer says by its first word, or else by its first sentence: a negation is no, a yes is yes.

    Case, punctuation and marks around words (`**Yes**`) do not count; nor do letters of a longer word (`nothing`).
    """
    words = _WORD.findall(_first_sentence(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()))
    if words and (first := _literal(words[0])) != "other":
        return first
    if any(word in _NEGATIONS or word.endswith("n't") for word in words):
        return "no"
    return "yes" if "yes" in words else "other"


def _first_sentence(text: str) -> str:
    """The first sentence that holds a word."""
    return next((part for part in _SENTENCE_END.split(text) if _WORD.search(part)), "")


def _literal(word: str) -> YesNo:
    return "yes" if word == "yes" else "no" if word == "no" else "other"
