"""Key positions: the positions among the facts that contribute most to the right color, by head.

They are chosen by the direct contributions to the color's logit (direct.py), which sum, not by log-probability
increases. Measured at a key position are the head's attention when the question is about another thing, and the words
that can be read there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.inspection.attribution.direct import head_positions, readouts
from lapilli.inspection.attribution.lens import attention_wrote, frozen_logits
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
"""The read-outs at a key position."""


@dataclass(frozen=True, eq=False)
class KeyPositions:
    """The key positions of some heads.

    at          (head,)  the number of the key position among the facts
    inside      (head,)  the share of the head's contributions, in absolute numbers, that comes from the facts; nan of 0
    on_target   (head,)  whether the key position shows or describes the target thing
    """

    at: Positions
    inside: NDArray[np.float64]
    on_target: NDArray[np.bool_]


@torch.inference_mode()
def key_positions(trace: Trace, places: Places, heads: Sequence[Head], color: int) -> KeyPositions:
    """The key positions of heads for the token `color`, from a trace of the right answer."""
    first = trace.at(0)
    readout = readouts(first, Target(), torch.tensor([color], device=first.logits.device))
    by_layer = {layer: head_positions(first, readout, layer)[0] for layer in {layer for layer, _ in heads}}
    parts = torch.stack([by_layer[layer][head] for layer, head in heads]).cpu().numpy().astype(np.float64)
    from_facts = parts[:, places.facts]
    at = from_facts.argmax(1)
    size = np.abs(parts).sum(1)
    inside = np.divide(np.abs(from_facts).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)
    return KeyPositions(at, inside, places.on_target[at])


@torch.inference_mode()
def attention_to_facts(trace: Trace, places: Places, heads: Sequence[Head]) -> NDArray[np.float64]:
    """The attention of each head from the answer's position to every fact; (head, fact)."""
    first = trace.at(0)
    by_layer = {layer: attention(first, layer)[0] for layer in {layer for layer, _ in heads}}
    weights = torch.stack([by_layer[layer][head] for layer, head in heads])[:, torch.from_numpy(places.facts)]
    return np.asarray(weights.cpu(), np.float64)


@torch.inference_mode()
def reciprocal_ranks(
    trace: Trace, places: Places, heads: Sequence[Head], words: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """The reciprocal ranks of every word at every fact, by each of READOUTS, in each head's layer; (head, fact, word).

    The trace must have been recorded whole.
    """
    assert trace.stream is not None
    stream, at = trace.stream, torch.from_numpy(places.facts)
    embeddings: Any = trace.llava.model.get_input_embeddings()
    matrix = embeddings.weight
    shared = 1 / ranks(stream.resid[0, at].to(matrix) @ matrix.T, words)
    by_readout: dict[str, list[NDArray[np.float64]]] = {name: [] for name in READOUTS}
    by_layer = {layer: _read(trace, places, layer, words) for layer in {layer for layer, _ in heads}}
    for layer, _ in heads:
        for name, values in zip(READOUTS, (shared, *by_layer[layer]), strict=True):
            by_readout[name].append(values)
    return {name: np.stack(values) for name, values in by_readout.items()}


def _read(trace: Trace, places: Places, layer: int, words: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """The reciprocal ranks by the stream before a layer, and by what attention wrote before it; (fact, word) each."""
    assert trace.stream is not None
    model, at = trace.decoder, torch.from_numpy(places.facts)
    read = model.head(model.norm(trace.stream.resid[layer, at])).float()
    wrote = frozen_logits(trace, 0, attention_wrote(trace, layer, places.facts))
    return 1 / ranks(read, words), 1 / ranks(wrote, words)
