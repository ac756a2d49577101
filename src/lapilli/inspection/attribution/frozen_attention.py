"""Attention with frozen weights: a backward pass for the values alone.

The backward pass of fused attention computes the gradients of queries, keys and values together; on a CPU it takes
longer than everything else in a layer. Under the rules of linear.py neither queries nor keys need gradients, and

    gradient(values) = weights^T @ gradient(output)

The weights are computed again head by head, once for all gradients that are followed together: no matrix of tokens by
tokens is stored.
"""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


@final
class FrozenAttention(TorchFunctionMode):
    """A context in which torch's fused attention is the same to the bit, but has gradients for values alone."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls `func`; called by torch alone."""
        return (_attended if func is scaled_dot_product_attention else func)(*args, **(kwargs or {}))


def _attended(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
    followed = torch.is_grad_enabled() and value.requires_grad and query.dim() == 4 and not options.get("dropout_p")
    if not followed or query.requires_grad or key.requires_grad or (attn_mask is not None and attn_mask.requires_grad):
        return scaled_dot_product_attention(query, key, value, attn_mask, **options)
    attended: Tensor = _OfValues.apply(value, query, key, attn_mask, options)  # type: ignore[no-untyped-call]
    return attended


class _OfValues(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> Tensor:
        ctx.save_for_backward(query, key, mask)
        ctx.scale, ctx.causal = options.get("scale"), options.get("is_causal", False)
        return scaled_dot_product_attention(query, key, value, mask, **options)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query: Tensor
        key: Tensor
        query, key, mask = ctx.saved_tensors
        additive = _additive_mask(query, key, mask, ctx.causal)
        (batch, heads), kv_heads = query.shape[:2], key.shape[1]
        none = torch.zeros(())
        owed: list[Tensor] = [
            sum(
                (  # contiguous: of gradients that are followed together, torch then makes one product
                    gradient[sample, head].mT.contiguous()
                    @ _weights(
                        query[sample, head],
                        key[sample, kv],
                        None if additive is None else additive[sample, head],
                        ctx.scale,
                    )
                    for head in range(kv * heads // kv_heads, (kv + 1) * heads // kv_heads)
                ),
                none,
            )
            for sample in range(batch)
            for kv in range(kv_heads)
        ]
        return torch.stack(owed).unflatten(0, (batch, kv_heads)).mT, None, None, None, None


def _additive_mask(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """The mask that is added to scores before the softmax, (batch, head, query, key); None for no mask."""
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, -torch.inf)
    return mask.expand(*query.shape[:-1], key.shape[-2])


def _weights(query: Tensor, key: Tensor, additive: Tensor | None, scale: float | None) -> Tensor:
    """The attention weights of one head, (query, key), computed in single precision at least."""
    exact = torch.promote_types(query.dtype, torch.float32)
    scaled = query.to(exact) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = (
        scaled @ key.to(exact).mT if additive is None else torch.addmm(additive.to(exact), scaled, key.to(exact).mT)
    )
    return scores.softmax(-1).to(query.dtype)
