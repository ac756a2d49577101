"""What a comparison keeps of every prompt, and the pairs of models that it compares."""

from lapilli.studies.tuning import BASE, CONTROL, FLOOR, TUNED, Tuning

RESULT = "compare"
"""The name of the study's result in its run folder."""

AGAIN = "again"
"""The base in another number format and in other batches."""

POSITIONS = {"image": ("last", "question_end", "image_mean"), "text": ("last", "question_end")}
"""The positions that are kept of every kind of prompts."""


def pairs_of(of: Tuning) -> dict[str, tuple[str, str]]:
    """The pairs of models that are compared: what the tuning changed, and the floors beside it."""
    pairs = {"change": (BASE, TUNED), AGAIN: (BASE, AGAIN)}
    if FLOOR in of.models:
        pairs |= {FLOOR: (TUNED, FLOOR)}
    if CONTROL in of.models:
        pairs |= {CONTROL: (BASE, CONTROL), "gain": (CONTROL, TUNED)}
    return pairs
