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

from lapilli.inspection.direct import head_outputs, position_outputs
from lapilli.inspection.trace import Trace

_AT_ONCE = 256  # distributions over the vocabulary that are held at a time


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
    return _increases(one, layer, position_outputs(one, layer, head))[0].cpu().numpy()


@torch.inference_mode()
def neuron_increases(trace: Trace, row: int, layer: int) -> NDArray[np.float32]:
    """Of every neuron of a layer's MLP, on the MLP's input, at row number `row`; (neuron,)."""
    one = trace.at(row)
    stream = (one.resid[:, layer] + one.attn_out[:, layer]).float()
    neurons = one.decoder.neurons(layer, stream.to(one.resid.dtype)).float()
    parts = neurons[..., None] * one.decoder.down_matrix(layer).T
    found = _log_prob(one, stream[:, None] + parts) - _log_prob(one, stream[:, None])
    return found[0].cpu().numpy()


def _increases(trace: Trace, layer: int, parts: Tensor) -> Tensor:
    """Of parts (row, part, d_model) that are added to the stream before a layer; (row, part)."""
    before = trace.resid[:, layer, None].float()
    return _log_prob(trace, before + parts) - _log_prob(trace, before)


def _log_prob(trace: Trace, streams: Tensor) -> Tensor:
    """The log-probability of each row's next token, read from streams (row, n, d_model); (row, n)."""
    model = trace.decoder
    scaled = streams * model.norm.weight.float() * model.scale(trace.resid[:, -1])[:, None]
    ids = torch.from_numpy(trace.next_ids).to(streams.device)[:, None].expand(streams.shape[:2])
    matrix = model.head.weight
    found = []
    for some, tokens in zip(scaled.flatten(0, 1).split(_AT_ONCE), ids.flatten().split(_AT_ONCE), strict=True):
        logits = (some.to(matrix.dtype) @ matrix.T).float()
        found.append(logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1))
    return torch.cat(found).reshape(streams.shape[:2])
