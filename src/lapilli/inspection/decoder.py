"""The parts of a language model that inspection reads: those of LLaMA, which Vicuna, Mistral and Qwen2 share."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions
from lapilli.model.upstream import rotated

_EXACT, _ROUNDED = 1e-5, 0.02  # shares of the largest entry that sums may be off, in single and in half precision
_BLOCK = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "scaling", "head_dim")
_MLP = ("gate_proj", "up_proj", "down_proj", "act_fn")


@dataclass(frozen=True)
class Decoder:
    """The language model's own modules. `blocks` are its layers, `norm` the last norm, `head` makes the logits."""

    blocks: Any
    norm: Any
    head: Any
    config: Any

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.blocks)

    @property
    def heads(self) -> int:
        """The number of attention heads of a layer; there may be fewer heads of keys and values."""
        return int(self.config.num_attention_heads)

    @property
    def kv_heads(self) -> int:
        """The number of heads that keys and values have."""
        return int(self.config.num_key_value_heads)

    def window(self, layer: int) -> int | None:
        """The width of this layer's sliding window in positions, the query's own included; None for no window."""
        attention = self.blocks[layer].self_attn
        own = hasattr(attention, "sliding_window")
        width: int | None = attention.sliding_window if own else getattr(self.config, "sliding_window", None)
        return width

    def visible(self, layer: int, queries: Positions, tokens: int) -> Tensor:
        """Which of `tokens` positions each query may attend to, by causality and the layer's window; (query, token)."""
        back = torch.from_numpy(queries)[:, None] - torch.arange(tokens)
        window = self.window(layer)
        return (back >= 0) & (back < window) if window else back >= 0

    def query_vectors(self, layer: int, residual: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """The query vectors of residuals before this layer, (query, d_model); float32, (query, head, d_head).

        `rotary` are the cosines and sines of the queries' positions, (query, d_head) each.
        """
        block = self.blocks[layer]
        attention = block.self_attn
        query_vectors = attention.q_proj(block.input_layernorm(residual)).unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, "q_norm"):
            query_vectors = attention.q_norm(query_vectors)
        return rotated(query_vectors, rotary).float()

    def keys_values(self, layer: int, residual: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A layer's rotated keys, and values, of residuals (batch, token, d_model); (batch, kv_head, token, d_head).

        `rotary` are the cosines and sines of their positions, (1, token, d_head) each.
        """
        block = self.blocks[layer]
        attention, normed = block.self_attn, block.input_layernorm(residual)
        keys, values = (
            part(normed).unflatten(-1, (-1, attention.head_dim)) for part in (attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "k_norm"):
            keys = attention.k_norm(keys)
        keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        return rotated(keys, rotary), values

    def output_matrix(self, layer: int) -> Tensor:
        """The attention's output matrix; float32, (d_model, head * d_head)."""
        weight: Tensor = self.blocks[layer].self_attn.o_proj.weight
        return weight.float()

    def down_matrix(self, layer: int) -> Tensor:
        """The MLP's output matrix; float32, (d_model, neuron)."""
        weight: Tensor = self.blocks[layer].mlp.down_proj.weight
        return weight.float()

    def value_bias(self, layer: int) -> Tensor | None:
        """The bias of a layer's values; float32, (kv_head, d_head), or None."""
        bias: Tensor | None = self.blocks[layer].self_attn.v_proj.bias
        return None if bias is None else bias.float().unflatten(0, (self.kv_heads, -1))

    def constants(self, layer: int) -> Tensor:
        """The constants that a layer's attention and its MLP add to every position; float32, (2, d_model), mostly 0.

        A head's weights sum to 1, so its value bias passes the output matrix once. A bias inside the MLP is not
        constant: its effect depends on the neuron.
        """
        block = self.blocks[layer]
        attention, mlp = (
            torch.zeros_like(part.weight[:, 0], dtype=torch.float32) if part.bias is None else part.bias.float()
            for part in (block.self_attn.o_proj, block.mlp.down_proj)
        )
        values = self.value_bias(layer)
        if values is not None:
            shared = values.repeat_interleave(self.heads // self.kv_heads, 0)
            attention = attention + self.output_matrix(layer) @ shared.flatten()
        return torch.stack([attention, mlp])

    def neurons(self, layer: int, residual: Tensor) -> Tensor:
        """The activations of the MLP's neurons for residuals before the MLP, (query, d_model); (query, neuron)."""
        block = self.blocks[layer]
        normed = block.post_attention_layernorm(residual)
        activations: Tensor = block.mlp.act_fn(block.mlp.gate_proj(normed)) * block.mlp.up_proj(normed)
        return activations

    def scale(self, residual: Tensor) -> Tensor:
        """The factor by which the last norm scales residuals (..., d_model); float32, (..., 1)."""
        return torch.rsqrt(residual.float().pow(2).mean(-1, keepdim=True) + self.norm.variance_epsilon)


def decoder(model: Any) -> Decoder:
    """The language model inside a LLaVA.

    Raises LapilliError for a model that is not built like LLaMA, is quantised, or lies on several devices.
    """
    language = model.model.language_model
    if not _is_known(language):
        name = type(language).__name__
        raise LapilliError(f"{name}: only language models built like LLaMA (Vicuna, Mistral, Qwen2) can be looked into")
    if getattr(model, "is_quantized", False):
        raise LapilliError("the model's weights are quantised; load it without bits to look into it")
    if len(set(getattr(model, "hf_device_map", {}).values())) > 1:
        raise LapilliError("the model is spread over several devices; put it on one to look into it")
    return Decoder(language.layers, language.norm, model.lm_head, language.config)


def require_sums(resid: Tensor, attn_out: Tensor, mlp_out: Tensor) -> None:
    """Raise LapilliError unless every layer adds its attention's and its MLP's output to the stream, as in LLaMA.

    `resid` is (query, layer + 1, d_model), the others are (query, layer, d_model).
    """
    added = resid[:, :-1].float() + attn_out.float() + mlp_out.float()
    missed = float((added - resid[:, 1:].float()).abs().max() / added.abs().max())
    if not missed <= (_EXACT if resid.dtype == torch.float32 else _ROUNDED):
        raise LapilliError(
            f"the layers of this language model do not add up, by {missed:.1e}: it is not built like LLaMA"
        )


def _is_known(language: Any) -> bool:
    if not hasattr(language, "layers") or not hasattr(getattr(language, "norm", None), "variance_epsilon"):
        return False
    block = language.layers[0]
    if not all(hasattr(block, name) for name in _BLOCK):
        return False
    parts = [(block.self_attn, name) for name in _ATTENTION] + [(block.mlp, name) for name in _MLP]
    return all(hasattr(module, name) for module, name in parts)
