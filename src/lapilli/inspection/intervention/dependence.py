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
    "survive the picture blurred beyond recognition. Of one that does, the picture's overall color is enough, which "
    "with roughly where it lies is all that a blur leaves; it has “no visual dependence” if it survives a mid-grey "
    "blank and other pictures too"
)

Verdict: TypeAlias = Literal["visual", "overall color", "no visual dependence"]


@dataclass(frozen=True)
class Dependence:
    """One word's log-probabilities, in nats, with its picture, the picture blurred, a blank and other pictures.

    swapped        with each of the other pictures; empty where the blurred one decided and no others were read
    text_blurred   the likeliest text in the word's place when the picture is blurred
    text_blank     the likeliest text with the blank
    same           the number of other pictures whose likeliest text is that of the picture itself
    """

    verdict: Verdict
    full: float
    blurred: float
    blank: float
    swapped: tuple[float, ...]
    text_blurred: str
    text_blank: str
    same: int


def dependence(replaced: Readings, word: slice, texts: tuple[str, str]) -> Dependence:
    """The dependence of a word on its picture, from readings of the same sequence with the picture replaced.

    `replaced` are with the picture blurred, with a blank, and with any number of other pictures, in this order. `word`
    are the word's queries; `texts` are the likeliest texts with the blurred picture and with the blank. The word may
    be one that the model would not say, in an answer that was not its own. Raises ValueError for a word that survives
    the blurred picture where no others were read.
    """
    full = float(replaced.clean_log_prob[word].sum())
    log_probs = replaced.log_prob[:, word].sum(1, dtype=float)
    same = (replaced.likeliest[:, word] == replaced.clean_likeliest[word]).all(1)
    verdict: Verdict = "visual"
    if survives(replaced, word):
        if len(log_probs) < 3:
            raise ValueError("no other pictures: whether the word needs its own is not known")
        others = np.median(log_probs[2:]) > full - math.log(2) and same[2:].all()
        verdict = "no visual dependence" if others and _survives(replaced, 1, word) else "overall color"
    blurred, blank, *swapped = log_probs.tolist()
    return Dependence(
        verdict=verdict,
        full=full,
        blurred=blurred,
        blank=blank,
        swapped=tuple(swapped),
        text_blurred=texts[0],
        text_blank=texts[1],
        same=int(same[2:].sum()),
    )


def survives(replaced: Readings, word: slice) -> bool:
    """Whether a word survives the first picture of the readings, the blurred one: only then do others matter."""
    return _survives(replaced, 0, word)


def _survives(replaced: Readings, picture: int, word: slice) -> bool:
    lost = float((replaced.clean_log_prob - replaced.log_prob[picture])[word].sum())
    return lost < math.log(2) and bool((replaced.likeliest[picture, word] == replaced.clean_likeliest[word]).all())
