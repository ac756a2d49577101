"""The directions of a patching study, and the read-out that it opens with."""

from lapilli.studies.tuning import BASE, TUNED

RESULT = "patch"
"""The name of the study's result in its run folder."""

OTHER = {BASE: TUNED, TUNED: BASE}
"""Both directions, a target and whose parts are put into it: what is sufficient for the gain, and what is necessary."""

RANDOM = "random"
"""In the place of a model: the target with a random change in every tensor, as long as the tuning's."""

DRAWS = 5
"""The draws of random changes, whose spread is in the intervals: of fewer, Student's t is too wide to say much."""

SWAPPED = "swapped"
"""A kind of prompts beside those of every tuning: questions with another's picture, which has another answer."""

MAIN = "content"
"""The read-out that the page opens with: it holds nothing of the form of an answer."""
