"""The direct decomposition: a logit as an exact sum of what was added to the residual stream at the row that made it.

With the last norm's scale held at its value, a logit is linear in the stream, and the stream is a sum: the row's own
embedding, what every head brings from every position, what every MLP adds, and biases. The method is direct logit
attribution (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"), carried on to positions.
It counts paths of one step alone: what reached a position on the way there is not told apart (see all_paths.py).

Biases are content of nothing: those of values are the same whatever a head looks at (attention weights sum to 1), so
that they are taken off what it brings from positions, here and wherever heads are taken apart, as all paths does. Only
those inside an MLP, before its activation, are in what its neurons add.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lapilli.core.layout import Role
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace, attention


@dataclass(frozen=True, eq=False)
class Direct:
    """The parts of every row's target, in logits, float64.

    value          (row,)               the target, from the model's own logits
    positions      (row, token)         through attention, by the position it was read from: all layers and heads
    heads          (row, layer, head)   through attention, by head: all positions
    heads_image    (row, layer, head)   of which from image positions
    mlps           (row, layer)         by the MLP's neurons
    embedding      (row,)               of the row's own token
    biases         (row, layer)         of values, of the attention's output matrix and of the MLP's; 0 in most models

    `positions` and `heads` are two ways to cut the same sum: positions + embedding + mlps + biases = value.
    """

    value: NDArray[np.float64]
    positions: NDArray[np.float64]
    heads: NDArray[np.float64]
    heads_image: NDArray[np.float64]
    mlps: NDArray[np.float64]
    embedding: NDArray[np.float64]
    biases: NDArray[np.float64]

    @property
    def missed(self) -> NDArray[np.float64]:
        """By how much the parts miss the value, in logits, (row,): rounding, or a model built otherwise."""
        parts = self.positions.sum(1) + self.embedding + self.mlps.sum(1) + self.biases.sum(1)
        missed: NDArray[np.float64] = np.abs(parts - self.value)
        return missed

    @property
    def error(self) -> NDArray[np.float64]:
        """The same as a share of the value; where that is 0, as the difference of a token to itself is, in logits."""
        return self.missed / np.where(self.value == 0, 1.0, np.abs(self.value))


@torch.inference_mode()
def decompose(trace: Trace, target: Target | None = None, tokens: NDArray[np.int64] | None = None) -> Direct:
    """Take the target (centred, if none is given) of every row of a trace apart.

    `tokens` (row,) are those whose logits it is about; if none are given, those that follow the rows.
    """
    target = target or Target()
    ids = torch.from_numpy(trace.next_ids if tokens is None else tokens).to(trace.logits.device)
    readout = readouts(trace, target, ids)
    image = torch.from_numpy(trace.layout.role == Role.IMAGE).to(readout.device)
    constants = torch.stack([trace.decoder.constants(layer) for layer in range(trace.decoder.depth)], dim=1)
    positions, heads, heads_image = np.zeros((len(trace.rows), len(trace.ids))), [], []
    for layer in range(trace.decoder.depth):  # one by one: all layers' heads and positions together would be large
        parts = head_positions(trace, readout, layer)
        positions += _numbers(parts.sum(1))
        heads.append(_numbers(parts.sum(2)))
        heads_image.append(_numbers(parts[:, :, image].sum(2)))
    return Direct(
        value=_numbers(target.of_logits(trace.logits, ids)),
        positions=positions,
        heads=np.stack(heads, axis=1),
        heads_image=np.stack(heads_image, axis=1),
        mlps=_numbers(torch.einsum("rld,rd->rl", trace.mlp_out.float() - constants[1], readout)),
        embedding=_numbers(torch.einsum("rd,rd->r", trace.resid[:, 0].float(), readout)),
        biases=_numbers(readout @ constants.sum(0).T),
    )


@torch.inference_mode()
def readouts(trace: Trace, target: Target, ids: Tensor) -> Tensor:
    """The vector whose product with a part of a row's residual stream is that part of the target; (row, d_model).

    The target is that of the tokens `ids` (row,). The last norm's weight and its scale at each row are in the vector:
    the scale is held.
    """
    model = trace.decoder
    directions = target.directions(model.head.weight, ids)
    weight: Tensor = model.norm.weight
    return directions * weight.float() * model.scale(trace.resid[:, -1])


@torch.inference_mode()
def head_positions(trace: Trace, readout: Tensor, layer: int) -> Tensor:
    """What each head of a layer brings to the target from each position; float32, (row, head, token).

    `readout` is that of `readouts`; value biases are left out.
    """
    model = trace.decoder
    by_head = (readout @ model.output_matrix(layer)).unflatten(1, (model.kv_heads, model.heads // model.kv_heads, -1))
    values = torch.einsum("rkgd,ktd->rkgt", by_head, _values(trace, layer)).flatten(1, 2)
    parts = attention(trace, layer) * values
    return pad(parts, (0, len(trace.ids) - parts.shape[-1]))


@torch.inference_mode()
def head_outputs(trace: Trace, layer: int) -> Tensor:
    """What each head of a layer adds to the rows' streams, value biases left out; float32, (row, head, d_model)."""
    model = trace.decoder
    weights = attention(trace, layer).unflatten(1, (model.kv_heads, -1))
    mixed = torch.einsum("rkgt,ktd->rkgd", weights, _values(trace, layer)).flatten(1, 2)
    return torch.einsum("rhd,mhd->rhm", mixed, model.output_matrix(layer).unflatten(1, mixed.shape[1:]))


@torch.inference_mode()
def carried(trace: Trace, layer: int, head: int) -> Tensor:
    """What one head takes up at each position for the rows, before its output matrix; float32, (row, token, d_head).

    Value biases are left out. Tokens that nothing has read are missing.
    """
    values = _values(trace, layer)[head * trace.decoder.kv_heads // trace.decoder.heads]
    return attention(trace, layer)[:, head, :, None] * values


@torch.inference_mode()
def position_outputs(trace: Trace, layer: int, head: int) -> Tensor:
    """What one head adds to the rows' streams from each position; float32, (row, token, d_model).

    They sum to the head's of `head_outputs`.
    """
    matrix = trace.decoder.output_matrix(layer).unflatten(1, (trace.decoder.heads, -1))[:, head]
    parts = carried(trace, layer, head) @ matrix.T
    return pad(parts, (0, 0, 0, len(trace.ids) - parts.shape[1]))


@torch.inference_mode()
def neuron_parts(trace: Trace, readout: Tensor, layer: int) -> Tensor:
    """What each neuron of a layer's MLP adds to the target; float32, (row, neuron).

    They sum to the MLP's part, `mlps`; the bias of its last matrix is no neuron's, and is among `biases`.
    """
    neurons = trace.decoder.neurons(layer, trace.resid[:, layer] + trace.attn_out[:, layer])
    return neurons.float() * (readout @ trace.decoder.down_matrix(layer))


def _values(trace: Trace, layer: int) -> Tensor:
    """What was read at every position, without the values' bias; float32, (kv_head, token, d_head)."""
    values, bias = trace.values[layer].float(), trace.decoder.value_bias(layer)
    return values if bias is None else values - bias[:, None]


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.cpu(), np.float64)
