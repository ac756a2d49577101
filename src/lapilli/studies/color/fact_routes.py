"""Fact routes: the ways and the layers by which facts reach the answer. Edges are cut, beside as many random ones.

    facts->facts      patches no longer attend to other patches, nor words of the text to other words of it
    facts->question   the question no longer attends to the facts
    facts->last       the position that answers no longer attends to the facts
    facts->text       neither of the two attends to the facts
    question->last    the position that answers no longer attends to the question
    both->last        it no longer attends to facts or question

An edge is a pair of a query and a key position. `question` is all between the facts and the position that answers.
There are as many random edges, from any of these positions to any position before it, none of them among the cut ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.intervention.image_routes import layer_windows
from lapilli.inspection.intervention.replay import Cut, Variant, replay
from lapilli.inspection.trace import Trace
from lapilli.studies.color.places import Places

ROUTES = ("facts->facts", "facts->question", "facts->last", "facts->text", "question->last", "both->last")
"""The attention edges that are cut: key positions, then the positions that attend to them."""


_CONTROLLED = 3  # spans, from the last, in which random edges are cut as well


@dataclass(frozen=True)
class Span:
    """Layers in which edges are cut: a window around one layer, the shallow half, the deep half, or all.

    The middle one of an odd number of layers is in neither half.
    """

    kind: str
    layers: range


def spans(depth: int) -> list[Span]:
    """The spans that are tried in a model of this depth."""
    half = depth // 2
    halves = [Span("shallow", range(half)), Span("deep", range(depth - half, depth))]
    return [*(Span("window", window) for window in layer_windows(depth)), *halves, Span("whole", range(depth))]


def cut_routes(
    trace: Trace, places: Places, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The change of the log-probability of the answer's first token by cutting each route, in nats: (route, span).

    The second array is the change by random edges, (route, 3), in the last three of `spans`: both halves and all
    layers. The trace must have been recorded whole.
    """
    tried = spans(trace.decoder.depth)
    pairs = [_edges(places, route) for route in ROUTES]
    variants = [cut(edges, span.layers) for edges in pairs for span in tried]
    for edges in pairs:
        others = random_edges(rng, int(places.facts[0]), places.last, edges)
        variants += [cut(others, span.layers) for span in tried[-_CONTROLLED:]]
    changes = replay(trace.at(0), variants).log_prob_change[:, 0].astype(np.float64)
    return tuple(part.reshape(len(ROUTES), -1) for part in np.split(changes, [len(ROUTES) * len(tried)]))  # type: ignore[return-value]


def cut(edges: NDArray[np.intp], layers: range) -> Variant:
    """The variant that cuts these edges, (edge, 2) of query and key, in these layers."""
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    queries, begins = np.unique(edges[:, 0], return_index=True)
    keys = np.split(edges[:, 1], begins[1:])
    return [Cut(queries[[number]], some, layers) for number, some in enumerate(keys)]


def random_edges(rng: np.random.Generator, first: int, last: int, excluded: NDArray[np.intp]) -> NDArray[np.intp]:
    """Draw as many edges as `excluded` (edge, 2) has, or all others, from positions `first` to `last`.

    None is in `excluded`, none is from a position to itself, and none to the sequence's first token, an attention sink.
    """
    free = np.tri(last + 1, k=-1, dtype=np.bool_)
    free[:first], free[:, 0] = False, False
    free[excluded[:, 0], excluded[:, 1]] = False
    possible = np.argwhere(free)
    return possible[rng.choice(len(possible), min(len(excluded), len(possible)), replace=False)]


def _edges(places: Places, route: str) -> NDArray[np.intp]:
    """The edges of a route, (edge, 2); none from a position to itself."""
    facts, question, last = places.facts, places.question, np.array([places.last], np.intp)
    queries, keys = {
        "facts->facts": (facts, facts),
        "facts->question": (question, facts),
        "facts->last": (last, facts),
        "facts->text": (np.append(question, last), facts),
        "question->last": (last, question),
        "both->last": (last, np.append(facts, question)),
    }[route]
    pairs = np.stack(np.meshgrid(queries, keys, indexing="ij"), axis=-1).reshape(-1, 2)
    return pairs[pairs[:, 0] > pairs[:, 1]]
