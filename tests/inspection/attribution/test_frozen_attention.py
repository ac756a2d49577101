"""Attention whose weights are held against torch's own backward pass."""

import pytest
import torch
from torch.autograd import grad
from torch.nn.functional import scaled_dot_product_attention

from lapilli.inspection.attribution.frozen_attention import FrozenAttention

TOKENS = 9
_CAUSAL = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
_GIVEN = {
    "all": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
    "looks": {"attn_mask": _CAUSAL},
    "scores": {"attn_mask": torch.zeros(2, 1, TOKENS, TOKENS).masked_fill(~_CAUSAL, -torch.inf)},
}


@pytest.mark.parametrize("given", _GIVEN)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_values_are_followed_as_torch_does(given, kv_heads):
    query, key, value = inputs(kv_heads)
    plain = scaled_dot_product_attention(query, key, value, enable_gqa=kv_heads < 4, **_GIVEN[given])
    with FrozenAttention():
        held = scaled_dot_product_attention(query, key, value, enable_gqa=kv_heads < 4, **_GIVEN[given])
    assert torch.equal(held, plain)
    assert held.grad_fn.name() != plain.grad_fn.name()
    cotangents = torch.randn(3, *plain.shape)
    together = torch.vmap(lambda one: grad(held, value, one, retain_graph=True)[0])(cotangents)
    for found, cotangent in zip(together, cotangents, strict=True):
        torch.testing.assert_close(found, grad(plain, value, cotangent, retain_graph=True)[0])


@pytest.mark.parametrize("followed", ["query", "key", "mask", "nothing", "dropped"])
def test_what_else_is_asked_for_is_torchs_own(followed):
    query, key, value = inputs(4)
    mask = torch.zeros(TOKENS, TOKENS)
    for name, tensor in (("query", query), ("key", key), ("mask", mask)):
        tensor.requires_grad_(name == followed)
    value.requires_grad_(followed != "nothing")
    torch.manual_seed(1)
    plain = scaled_dot_product_attention(query, key, value, mask, dropout_p=0.5 * (followed == "dropped"))
    torch.manual_seed(1)
    with FrozenAttention():
        same = scaled_dot_product_attention(query, key, value, mask, dropout_p=0.5 * (followed == "dropped"))
    assert torch.equal(same, plain)
    for tensor in (tensor for tensor in (query, key, value, mask) if tensor.requires_grad):
        torch.testing.assert_close(
            grad(same.sum(), tensor, retain_graph=True), grad(plain.sum(), tensor, retain_graph=True)
        )


def inputs(kv_heads):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, TOKENS, 8) for heads in (4, kv_heads, kv_heads))
    return query, key, value.requires_grad_()
