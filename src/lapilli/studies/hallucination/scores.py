"""Candidate scores that may tell made-up answers from right ones, each with a direction that was fixed beforehand.

A score is signed so that more of it speaks for a made-up answer; an area below .5 means that it points the other way
than expected. Margins and parts are counted towards the model's answer, in logits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from lapilli.studies.hallucination.margin import NAMED

Measurement: TypeAlias = Mapping[str, Any]
"""The result of `measured` for one question."""


@dataclass(frozen=True)
class Score:
    """One candidate.

    more   whether a made-up answer is expected to have more of it, or less
    says   the expectation, in one sentence
    of     the unsigned score of one question
    """

    name: str
    title: str
    family: Literal["confidence", "parts", "map", "control"]
    more: bool
    says: str
    of: Callable[[Measurement], float]

    def turned(self, measurement: Measurement) -> float:
        """The score, signed so that more of it speaks for a made-up answer."""
        return self.of(measurement) if self.more else -self.of(measurement)


def towards(measurement: Measurement) -> float:
    """The margin's sign, 1 or -1: a product with it counts towards the answer."""
    return 1.0 if measurement["readings"]["full"]["d"] > 0 else -1.0


def part(measurement: Measurement, name: str, way: str = "all_paths", picture: str = "full") -> float:
    """A part of the margin, towards the answer."""
    return towards(measurement) * float(measurement["readings"][picture][way][name])


def margin(measurement: Measurement, picture: str = "full") -> float:
    """The margin with one of the pictures, towards the answer to the picture itself."""
    return towards(measurement) * float(measurement["readings"][picture]["d"])


def answer_probability(measurement: Measurement) -> float:
    """The probability of the answer's deciding token."""
    return float(measurement["p_yes"] if towards(measurement) > 0 else measurement["p_no"])


def image_fraction(measurement: Measurement) -> float:
    """image / (|image| + |question| + |prior|), from -1 to 1; 0 where all are 0."""
    sizes = sum(abs(part(measurement, name)) for name in ("image", "question", "prior"))
    return part(measurement, "image") / sizes if sizes else 0.0


def concentration(measurement: Measurement) -> float:
    """The share of the strongest eighth of the patches in all positive evidence for the answer; 0 without any."""
    speaking = np.sort(np.clip(towards(measurement) * np.array(measurement["maps"]["all_paths"]), 0, None))[::-1]
    total = float(speaking.sum())
    return float(speaking[: max(1, len(speaking) // NAMED)].sum()) / total if total else 0.0


def strongest_patch(measurement: Measurement) -> float:
    """The largest part of a single patch."""
    return float((towards(measurement) * np.array(measurement["maps"]["all_paths"])).max())


BASELINE = "probability"
"""The score that the others are compared with."""

SCORES = (
    Score("probability", "probability of the answer", "confidence", False,
          "An answer that is made up is given less probability.", of=answer_probability),
    Score("margin", "size of the margin", "confidence", False,
          "It is decided by less: |logit(yes) - logit(no)| is smaller.", of=margin),
    Score("entropy", "entropy of the word", "confidence", True,
          "The word that decides is spread over more tokens.", of=lambda measurement: float(measurement["entropy"])),
    Score("image", "image's part, all paths", "parts", False,
          "The picture brings less to the margin, by whatever way.", of=lambda measurement: part(measurement, "image")),
    Score("image_direct", "image's part, direct", "parts", False,
          "The picture's positions bring less in the last step.",
          of=lambda measurement: part(measurement, "image", "direct")),
    Score("image_fraction", "image's fraction", "parts", False,
          "The picture's part is the smaller fraction of all parts, by all paths.", of=image_fraction),
    Score("agreement", "the image's part agrees", "parts", False,
          "The picture's part by all paths speaks against the answer; there is nothing between, and ties count half.",
          of=lambda measurement: float(part(measurement, "image") > 0)),
    Score("question", "question's part, all paths", "parts", True,
          "The words of the question bring more.", of=lambda measurement: part(measurement, "question")),
    Score("prior", "prior's part, all paths", "parts", True,
          "Template and biases, which are the same for every question, bring more.",
          of=lambda measurement: part(measurement, "prior")),
    Score("concentration", "share of the strongest patches", "map", False,
          "No few patches stand out: the strongest eighth has less of all that speaks for the answer.",
          of=concentration),
    Score("strongest_patch", "strongest patch", "map", False,
          "No single patch speaks loudly for it.", of=strongest_patch),
    Score("blank", "change without the picture: blank", "control", False,
          "A grey blank instead of the picture changes the margin less.",
          of=lambda measurement: margin(measurement) - margin(measurement, "blank")),
    Score("blurred", "change without the picture: blurred", "control", False,
          "The picture blurred beyond recognition changes the margin less.",
          of=lambda measurement: margin(measurement) - margin(measurement, "blurred")),
    Score("swapped", "change with another picture", "control", False,
          "Another scene's picture changes the margin less.",
          of=lambda measurement: margin(measurement) - margin(measurement, "swapped")),
    Score("knockout", "change when the picture is not read", "control", False,
          "The margin changes less when the text cannot look at the picture.",
          of=lambda measurement: margin(measurement) - towards(measurement) * float(measurement["knockout"])),
    Score("unseen", "margin of the blank picture", "control", True,
          "The answer is what the model says anyway: a blank picture speaks for it too.",
          of=lambda measurement: margin(measurement, "blank")),
    Score("image_gain", "image's part, less that of the blank picture", "control", False,
          "The picture brings little more than no picture does, by all paths.",
          of=lambda measurement: part(measurement, "image") - part(measurement, "image", picture="blank")),
)  # fmt: skip
"""All candidate scores."""

CONFIDENCE = ("probability", "margin", "entropy")
SHARES = ("image", "question", "image_direct", "concentration", "blank", "swapped")
"""The inputs of the regressions: confidence alone, and with these. The prior is the rest of the margin."""
