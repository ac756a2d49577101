"""The log-probability increase of Yu & Ananiadou (arXiv 2411.10950), as they define it.

A part v that is added to the stream x raises the log-probability of the next token t by
    log p(t | x + v) - log p(t | x),   p(. | h) = softmax(head(gamma * h * scale))
where gamma is the last norm's weight and `scale` the one that it has for the row's final residual: the same for every
layer and part. The increases of parts do not add up to that of their sum, and those of early layers are nearly 0
because the stream there is short beside the final one; compare direct.py, whose parts sum.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.decoder import Decoder
from lapilli.inspection.direct import carried, head_outputs
from lapilli.inspection.trace import Trace

_AT_ONCE = 32  # distributions over the vocabulary that are held at a time: more cost memory, and gain no time


@torch.inference_mode()
def layer_increases(trace: Trace) -> NDArray[np.float32]:
    """Of every layer: attention on its input, MLP on what attention leaves; (row, 2, layer)."""
    before = trace.resid[:, :-1].float()
    between = before + trace.attn_out.float()
    low, middle, high = (_log_prob(trace, x) for x in (before, between, between + trace.mlp_out.float()))
    return torch.stack([middle - low, high - middle], dim=1).cpu().numpy()


@torch.inference_mode()
def head_increases(trace: Trace) -> NDArray[np.float32]:
    """Of every head's output, on its layer's input; (row, layer, head)."""
    layers = range(trace.decoder.depth)
    found = []
    for row in range(len(trace.rows)):  # one by one: the outputs of all heads are as long as their layers' weights
        one = trace.at(row)
        before = one.resid[:, :-1, None].float()  # (1, layer, 1, d_model)
        after = before + torch.stack([head_outputs(one, layer) for layer in layers], dim=1)
        read = _log_prob(one, torch.cat([before, after], dim=2).flatten(1, 2)).reshape(len(layers), -1)
        found.append(read[:, 1:] - read[:, :1])
    return torch.stack(found).cpu().numpy()


@torch.inference_mode()
def position_increases(trace: Trace, row: int, layer: int, head: int) -> NDArray[np.float32]:
    """Of what one head brings from every position to row number `row`, on its layer's input; (token,)."""
    one = trace.at(row)
    model = one.decoder
    norm = model.norm.weight.float() * model.scale(one.resid[0, -1])
    before = _logits(model, norm * one.resid[0, layer].float())
    # Of what a head brings, d_head numbers a position, a word reads as many: cheaper than d_model of each position.
    read = _logits(model, norm * model.output_matrix(layer).unflatten(1, (model.heads, -1))[:, head].T)
    brought = carried(one, layer, head)[0]
    after = [_log_prob_of(before + some @ read, one.next_ids) for some in brought.split(_AT_ONCE)]
    increases = torch.cat(after) - _log_prob_of(before[None], one.next_ids)
    return np.pad(increases.cpu().numpy(), (0, len(trace.ids) - len(brought)))


@torch.inference_mode()
def neuron_increases(trace: Trace, row: int, layer: int) -> NDArray[np.float32]:
    """Of every neuron of a layer's MLP, on the MLP's input, at row number `row`; (neuron,)."""
    one = trace.at(row)
    stream = (one.resid[:, layer] + one.attn_out[:, layer]).float()
    neurons = one.decoder.neurons(layer, stream.to(one.resid.dtype)).float()
    parts = neurons[..., None] * one.decoder.down_matrix(layer).T
    found = _log_prob(one, stream[:, None] + parts) - _log_prob(one, stream[:, None])
    return found[0].cpu().numpy()


def _log_prob(trace: Trace, streams: Tensor) -> Tensor:
    """The log-probability of each row's next token, read from streams (row, n, d_model); (row, n)."""
    model = trace.decoder
    scaled = streams * model.norm.weight.float() * model.scale(trace.resid[:, -1])[:, None]
    ids = np.repeat(trace.next_ids, streams.shape[1])
    found = []
    for begin in range(0, len(ids), _AT_ONCE):
        some = slice(begin, begin + _AT_ONCE)
        found.append(_log_prob_of(_logits(model, scaled.flatten(0, 1)[some]), ids[some]))
    return torch.cat(found).reshape(streams.shape[:2])


def _logits(model: Decoder, scaled: Tensor) -> Tensor:
    """What the head makes of normed vectors (..., d_model); float32, (..., vocab)."""
    matrix: Tensor = model.head.weight
    return (scaled.to(matrix.dtype) @ matrix.T).float()


def _log_prob_of(logits: Tensor, ids: NDArray[np.int64]) -> Tensor:
    """Of the tokens `ids`, one for each of logits (n, vocab) or one for all; (n,)."""
    chosen = torch.from_numpy(ids).to(logits.device).expand(len(logits))[:, None]
    return logits.gather(1, chosen)[:, 0] - logits.logsumexp(1)
