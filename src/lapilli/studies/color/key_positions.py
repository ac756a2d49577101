"""Key positions: where among the facts a head takes from most of what it brings for the right colour.

Of the direct contributions to the colour's logit (direct.py), which sum, not of log-probability increases. At a key
position it is asked how much the head looks there when the question names another thing, and what can be read there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.attribution.direct import head_positions, readouts
from lapilli.inspection.intervention.ablation import Head
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace, attention
from lapilli.studies.color.heads import ranks
from lapilli.studies.color.places import Places

READOUTS = {
    "embedding": "what stands in the picture's or the text's place, by the matrix of the input embeddings (the paper)",
    "stream": "the stream there, before the layer of the head in question, by the last norm and the vocabulary",
    "wrote": "what attention has written there before that layer, with the norm's scale of the answer's position",
}
"""What is read at a key position, and how."""


@dataclass(frozen=True, eq=False)
class Keys:
    """Of some heads, each in its place: their key positions, and how they came about.

    at        (head,)  the number of the key position among the facts
    inside    (head,)  the share of what the head brings for the colour that comes from the facts; nan for nothing
    asked     (head,)  whether the key position shows or tells the thing that is asked about
    """

    at: Positions
    inside: NDArray[np.float64]
    asked: NDArray[np.bool_]


@torch.inference_mode()
def keys(trace: Trace, places: Places, heads: Sequence[Head], colour: int) -> Keys:
    """The key positions of heads for the token `colour`, of a trace of an answer that was given."""
    one = trace.at(0)
    readout = readouts(one, Target(), torch.tensor([colour], device=one.logits.device))
    by_layer = {layer: head_positions(one, readout, layer)[0] for layer in {layer for layer, _ in heads}}
    parts = torch.stack([by_layer[layer][head] for layer, head in heads]).cpu().numpy().astype(np.float64)
    from_facts = parts[:, places.facts]
    at = from_facts.argmax(1)
    size = np.abs(parts).sum(1)
    inside = np.divide(np.abs(from_facts).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)
    return Keys(at, inside, places.asked[at])


@torch.inference_mode()
def looks(trace: Trace, places: Places, heads: Sequence[Head]) -> NDArray[np.float64]:
    """How much each head looks from the answer's position at every fact; (head, fact)."""
    one = trace.at(0)
    by_layer = {layer: attention(one, layer)[0] for layer in {layer for layer, _ in heads}}
    found = torch.stack([by_layer[layer][head] for layer, head in heads])[:, torch.from_numpy(places.facts)]
    return np.asarray(found.cpu(), np.float64)


@torch.inference_mode()
def reciprocal_ranks(
    trace: Trace, places: Places, heads: Sequence[Head], words: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """1 / rank of every word at every fact, by each of READOUTS, in the layer of each head; (head, fact, word).

    The trace must have been recorded whole.
    """
    assert trace.stream is not None
    stream, at = trace.stream, torch.from_numpy(places.facts)
    embeddings: Any = trace.llava.model.get_input_embeddings()
    matrix = embeddings.weight
    shared = 1 / ranks(stream.resid[0, at].to(matrix) @ matrix.T, words)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in READOUTS}
    by_layer = {layer: _read(trace, at, layer, words) for layer in {layer for layer, _ in heads}}
    for layer, _ in heads:
        for name, values in zip(READOUTS, (shared, *by_layer[layer]), strict=True):
            found[name].append(values)
    return {name: np.stack(values) for name, values in found.items()}


def _read(trace: Trace, at: Tensor, layer: int, words: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """By the stream before a layer, and by what attention wrote before it; (fact, word) each."""
    assert trace.stream is not None
    model, stream = trace.decoder, trace.stream
    frozen = model.norm.weight.float() * model.scale(trace.resid[0, -1])
    wrote = stream.attn_out[:layer, at].float().sum(0)
    matrix = model.head.weight
    read = model.head(model.norm(stream.resid[layer, at])).float()
    return 1 / ranks(read, words), 1 / ranks((wrote * frozen).to(matrix.dtype) @ matrix.T, words)
