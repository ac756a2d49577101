"""By which way, and in which layers, the facts reach the answer: looks cut, beside as many random ones.

    facts->facts      patches no longer look at other patches, words of the text no longer at other words of it
    facts->question   the question no longer looks at the facts
    facts->last       the position that answers no longer looks at the facts
    facts->text       neither of the two looks at the facts
    question->last    the position that answers no longer looks at the question
    both->last        it no longer looks at facts or question

`question` is all between the facts and the position that answers. Random looks are as many, by any of these positions,
at any before it, but not those that are cut.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.intervention.replay import Cut, Variant, replay
from lapilli.inspection.intervention.routes import layer_windows
from lapilli.inspection.trace import Trace
from lapilli.studies.color.places import Places

WAYS = ("facts->facts", "facts->question", "facts->last", "facts->text", "question->last", "both->last")
"""Who is no longer seen, and by whom."""


_CONTROLLED = 3  # spans, from the last, in which random looks are cut as well


@dataclass(frozen=True)
class Span:
    """Layers in which looks are cut: a window around one layer, the shallow half, the deep half, or all.

    Of an odd number of layers, the middle one is in neither half.
    """

    kind: str
    layers: range


def spans(depth: int) -> list[Span]:
    """All that are tried in a model of so many layers."""
    half = depth // 2
    halves = [Span("shallow", range(half)), Span("deep", range(depth - half, depth))]
    return [*(Span("window", window) for window in layer_windows(depth)), *halves, Span("whole", range(depth))]


def cut_ways(trace: Trace, places: Places, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The change of the log-probability of the answer's first token, in nats: (way, span) of `spans`.

    And the same of random looks, (way, 3), in the last three of the spans, both halves and all layers. The trace must
    have been recorded whole.
    """
    tried = spans(trace.decoder.depth)
    pairs = [_looks(places, way) for way in WAYS]
    variants = [cut(one, span.layers) for one in pairs for span in tried]
    for one in pairs:
        others = random_looks(rng, int(places.facts[0]), places.last, one)
        variants += [cut(others, span.layers) for span in tried[-_CONTROLLED:]]
    changes = replay(trace.at(0), variants).log_prob_change[:, 0].astype(np.float64)
    return tuple(part.reshape(len(WAYS), -1) for part in np.split(changes, [len(WAYS) * len(tried)]))  # type: ignore[return-value]


def cut(looks: NDArray[np.intp], layers: range) -> Variant:
    """These looks, (look, 2) of who looks and at what, cut in these layers."""
    looks = looks[np.lexsort((looks[:, 1], looks[:, 0]))]
    queries, begins = np.unique(looks[:, 0], return_index=True)
    keys = np.split(looks[:, 1], begins[1:])
    return [Cut(queries[[number]], some, layers) for number, some in enumerate(keys)]


def random_looks(rng: np.random.Generator, first: int, last: int, but: NDArray[np.intp]) -> NDArray[np.intp]:
    """As many looks as `but`, (look, 2), by positions from `first` to `last`, or as many as there are without it.

    None is at oneself, nor at the first token of all, where attention rests when it has nothing to look for.
    """
    free = np.tri(last + 1, k=-1, dtype=np.bool_)
    free[:first], free[:, 0] = False, False
    free[but[:, 0], but[:, 1]] = False
    there = np.argwhere(free)
    return there[rng.choice(len(there), min(len(but), len(there)), replace=False)]


def _looks(places: Places, way: str) -> NDArray[np.intp]:
    """The looks of a way, (look, 2); none at oneself."""
    facts, question, last = places.facts, places.question, np.array([places.last], np.intp)
    who, what = {
        "facts->facts": (facts, facts),
        "facts->question": (question, facts),
        "facts->last": (last, facts),
        "facts->text": (np.append(question, last), facts),
        "question->last": (last, question),
        "both->last": (last, np.append(facts, question)),
    }[way]
    pairs = np.stack(np.meshgrid(who, what, indexing="ij"), axis=-1).reshape(-1, 2)
    return pairs[pairs[:, 0] > pairs[:, 1]]
