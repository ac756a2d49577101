"""The log-probability increase of Yu & Ananiadou (arXiv 2411.10950), as they define it.

A part v that is added to the stream x raises the log-probability of the next token t by
    log p(t | x + v) - log p(t | x),   p(. | h) = softmax(head(gamma * h * scale))
where gamma is the last norm's weight and `scale` the one that it has for the row's final residual: the same for every
layer and part. The increases of parts do not add up to that of their sum; compare direct.py, whose parts sum. With the
final scale, a stream that is short beside the final one says next to nothing: they are near 0 where it is so before and
after the part is added, which may be in the early layers or nowhere. `stream_lengths` says where.

A head's output is what it brings from positions, without its values' bias (direct.py); a layer's is all that it writes.

Where the part is small, or the word nearly certain, the two log-probabilities differ by less than their rounding. So
their difference is never taken: with d the logits of v alone, it is -log(1 + sum_u p(u | x) (exp(d_u - d_t) - 1)),
which is as exact, as a share of itself, as the logits are.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.attribution.direct import carried, head_outputs
from lapilli.inspection.decoder import Decoder
from lapilli.inspection.trace import Trace

_AT_ONCE = 128  # distributions over the vocabulary that are held at a time: products of fewer rows are slow


@torch.inference_mode()
def layer_increases(trace: Trace) -> NDArray[np.float32]:
    """Of every layer: attention on its input, MLP on what attention leaves; (row, 2, layer)."""
    before, attention = trace.resid[:, :-1].float(), trace.attn_out.float()
    parts = (before, attention), (before + attention, trace.mlp_out.float())
    found = [_increases(trace, stream, part[:, :, None])[..., 0] for stream, part in parts]
    return torch.stack(found, dim=1).cpu().numpy()


@torch.inference_mode()
def stream_lengths(trace: Trace) -> NDArray[np.float32]:
    """The length of the stream before every layer, and behind the last, over the latter's; (row, layer + 1).

    Lengths are Euclidean norms: no unit. Those before and after layer l are at l and l + 1; the last is 1.
    """
    lengths = trace.resid.float().norm(dim=-1)
    shares: NDArray[np.float32] = (lengths / lengths[:, -1:]).cpu().numpy()
    return shares


@torch.inference_mode()
def head_increases(trace: Trace, sharpness: float = 1.0) -> NDArray[np.float32]:
    """Of every head's output, on its layer's input, with all logits multiplied by `sharpness`; (row, layer, head)."""
    found = []
    for layer in range(trace.decoder.depth):  # one by one: the outputs of all layers' heads would be large
        stream, heads = trace.resid[:, layer, None].float(), head_outputs(trace, layer)
        found.append(_increases(trace, stream, heads[:, None], sharpness)[:, 0])
    return torch.stack(found, dim=1).cpu().numpy()


@torch.inference_mode()
def position_increases(trace: Trace, row: int, layer: int, head: int) -> NDArray[np.float32]:
    """Of what one head brings from every position to row number `row`, on its layer's input; (token,)."""
    one = trace.at(row)
    model = one.decoder
    norm = model.norm.weight.float() * model.scale(one.resid[0, -1])
    before = _logits(model, norm * one.resid[0, layer].float()).log_softmax(-1)
    # Of what a head brings, d_head numbers a position, a word reads as many: cheaper than d_model of each position.
    read = _logits(model, norm * model.output_matrix(layer).unflatten(1, (model.heads, -1))[:, head].T)
    brought = carried(one, layer, head)[0]
    token = torch.from_numpy(one.next_ids).to(brought.device)[0]
    increases = torch.cat([_increase(before, some @ read, token) for some in brought.split(_AT_ONCE)])
    return np.pad(increases.cpu().numpy(), (0, len(trace.ids) - len(brought)))


@torch.inference_mode()
def neuron_increases(trace: Trace, row: int, layer: int) -> NDArray[np.float32]:
    """Of every neuron of a layer's MLP, on the MLP's input, at row number `row`; (neuron,)."""
    one = trace.at(row)
    stream = (one.resid[:, layer] + one.attn_out[:, layer]).float()
    neurons = one.decoder.neurons(layer, stream.to(one.resid.dtype)).float()
    parts = neurons[..., None] * one.decoder.down_matrix(layer).T
    return _increases(one, stream[:, None], parts[:, None])[0, 0].cpu().numpy()


def _increases(trace: Trace, streams: Tensor, parts: Tensor, sharpness: float = 1.0) -> Tensor:
    """Of parts (row, stream, n, d_model) that are added to streams (row, stream, d_model); (row, stream, n)."""
    model = trace.decoder
    scaled = sharpness * model.norm.weight.float() * model.scale(trace.resid[:, -1])
    factors = scaled[:, None].expand_as(streams)
    tokens = torch.from_numpy(trace.next_ids).to(streams.device)[:, None].expand(streams.shape[:2])
    size = max(1, _AT_ONCE // parts.shape[2])
    split = [given.flatten(0, 1).split(size) for given in (factors, streams, parts, tokens)]
    found = []
    for factor, stream, part, token in zip(*split, strict=True):
        before = _logits(model, factor * stream).log_softmax(-1)
        brought = (_logits(model, factor[:, None] * some) for some in part.split(_AT_ONCE, dim=1))
        found.append(torch.cat([_increase(before, some, token) for some in brought], dim=1))
    return torch.cat(found).reshape(parts.shape[:-1])


def _logits(model: Decoder, scaled: Tensor) -> Tensor:
    """What the head makes of normed vectors (..., d_model); float32, (..., vocab)."""
    matrix: Tensor = model.head.weight
    return (scaled.to(matrix.dtype) @ matrix.T).float()


def _increase(before: Tensor, brought: Tensor, token: Tensor) -> Tensor:
    """Of logits `brought` (..., n, vocab) to log-probabilities `before` (..., vocab), for tokens (...,); (..., n)."""
    before = before[..., None, :]
    apart = brought - brought.take_along_dim(token[..., None, None], dim=-1)
    grown = apart.expm1().mul_(before.exp()).sum(-1)
    small = grown.abs() < 0.5  # what is large may be too large for exp
    if small.all():
        return -grown.log1p()
    return torch.where(small, -grown.log1p(), -(before + apart).logsumexp(-1))
