"""The first weights of pebble-lm: what a token is, what stood before it, and where else it stands are at hand.

To look a fact up, a transformer needs heads that look at the tokens just before, and behind them heads that find an
equal token. Both come late when they have to be found, and whether they do is a matter of luck: given the first kind
alone, one draw of the embeddings of three learned both "the red ... is a circle" and "the circle is ... red" from
lists; given both kinds, all did, within 100 steps. (The first layer's are a little like the smeared keys of
Olsson et al., In-context Learning and Induction Heads, arXiv 2209.11895.) Only what is looked at is given, nothing of
what is said. A Llama can begin so without any change: rotary embeddings turn a constant query and a constant key into
a distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Look:
    """A head of the first layer that looks back by `distance` tokens.

    The rotary frequencies from `first` up to, not with, `last` each add `sharpness` to the score before it is scaled:
    high ones tell neighbours apart, without them the head takes in a window.
    """

    distance: int
    first: int
    last: int
    sharpness: float


LOOKS = (Look(1, 0, 7, 41.0), Look(2, 0, 7, 41.0), Look(3, 0, 7, 41.0), Look(4, 2, 6, 8.0))
"""The last one takes in the eight tokens around the fourth before."""


def with_first_weights(config: LlamaConfig) -> LlamaForCausalLM:
    """A Llama with random weights, but for what its heads look at; it must have as many as there are LOOKS.

    Half of the residual stream begins with what the token is. The other half holds what all tokens share, by which the
    first layer's heads tell distances, and gets from them what stood before: the token just before in one half of
    it, those a little further back in the other. In all later layers four heads look for equal tokens: for one that
    comes after an equal of mine, for an equal of the one before me, for one that comes after an equal of the one before
    me; the fourth, layer by layer in turn, for equals of mine, which is how to count, and for what comes after an equal
    of those further back. Layers but the first begin by adding nothing.
    """
    model = LlamaForCausalLM(config)
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = model.model.embed_tokens.weight
        # Equally long, or the norm would make what they share louder in some, and the first heads would go by that.
        embeddings.copy_(math.sqrt(width) * normalize(torch.randn(len(embeddings), width // 2)).repeat(1, 2))
        embeddings[:, width // 2 :] = torch.randn(width - width // 2)
        token = torch.zeros(size, width)
        token[:, : width // 2] = torch.linalg.qr(torch.randn(width // 2, size))[0].T
        _look_back(model.model.layers[0].self_attn, embeddings, token, config)
        for number, layer in enumerate(model.model.layers[1:]):
            _match(layer.self_attn, token, counts=number % 2 == 0)
    return model


def _match(attention: Any, token: Tensor, counts: bool) -> None:
    """Set the heads of a later layer to look for equals; `token`, (d_head, d_model), reads what a token is."""
    size, width = token.shape
    before, behind = torch.eye(width)[width // 2 :].view(2, size, width)
    fourth = (token, token) if counts else (behind, behind)
    for head, (query, key) in enumerate(((token, before), (before, token), (before, before), fourth)):
        rows = slice(head * size, (head + 1) * size)
        attention.q_proj.weight[rows] = query
        attention.k_proj.weight[rows] = key


def _look_back(attention: Any, embeddings: Tensor, token: Tensor, config: LlamaConfig) -> None:
    """Set the heads of the first layer to LOOKS; each adds what `token`, (d_head, d_model), reads where it looks."""
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    shared = torch.cat((torch.zeros(width // 2), embeddings[0, width // 2 :]))
    along = float(shared.square().sum() / embeddings.square().mean().sqrt())  # of a token once normed, times its length
    for head, look in enumerate(LOOKS):
        rows = slice(head * size, (head + 1) * size)
        query, key = _turned(look, size, config)
        attention.q_proj.weight[rows] = torch.outer(query, shared) / along
        attention.k_proj.weight[rows] = torch.outer(key, shared) / along
        attention.v_proj.weight[rows] = token
        start = width // 2 + (size if head else 0)
        turned = torch.linalg.qr(torch.randn(size, size))[0] if head else torch.eye(size)
        attention.o_proj.weight[start : start + size, rows] = turned


def _turned(look: Look, size: int, config: LlamaConfig) -> tuple[Tensor, Tensor]:
    """A constant query and key, (size,) each, whose score, once rotated, is largest `look.distance` tokens apart."""
    pairs = torch.arange(size // 2)
    theta: Any = config.rope_parameters
    angles = look.distance * theta["rope_theta"] ** (-2.0 * pairs / size)
    loud = math.sqrt(look.sharpness) * ((pairs >= look.first) & (pairs < look.last)).float()
    return torch.cat((loud, 0 * loud)), torch.cat((loud * angles.cos(), loud * angles.sin()))
