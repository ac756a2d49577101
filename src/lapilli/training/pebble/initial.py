"""The initial weights of pebble-lm: its heads attend to the tokens just before, and to equal tokens, from the start.

To look a fact up, a transformer needs heads that attend to the tokens just before and, in later layers, heads that
attend to an equal token: induction heads (Olsson et al., In-context Learning and Induction Heads, arXiv 2209.11895;
the first layer's resemble their smeared keys). Training finds both late, and by luck: with the first kind initialised,
one seed of three learned both "the red ... is a circle" and "the circle is ... red" from lists; with both kinds, all
did, within 100 steps. Only the attention is initialised so, not what the model says. A Llama needs no change for it:
rotary embeddings make the score of a constant query and a constant key depend on their distance alone.
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
class PreviousTokenHead:
    """A head of the first layer that attends to the token `distance` positions before.

    The rotary frequencies in range(first, last) each add `sharpness` to the score before it is scaled. The high ones
    tell neighbours apart; without them the head attends to a window.
    """

    distance: int
    first: int
    last: int
    sharpness: float


PREVIOUS_TOKEN_HEADS = (
    PreviousTokenHead(1, 0, 7, 41.0),
    PreviousTokenHead(2, 0, 7, 41.0),
    PreviousTokenHead(3, 0, 7, 41.0),
    PreviousTokenHead(4, 2, 6, 8.0),
)
"""The heads of the first layer; the last one attends to the eight tokens around the fourth before."""


def with_first_weights(config: LlamaConfig) -> LlamaForCausalLM:
    """Return a Llama with random weights but for its attention; it must have as many heads as PREVIOUS_TOKEN_HEADS.

    The first half of the residual stream holds the token's own embedding. The second half holds a vector that all
    tokens share, by which the first layer's heads tell distances; they write the previous token into its first half and
    those a little further back into its second.

    In all later layers the four heads of token t, with s the token before it, attend to
        1  a token after one that equals t
        2  a token that equals s
        3  a token after one that equals s
        4  in the first of every two layers, a token that equals t, which is how to count; in the second, a token after
           one that equals those further back
    and add nothing to the residual stream at first, nor do their MLPs.
    """
    model = LlamaForCausalLM(config)
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = model.model.embed_tokens.weight
        # Equally long, or the norm would scale the shared vector differently for some, and the heads would see it.
        embeddings.copy_(math.sqrt(width) * normalize(torch.randn(len(embeddings), width // 2)).repeat(1, 2))
        embeddings[:, width // 2 :] = torch.randn(width - width // 2)
        token = torch.zeros(size, width)
        token[:, : width // 2] = torch.linalg.qr(torch.randn(width // 2, size))[0].T
        _set_previous_token_heads(model.model.layers[0].self_attn, embeddings, token, config)
        for number, layer in enumerate(model.model.layers[1:]):
            _set_matching_heads(layer.self_attn, token, counts=number % 2 == 0)
    return model


def _set_matching_heads(attention: Any, token: Tensor, counts: bool) -> None:
    """Set the heads of a later layer to attend to equal tokens; `token`, (d_head, d_model), reads the embedding."""
    size, width = token.shape
    before, behind = torch.eye(width)[width // 2 :].view(2, size, width)
    fourth = (token, token) if counts else (behind, behind)
    for head, (query, key) in enumerate(((token, before), (before, token), (before, before), fourth)):
        rows = slice(head * size, (head + 1) * size)
        attention.q_proj.weight[rows] = query
        attention.k_proj.weight[rows] = key


def _set_previous_token_heads(attention: Any, embeddings: Tensor, token: Tensor, config: LlamaConfig) -> None:
    """Set the heads of the first layer; each adds what `token`, (d_head, d_model), reads where it attends."""
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    shared = torch.cat((torch.zeros(width // 2), embeddings[0, width // 2 :]))
    along = float(shared.square().sum() / embeddings.square().mean().sqrt())  # of a normalised token, times its length
    for number, head in enumerate(PREVIOUS_TOKEN_HEADS):
        rows = slice(number * size, (number + 1) * size)
        query, key = _query_and_key(head, size, config)
        attention.q_proj.weight[rows] = torch.outer(query, shared) / along
        attention.k_proj.weight[rows] = torch.outer(key, shared) / along
        attention.v_proj.weight[rows] = token
        start = width // 2 + (size if number else 0)
        rotation = torch.linalg.qr(torch.randn(size, size))[0] if number else torch.eye(size)
        attention.o_proj.weight[start : start + size, rows] = rotation


def _query_and_key(head: PreviousTokenHead, size: int, config: LlamaConfig) -> tuple[Tensor, Tensor]:
    """Return a constant query and key, (size,) each, whose rotated score is largest `head.distance` tokens apart."""
    pairs = torch.arange(size // 2)
    theta: Any = config.rope_parameters
    angles = head.distance * theta["rope_theta"] ** (-2.0 * pairs / size)
    loud = math.sqrt(head.sharpness) * ((pairs >= head.first) & (pairs < head.last)).float()
    return torch.cat((loud, 0 * loud)), torch.cat((loud * angles.cos(), loud * angles.sin()))
