"""Which language models can be looked into, and what is said of the others."""

from types import SimpleNamespace

import pytest
import torch
from tests.parts import joined
from transformers import GPTNeoXConfig, GPTNeoXModel

from lapilli.core.errors import LapilliError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.decoder import decoder, require_sums
from lapilli.inspection.recording import recording, traced
from lapilli.model.llava import load
from lapilli.model.upstream import cache_in


def test_a_language_model_that_is_built_otherwise_is_refused_by_name():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    other = GPTNeoXModel(GPTNeoXConfig(**sizes, vocab_size=32))
    model = SimpleNamespace(model=SimpleNamespace(language_model=other), lm_head=None)
    with pytest.raises(LapilliError, match="GPTNeoXModel: only language models built like LLaMA"):
        decoder(model)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [("is_quantized", True, "load it without bits"), ("hf_device_map", {"a": 0, "b": 1}, "put it on one")],
)
def test_weights_that_cannot_be_read_are_refused_before_anything_is_run(attribute, value, message):
    llava = load(joined("clip", "llama"))
    setattr(llava.model, attribute, value)
    with pytest.raises(LapilliError, match=message), recording(llava):
        raise AssertionError("recorded")
    assert not llava.model.lm_head._forward_hooks


def test_queries_are_those_that_the_models_own_attention_gets():
    """Caught on their way into sdpa, of a model with biases and grouped heads."""
    llava = load(joined("siglip", "qwen2"))
    language = llava.model.model.language_model
    caught = []
    original = torch.nn.functional.scaled_dot_product_attention

    def catch(query, *arguments, **named):
        caught.append(query)
        return original(query, *arguments, **named)

    stream = torch.randn(1, 7, 48, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.scaled_dot_product_attention = catch
    try:
        with torch.inference_mode():
            language(inputs_embeds=stream)
    finally:
        torch.nn.functional.scaled_dot_product_attention = original
    cos, sin = language.rotary_emb(stream, torch.arange(7)[None])
    with torch.inference_mode():
        query = decoder(llava.model).query_vectors(0, stream[0], (cos[0], sin[0]))
    torch.testing.assert_close(query.transpose(0, 1)[None], caught[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral"])
def test_keys_and_values_are_those_of_the_models_own_cache(name):
    language = load(joined("clip", name)).model.model.language_model
    stream = torch.randn(2, 7, language.config.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cache = cache_in(language(inputs_embeds=stream, use_cache=True).values())
        rotary = language.rotary_emb(stream, torch.arange(7)[None])
        model = SimpleNamespace(model=SimpleNamespace(language_model=language), lm_head=None)
        keys, values = decoder(model).keys_values(0, stream, rotary)
    torch.testing.assert_close(keys, cache.layers[0].keys, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(values, cache.layers[0].values, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_that_add_otherwise_are_refused(dtype):
    """As Granite's, which scales what it adds: here by a hook on a layer, behind what is recorded."""
    llava = load(joined("clip", "llama"))
    llava.model.to(dtype)
    encoded = encode(Sample("q", (), (Turn("user", "What is it?"), Turn("assistant", "red"))), llava.codec)
    trace = traced(llava, encoded)
    require_sums(trace.resid, trace.attn_out, trace.mlp_out)
    block = llava.model.model.language_model.layers[1]
    block.register_forward_hook(lambda module, given, output: given[0] + 0.5 * (output - given[0]))
    scaled = traced(llava, encoded)
    with pytest.raises(LapilliError, match="do not add up"):
        require_sums(scaled.resid, scaled.attn_out, scaled.mlp_out)
