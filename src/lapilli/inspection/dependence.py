"""Whether an answer depends on the picture at all."""

import math
from dataclasses import dataclass
from typing import Literal

from lapilli.inspection.readings import Readings

RULE = (
    "an answer has “no visual dependence” if, with the picture blurred beyond recognition, the likeliest word is still "
    "the same and the one that is explained at least half as probable as before; otherwise it depends on the picture"
)


@dataclass(frozen=True)
class Dependence:
    """One word with the picture as it is, blurred beyond recognition, and blank: log-probabilities, in nats.

    `said_blurred` is the likeliest text in the word's place when the picture is blurred.
    """

    verdict: Literal["visual", "no visual dependence"]
    full: float
    blurred: float
    blank: float
    said_blurred: str


def dependence(gone: Readings, word: slice, say: str) -> Dependence:
    """Of a sequence that was read with the picture blurred and blank, in this order.

    `word` are the word's rows; `say` is what the likeliest tokens of the blurred one spell. The word need not be the
    likeliest: of an answer that is given, it may be one that the model would not say.
    """
    full = float(gone.clean_log_prob[word].sum())
    blurred, blank = (float(total) for total in gone.log_prob[:, word].sum(1))
    same = gone.likeliest[0, word].tolist() == gone.clean_likeliest[word].tolist() and blurred > full - math.log(2)
    return Dependence("no visual dependence" if same else "visual", full, blurred, blank, say)
