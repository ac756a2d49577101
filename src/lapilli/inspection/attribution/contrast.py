"""Contrast of two answers: the first token at which they differ, and the target that compares the two tokens."""

import numpy as np

from lapilli.core.errors import UsageError
from lapilli.data.sample import Sample
from lapilli.inspection.recording import answered
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace


def contrasted(trace: Trace, sample: Sample, text: str) -> tuple[Target, int]:
    """The target `difference` between the traced answer and another, and the number of the query that it is about.

    The query is the one of their first different token, which may be the end of the other answer. Raises UsageError
    when they do not differ before the traced one ends.
    """
    encoded = answered(trace.llava, sample, text)
    other = encoded.ids[encoded.layout.last_answer]
    traced = trace.next_ids
    shared = min(len(other), len(traced))
    (apart,) = np.nonzero(other[:shared] != traced[:shared])
    if not len(apart) or trace.stops[apart[0]]:
        raise UsageError(f"contrast {text!r}: nowhere differs from the answer, as far as that goes; give another")
    return Target("difference", int(other[apart[0]])), int(apart[0])
