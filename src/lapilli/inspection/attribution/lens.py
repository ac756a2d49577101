"""Lenses: vectors inside a model projected on its vocabulary.

The logit lens (nostalgebraist 2020) reads the residual stream before every layer as if it were the last. The read-outs
of Yu & Ananiadou (arXiv 2411.10950) read what attention or MLP layers have written at a position, with the last
norm's scale frozen at that of the explained query, as increase.py does.
A read-out is a projection, not a prediction of the model: only the last norm's own input was trained for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.decoder import decoder
from lapilli.inspection.trace import Stream, Trace
from lapilli.model.llava import Llava

_AT_ONCE = 128  # distributions over the vocabulary at a time; larger blocks of memory are not used again


@dataclass(frozen=True, eq=False)
class Lens:
    """The likeliest tokens of vectors (...,), the likeliest first.

    ids    int32    (..., k)
    probs  float32  (..., k), their probabilities among the whole vocabulary
    """

    ids: NDArray[np.int32]
    probs: NDArray[np.float32]


@torch.inference_mode()
def lens(trace: Trace, positions: Positions, k: int = 5) -> Lens:
    """The logit lens of some positions: before every layer, and behind the last; (layer + 1, position, k).

    Every vector has its own scale in the last norm. The deepest reading is the model's own prediction there. Raises
    ValueError for a trace without the stream of every position.
    """
    resid = _stream(trace).resid
    return read_head(trace.llava, resid[:, torch.from_numpy(positions).to(resid.device)], k)


@torch.inference_mode()
def read_head(llava: Llava, vectors: Tensor, k: int = 5) -> Lens:
    """Vectors (..., d_model) read by the model's last norm and its head, as it reads the last layer's; (..., k)."""
    model = decoder(llava.model)
    return _likeliest(lambda some: model.head(model.norm(some)), vectors, k)


@torch.inference_mode()
def read_embeddings(llava: Llava, vectors: Tensor, k: int = 5) -> Lens:
    """Vectors (..., d_model) read by the matrix of the input embeddings: the softmax of their products; (..., k).

    Made for what the projector puts in the places of <image> (Yu & Ananiadou): `trace.stream.resid[0]` there. Products
    favour words of long embeddings, and long vectors make probabilities near 1.
    """
    embeddings: Any = llava.model.get_input_embeddings()
    matrix = embeddings.weight
    return _likeliest(lambda some: some.to(matrix) @ matrix.T, vectors, k)


@torch.inference_mode()
def key_input(trace: Trace, query: int, layer: int, positions: Positions, k: int = 10) -> Lens:
    """Read what the attention of all layers before `layer` has written at some positions; (position, k).

    The last norm's scale is that of query number `query`. Raises ValueError as `lens` does.
    """
    return _read_frozen(trace, query, attention_wrote(trace, layer, positions), k)


@torch.inference_mode()
def value_input(trace: Trace, query: int, layer: int, positions: Positions, k: int = 10) -> Lens:
    """Read what the MLPs of all layers before `layer` have written at some positions; (position, k).

    The last norm's scale is that of query number `query`. Raises ValueError as `lens` does.
    """
    resid = _stream(trace).resid
    at = torch.from_numpy(positions).to(resid.device)
    grown = resid[layer, at].float() - resid[0, at].float()
    return _read_frozen(trace, query, grown - attention_wrote(trace, layer, positions), k)


def _stream(trace: Trace) -> Stream:
    if trace.stream is None:
        raise ValueError("the trace has not the stream of every position; record with whole=True")
    return trace.stream


@torch.inference_mode()
def attention_wrote(trace: Trace, layer: int, positions: Positions) -> Tensor:
    """What the attention of all layers before `layer` has written at some positions; float32, (position, d_model).

    Raises ValueError as `lens` does.
    """
    written = _stream(trace).attn_out
    return written[:layer, torch.from_numpy(positions).to(written.device)].float().sum(0)


@torch.inference_mode()
def frozen_logits(trace: Trace, query: int, vectors: Tensor) -> Tensor:
    """The logits of vectors (..., d_model) under the last norm with its scale at query number `query`; (..., vocab)."""
    model = trace.decoder
    weight = model.norm.weight.float() * model.scale(trace.resid[query, -1])
    matrix = model.head.weight
    logits: Tensor = (vectors * weight).to(matrix.dtype) @ matrix.T
    return logits


def _read_frozen(trace: Trace, query: int, vectors: Tensor, k: int) -> Lens:
    return _likeliest(partial(frozen_logits, trace, query), vectors, k)


def _likeliest(logits_of: Callable[[Tensor], Tensor], vectors: Tensor, k: int) -> Lens:
    ids, probs = [], []
    for some in vectors.flatten(0, -2).split(_AT_ONCE):
        best = logits_of(some).float().softmax(-1).topk(k)
        ids.append(best.indices.cpu().numpy())
        probs.append(best.values.cpu().numpy())
    shape = (*vectors.shape[:-1], k)
    return Lens(np.concatenate(ids).astype(np.int32).reshape(shape), np.concatenate(probs).reshape(shape))
