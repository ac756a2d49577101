"""The direct decomposition: a logit as an exact sum of what was added to the residual stream at its query.

With the last norm's scale frozen, a logit is linear in the stream, and the stream is a sum:

    stream = embedding + sum over layers of (heads from every position + MLP + biases)

The method is direct logit attribution (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"), split
by position as well. It counts paths of one step: what reached a position from elsewhere stays with the position (see
all_paths.py).

Value biases belong to no position: attention weights sum to 1, so a head adds its value bias whatever it attends to.
They are subtracted from what a head brings from positions, here and wherever heads are decomposed. Only biases inside
an MLP, before its activation, are part of what its neurons add.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace, attention


@dataclass(frozen=True, eq=False)
class Direct:
    """The parts of every query's target, in logits, float64.

    value          (query,)               the target, from the model's own logits
    positions      (query, token)         through attention, by key position, over all layers and heads
    heads          (query, layer, head)   through attention, by head, over all positions
    heads_image    (query, layer, head)   the share of `heads` from image positions
    mlps           (query, layer)         by the MLP's neurons
    embedding      (query,)               the query's own token
    biases         (query, layer)         biases of values and of both output matrices; 0 in most models

        positions.sum + embedding + mlps.sum + biases.sum = value
        heads.sum = positions.sum
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
        """The absolute difference of the parts' sum and the value, in logits, (query,): rounding, or another model."""
        parts = self.positions.sum(1) + self.embedding + self.mlps.sum(1) + self.biases.sum(1)
        missed: NDArray[np.float64] = np.abs(parts - self.value)
        return missed

    @property
    def error(self) -> NDArray[np.float64]:
        """`missed` as a share of the value, (query,); in logits where the value is 0."""
        return self.missed / np.where(self.value == 0, 1.0, np.abs(self.value))


@torch.inference_mode()
def decompose(trace: Trace, target: Target | None = None, tokens: NDArray[np.int64] | None = None) -> Direct:
    """Decompose the target (centred by default) of every query of a trace.

    `tokens` (query,) are the tokens whose logits are decomposed, by default those that follow the queries.
    """
    target = target or Target()
    ids = torch.from_numpy(trace.next_ids if tokens is None else tokens).to(trace.logits.device)
    readout = readouts(trace, target, ids)
    image = torch.from_numpy(trace.layout.role == Role.IMAGE).to(readout.device)
    constants = torch.stack([trace.decoder.constants(layer) for layer in range(trace.decoder.depth)], dim=1)
    positions, heads, heads_image = np.zeros((len(trace.queries), len(trace.ids))), [], []
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
    """The vectors that read the target of the tokens `ids` (query,) from the residual stream; (query, d_model).

        part of the target = readout @ part of the stream

    The last norm's weight and its scale at each query, frozen, are part of the vector.
    """
    model = trace.decoder
    directions = target.directions(model.head.weight, ids)
    weight: Tensor = model.norm.weight
    return directions * weight.float() * model.scale(trace.resid[:, -1])


@torch.inference_mode()
def head_positions(trace: Trace, readout: Tensor, layer: int) -> Tensor:
    """The contribution of each head of a layer to the target, by position; float32, (query, head, token).

    `readout` comes from `readouts`; value biases are not included.
    """
    model = trace.decoder
    by_head = (readout @ model.output_matrix(layer)).unflatten(1, (model.kv_heads, model.heads // model.kv_heads, -1))
    values = torch.einsum("rkgd,ktd->rkgt", by_head, _values(trace, layer)).flatten(1, 2)
    parts = attention(trace, layer) * values
    return pad(parts, (0, len(trace.ids) - parts.shape[-1]))


@torch.inference_mode()
def head_outputs(trace: Trace, layer: int) -> Tensor:
    """The output of each head of a layer at the queries, without value biases; float32, (query, head, d_model)."""
    model = trace.decoder
    weights = attention(trace, layer).unflatten(1, (model.kv_heads, -1))
    mixed = torch.einsum("rkgt,ktd->rkgd", weights, _values(trace, layer)).flatten(1, 2)
    return torch.einsum("rhd,mhd->rhm", mixed, model.output_matrix(layer).unflatten(1, mixed.shape[1:]))


@torch.inference_mode()
def carried(trace: Trace, layer: int, head: int) -> Tensor:
    """The weighted values of one head, before its output matrix; float32, (query, token, d_head).

    Value biases are not included. Tokens that the model has not read are missing.
    """
    values = _values(trace, layer)[head * trace.decoder.kv_heads // trace.decoder.heads]
    return attention(trace, layer)[:, head, :, None] * values


@torch.inference_mode()
def neuron_parts(trace: Trace, readout: Tensor, layer: int) -> Tensor:
    """The contribution of each neuron of a layer's MLP to the target; float32, (query, neuron).

    They sum to the MLP's part in `mlps`; the bias of its last matrix is part of `biases`.
    """
    neurons = trace.decoder.neurons(layer, trace.resid[:, layer] + trace.attn_out[:, layer])
    return neurons.float() * (readout @ trace.decoder.down_matrix(layer))


def _values(trace: Trace, layer: int) -> Tensor:
    """The values at every position, without their bias; float32, (kv_head, token, d_head).

    Raises LapilliError for a trace whose heads put out something else than their weighted sum.
    """
    if trace.heads_changed:
        raise LapilliError("heads were ablated in this trace, which cannot be taken apart; trace without the ablation")
    values, bias = trace.values[layer].float(), trace.decoder.value_bias(layer)
    return values if bias is None else values - bias[:, None]


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.cpu(), np.float64)
