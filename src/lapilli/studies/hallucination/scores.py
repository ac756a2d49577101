"""What might give a made-up answer away: a list of scores, each with its direction fixed before any is tried.

A score is turned so that more of it speaks for a made-up answer; one whose area is below .5 was expected to point the
other way. Margins and parts are counted towards the answer that was given, in logits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from lapilli.studies.hallucination.margin import NAMED

Measured: TypeAlias = Mapping[str, Any]
"""What `measured` found of one question."""


@dataclass(frozen=True)
class Score:
    """One candidate.

    more   whether a made-up answer is expected to have more of it, or less
    says   what is expected, in one sentence
    of     the score of one question, not yet turned
    """

    name: str
    title: str
    family: Literal["confidence", "parts", "map", "control"]
    more: bool
    says: str
    of: Callable[[Measured], float]

    def turned(self, found: Measured) -> float:
        """The score so that more of it speaks for a made-up answer."""
        return self.of(found) if self.more else -self.of(found)


def towards(found: Measured) -> float:
    """1 for the margin's own sign: what is multiplied by it counts towards the answer."""
    return 1.0 if found["readings"]["full"]["d"] > 0 else -1.0


def part(found: Measured, name: str, way: str = "all_paths", picture: str = "full") -> float:
    """A part of the margin, towards the answer."""
    return towards(found) * float(found["readings"][picture][way][name])


def margin(found: Measured, picture: str = "full") -> float:
    """The margin with one of the pictures, towards the answer given to the picture itself."""
    return towards(found) * float(found["readings"][picture]["d"])


def answer_probability(found: Measured) -> float:
    """The probability of the answer's deciding token."""
    return float(found["p_yes"] if towards(found) > 0 else found["p_no"])


def image_fraction(found: Measured) -> float:
    """The image's part over the three parts' sizes together, from -1 to 1; 0 where all are nothing."""
    sizes = sum(abs(part(found, name)) for name in ("image", "question", "prior"))
    return part(found, "image") / sizes if sizes else 0.0


def concentration(found: Measured) -> float:
    """The strongest eighth of the patches' share of all that speaks for the answer; 0 where nothing does."""
    speaking = np.sort(np.clip(towards(found) * np.array(found["maps"]["all_paths"]), 0, None))[::-1]
    total = float(speaking.sum())
    return float(speaking[: max(1, len(speaking) // NAMED)].sum()) / total if total else 0.0


def strongest_patch(found: Measured) -> float:
    """The largest part of a single patch."""
    return float((towards(found) * np.array(found["maps"]["all_paths"])).max())


BASELINE = "probability"
"""The score that the others are held against."""

SCORES = (
    Score("probability", "probability of the answer", "confidence", False,
          "An answer that is made up is given less probability.", of=answer_probability),
    Score("margin", "size of the margin", "confidence", False,
          "It is decided by less: |logit(yes) - logit(no)| is smaller.", of=margin),
    Score("entropy", "entropy of the word", "confidence", True,
          "The word that decides is spread over more tokens.", of=lambda found: float(found["entropy"])),
    Score("image", "image's part, all paths", "parts", False,
          "The picture brings less to the margin, by whatever way.", of=lambda found: part(found, "image")),
    Score("image_direct", "image's part, direct", "parts", False,
          "The picture's positions bring less in the last step.", of=lambda found: part(found, "image", "direct")),
    Score("image_fraction", "image's fraction", "parts", False,
          "The picture's part is the smaller fraction of all parts, by all paths.", of=image_fraction),
    Score("agreement", "the image's part agrees", "parts", False,
          "The picture's part by all paths speaks against the answer; there is nothing between, and ties count half.",
          of=lambda found: float(part(found, "image") > 0)),
    Score("question", "question's part, all paths", "parts", True,
          "The words of the question bring more.", of=lambda found: part(found, "question")),
    Score("prior", "prior's part, all paths", "parts", True,
          "Template and biases, which are the same for every question, bring more.",
          of=lambda found: part(found, "prior")),
    Score("concentration", "share of the strongest patches", "map", False,
          "No few patches stand out: the strongest eighth has less of all that speaks for the answer.",
          of=concentration),
    Score("strongest_patch", "strongest patch", "map", False,
          "No single patch speaks loudly for it.", of=strongest_patch),
    Score("blank", "change without the picture: blank", "control", False,
          "A grey blank instead of the picture changes the margin less.",
          of=lambda found: margin(found) - margin(found, "blank")),
    Score("blurred", "change without the picture: blurred", "control", False,
          "The picture blurred beyond recognition changes the margin less.",
          of=lambda found: margin(found) - margin(found, "blurred")),
    Score("swapped", "change with another picture", "control", False,
          "Another scene's picture changes the margin less.",
          of=lambda found: margin(found) - margin(found, "swapped")),
    Score("knockout", "change when the picture is not read", "control", False,
          "The margin changes less when the text cannot look at the picture.",
          of=lambda found: margin(found) - towards(found) * float(found["knockout"])),
    Score("unseen", "margin of the blank picture", "control", True,
          "The answer is what the model says anyway: a blank picture speaks for it too.",
          of=lambda found: margin(found, "blank")),
    Score("image_gain", "image's part, less that of the blank picture", "control", False,
          "The picture brings little more than no picture does, by all paths.",
          of=lambda found: part(found, "image") - part(found, "image", picture="blank")),
)  # fmt: skip
"""All that are tried."""

CONFIDENCE = ("probability", "margin", "entropy")
SHARES = ("image", "question", "image_direct", "concentration", "blank", "swapped")
"""What the regressions are given: confidence alone, and with these. The prior is what is left of the margin."""
