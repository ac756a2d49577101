"""Whether an answer depends on the picture at all."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from lapilli.inspection.readings import Readings

RULE = (
    "a word survives a picture in the place of its own if the likeliest word is still the same and the one that is "
    "explained at least half as probable as before; it survives other pictures if the likeliest word is the same in "
    "all of them, and this one at least half as probable at their median. It depends on the picture if it does not "
    "survive the picture blurred beyond recognition. Of one that does, the picture's overall colour is enough, which "
    "with roughly where it lies is all that a blur leaves; it has “no visual dependence” if it survives a mid-grey "
    "blank and other pictures too"
)

Verdict: TypeAlias = Literal["visual", "overall colour", "no visual dependence"]


@dataclass(frozen=True)
class Dependence:
    """One word with the picture as it is, blurred beyond recognition, a blank and others: log-probabilities, in nats.

    swapped        with each of the other pictures; none, where the blurred one decided and none were given
    said_blurred   the likeliest text in the word's place when the picture is blurred
    said_blank     and of the blank
    same           in how many of the other pictures the likeliest text is that of the picture itself
    """

    verdict: Verdict
    full: float
    blurred: float
    blank: float
    swapped: tuple[float, ...]
    said_blurred: str
    said_blank: str
    same: int


def dependence(gone: Readings, word: slice, said: tuple[str, str]) -> Dependence:
    """Of a sequence that was read with the picture blurred, with a blank, and with any number of others, in this order.

    `word` are the word's rows; `said` is what the likeliest tokens of the blurred one and of the blank spell. The word
    need not be the likeliest: of an answer that is given, it may be one that the model would not say. Raises ValueError
    for a word that survives the blurred picture where no others were read.
    """
    full = float(gone.clean_log_prob[word].sum())
    found = gone.log_prob[:, word].sum(1, dtype=float)
    same = (gone.likeliest[:, word] == gone.clean_likeliest[word]).all(1)
    verdict: Verdict = "visual"
    if survives(gone, word):
        if len(found) < 3:
            raise ValueError("no other pictures: whether the word needs its own is not known")
        others = np.median(found[2:]) > full - math.log(2) and same[2:].all()
        verdict = "no visual dependence" if others and _survives(gone, 1, word) else "overall colour"
    blurred, blank, *swapped = found.tolist()
    return Dependence(verdict, full, blurred, blank, tuple(swapped), *said, int(same[2:].sum()))


def survives(gone: Readings, word: slice) -> bool:
    """Whether a word survives the first picture of the readings, the blurred one: then only others can tell."""
    return _survives(gone, 0, word)


def _survives(gone: Readings, picture: int, word: slice) -> bool:
    lost = float((gone.clean_log_prob - gone.log_prob[picture])[word].sum())
    return lost < math.log(2) and bool((gone.likeliest[picture, word] == gone.clean_likeliest[word]).all())
