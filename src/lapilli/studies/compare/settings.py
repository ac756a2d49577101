"""What a comparison keeps of every prompt, and the pairs of models that it compares."""

from dataclasses import dataclass
from pathlib import Path

from lapilli.studies.tuning import BASE, CONTROL, FLOOR, TUNED, Tuning

RESULT = "compare"
"""The name of the study's result in its run folder."""

AGAIN = "again"
"""The base in another number format and in other batches."""

POSITIONS = {"image": ("last", "question_end", "image_mean"), "text": ("last", "question_end")}
"""The positions that are kept of every kind of prompts."""


CAPTION = "caption"
"""The kind of prompts that are captions of the pictures, of which the mean of all words is kept."""

TOKENS = ("image_random", "question_random")
"""A token of the picture and one of the question, of which is kept how far every layer turns them."""


def pairs_of(of: Tuning) -> dict[str, tuple[str, str]]:
    """The pairs of models that are compared: what the tuning changed, and the floors beside it."""
    pairs = {"change": (BASE, TUNED), AGAIN: (BASE, AGAIN)}
    if FLOOR in of.models:
        pairs |= {FLOOR: (TUNED, FLOOR)}
    if CONTROL in of.models:
        pairs |= {CONTROL: (BASE, CONTROL), "gain": (CONTROL, TUNED)}
    return pairs


SCORED = 64
"""The most samples on which layers are scored by passes of their own: gradients, and layers that pass tokens on."""


@dataclass(frozen=True)
class Suggestion:
    """How many layers are to be suggested for training, and the run of a patching study of the same models, if any."""

    layers: int
    patched: Path | None = None
