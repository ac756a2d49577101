"""The log-probability increase of Yu & Ananiadou (arXiv 2411.10950), as they define it.

A part v that is added to the stream x raises the log-probability of the next token t by
    log p(t | x + v) - log p(t | x),   p(. | h) = softmax(head(gamma * h * scale))
where gamma is the last norm's weight and `scale` the one of the query's final residual: the same for every
layer and part. The increases of parts do not add up to that of their sum; compare direct.py, whose parts sum. With the
final scale, a stream that is short beside the final one predicts next to nothing: increases are near 0 where it is
short before and after the part is added, which may be in the early layers or nowhere. `stream_lengths` says where.

A head's output is what it brings from positions, without its value bias (direct.py); a layer's output is all it writes.

Where the part is small, or the word nearly certain, the two log-probabilities differ by less than their rounding. So
their difference is not taken. With d the logits of v alone,

    increase = -log(1 + sum_u p(u | x) (exp(d_u - d_t) - 1))

whose relative error is that of the logits.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.attribution.direct import carried, head_outputs
from lapilli.inspection.decoder import Decoder
from lapilli.inspection.trace import Trace

_AT_ONCE = 128  # distributions over the vocabulary at a time: products of fewer vectors are slow


@torch.inference_mode()
def layer_increases(trace: Trace) -> NDArray[np.float32]:
    """The increases of every layer, (query, 2, layer): of attention on its input, and of the MLP on its own."""
    before, attention = trace.resid[:, :-1].float(), trace.attn_out.float()
    parts = (before, attention), (before + attention, trace.mlp_out.float())
    increases = [_increases(trace, stream, part[:, :, None])[..., 0] for stream, part in parts]
    return torch.stack(increases, dim=1).cpu().numpy()


@torch.inference_mode()
def stream_lengths(trace: Trace) -> NDArray[np.float32]:
    """The length of the stream before every layer, and behind the last, as shares of the last; (query, layer + 1).

    Lengths are Euclidean norms, without a unit. Those before and after layer l are at l and l + 1; the last is 1.
    """
    lengths = trace.resid.float().norm(dim=-1)
    shares: NDArray[np.float32] = (lengths / lengths[:, -1:]).cpu().numpy()
    return shares


@torch.inference_mode()
def head_increases(trace: Trace, sharpness: float = 1.0) -> NDArray[np.float32]:
    """The increases of every head's output on its layer's input, (query, layer, head); logits times `sharpness`."""
    increases = []
    for layer in range(trace.decoder.depth):  # one by one: the outputs of all layers' heads would be large
        stream, heads = trace.resid[:, layer, None].float(), head_outputs(trace, layer)
        increases.append(_increases(trace, stream, heads[:, None], sharpness)[:, 0])
    return torch.stack(increases, dim=1).cpu().numpy()


@torch.inference_mode()
def position_increases(trace: Trace, query: int, layer: int, head: int) -> NDArray[np.float32]:
    """The increases of one head's output, by position, at query number `query`, on its layer's input; (token,)."""
    single = trace.at(query)
    model = single.decoder
    norm = model.norm.weight.float() * model.scale(single.resid[0, -1])
    before = _logits(model, norm * single.resid[0, layer].float()).log_softmax(-1)
    # A word's logit reads d_head numbers of each position: cheaper than d_model numbers.
    read = _logits(model, norm * model.output_matrix(layer).unflatten(1, (model.heads, -1))[:, head].T)
    brought = carried(single, layer, head)[0]
    token = torch.from_numpy(single.next_ids).to(brought.device)[0]
    increases = torch.cat([_increase(before, some @ read, token) for some in brought.split(_AT_ONCE)])
    return np.pad(increases.cpu().numpy(), (0, len(trace.ids) - len(brought)))


@torch.inference_mode()
def neuron_increases(trace: Trace, query: int, layer: int) -> NDArray[np.float32]:
    """The increases of every neuron of a layer's MLP, on the MLP's input, at query number `query`; (neuron,)."""
    single = trace.at(query)
    stream = (single.resid[:, layer] + single.attn_out[:, layer]).float()
    neurons = single.decoder.neurons(layer, stream.to(single.resid.dtype)).float()
    parts = neurons[..., None] * single.decoder.down_matrix(layer).T
    return _increases(single, stream[:, None], parts[:, None])[0, 0].cpu().numpy()


def _increases(trace: Trace, streams: Tensor, parts: Tensor, sharpness: float = 1.0) -> Tensor:
    """The increases of parts (query, stream, n, d_model) on streams (query, stream, d_model); (query, stream, n)."""
    model = trace.decoder
    scaled = sharpness * model.norm.weight.float() * model.scale(trace.resid[:, -1])
    factors = scaled[:, None].expand_as(streams)
    tokens = torch.from_numpy(trace.next_ids).to(streams.device)[:, None].expand(streams.shape[:2])
    size = max(1, _AT_ONCE // parts.shape[2])
    split = [tensor.flatten(0, 1).split(size) for tensor in (factors, streams, parts, tokens)]
    increases = []
    for factor, stream, part, token in zip(*split, strict=True):
        before = _logits(model, factor * stream).log_softmax(-1)
        brought = (_logits(model, factor[:, None] * some) for some in part.split(_AT_ONCE, dim=1))
        increases.append(torch.cat([_increase(before, some, token) for some in brought], dim=1))
    return torch.cat(increases).reshape(parts.shape[:-1])


def _logits(model: Decoder, scaled: Tensor) -> Tensor:
    """The logits of normed vectors (..., d_model); float32, (..., vocab)."""
    matrix: Tensor = model.head.weight
    return (scaled.to(matrix.dtype) @ matrix.T).float()


def _increase(before: Tensor, brought: Tensor, token: Tensor) -> Tensor:
    """The increase of `token` (...,) by logits `brought` (..., n, vocab) on log-probabilities `before`; (..., n)."""
    before = before[..., None, :]
    apart = brought - brought.take_along_dim(token[..., None, None], dim=-1)
    grown = apart.expm1().mul_(before.exp()).sum(-1)
    small = grown.abs() < 0.5  # what is large may be too large for exp
    if small.all():
        return -grown.log1p()
    return torch.where(small, -grown.log1p(), -(before + apart).logsumexp(-1))
