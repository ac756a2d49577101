"""Sites: what passes each is what a computation by hand gives, and what takes its place goes on."""

import pytest
import torch
from tests.inspection.oracle import PAIRS, SAMPLES, awake, batch_of, own_numbers
from tests.parts import picture
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from lapilli.core.errors import UsageError
from lapilli.inspection.sites import watching

SITES = ["resid_pre", "attn_heads", "attn_out", "mlp_neurons", "mlp_out", "resid_post"]


def _passing(llava, batch):
    """Everything that passes, by site, and the output."""
    seen = {}
    names = [f"llm.layers.{layer}.{site}" for layer in range(2) for site in SITES]
    names += ["vision.layers.0", "vision.layers.1", "projector", "logits"]
    watchers = {name: lambda passing, n=name: seen.update({n: passing}) for name in names}
    with watching(llava.model, watchers), torch.inference_mode():
        output = llava.model(**batch)
    return seen, output


@pytest.mark.parametrize("pair", [*PAIRS, ("siglip", "mha_llama")])
def test_what_passes_each_site_is_what_a_computation_by_hand_gives(pair):
    llava = awake(pair)
    (prompt,), batch = batch_of(llava, SAMPLES[2:3])
    seen, output = _passing(llava, batch)
    model = llava.model.model
    with torch.inference_mode():
        tower = model.vision_tower(batch["pixel_values"], output_hidden_states=True)
        assert torch.equal(seen["vision.layers.0"], tower.hidden_states[1])
        assert torch.equal(seen["vision.layers.1"], tower.hidden_states[2])
        read = tower.hidden_states[-2][:, 1:] if pair[0] == "clip" else tower.hidden_states[-2]
        assert torch.equal(seen["projector"], model.multi_modal_projector(read))
        stream = model.get_input_embeddings()(batch["input_ids"])
        stream[batch["input_ids"] == llava.processor.image_token_id] = seen["projector"].flatten(0, 1)
        for layer in range(2):
            stream = _by_hand(model.language_model, layer, stream, seen)
        logits = llava.model.lm_head(model.language_model.norm(stream))
    torch.testing.assert_close(seen["logits"], logits, rtol=0, atol=1e-5)
    assert torch.equal(seen["logits"], output.logits)
    own = own_numbers(awake(pair, "eager"), prompt.ids, llava.pixels([picture(2), picture(3)]))
    for layer in range(2):
        for site, expected in (("attn_out", own.attn_out), ("mlp_neurons", own.neurons), ("mlp_out", own.mlp_out)):
            found = seen[f"llm.layers.{layer}.{site}"][0].double()
            torch.testing.assert_close(found, torch.from_numpy(expected[layer]), rtol=0, atol=1e-5)


def _by_hand(language, layer, stream, seen):
    """One layer with the modules' weights, holding each site to it; the stream behind it."""
    block = language.layers[layer]
    attention, length = block.self_attn, stream.shape[1]

    def same(site, expected):
        torch.testing.assert_close(seen[f"llm.layers.{layer}.{site}"], expected, rtol=0, atol=1e-5)

    same("resid_pre", stream)
    normed = block.input_layernorm(stream)
    query, key, value = (
        made(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for made in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    cos, sin = language.rotary_emb(stream, torch.arange(length)[None])
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    key, value = (repeat_kv(some, attention.num_key_value_groups) for some in (key, value))
    scores = query @ key.transpose(2, 3) * attention.head_dim**-0.5
    back = torch.arange(length)[:, None] - torch.arange(length)
    window = getattr(language.config, "sliding_window", None) or length
    hidden = (back < 0) | (back >= window)
    heads = (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value).transpose(1, 2).flatten(2)
    same("attn_heads", heads.unflatten(-1, (-1, attention.head_dim)))
    written = attention.o_proj(heads)
    same("attn_out", written)
    stream = stream + written
    mlp, normed = block.mlp, block.post_attention_layernorm(stream)
    neurons = torch.nn.functional.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed)
    same("mlp_neurons", neurons)
    same("mlp_out", mlp.down_proj(neurons))
    stream = stream + mlp.down_proj(neurons)
    same("resid_post", stream)
    return stream


def test_what_a_watcher_returns_goes_on():
    llava = awake(PAIRS[0])
    _, batch = batch_of(llava, SAMPLES[1:2])
    plain, output = _passing(llava, batch)
    changes = {
        "vision.layers.0": "projector",
        "projector": "llm.layers.0.resid_pre",
        "llm.layers.0.resid_pre": "llm.layers.0.attn_heads",
        "llm.layers.0.attn_heads": "llm.layers.0.attn_out",
        "llm.layers.0.attn_out": "llm.layers.0.mlp_neurons",
        "llm.layers.0.mlp_neurons": "llm.layers.0.mlp_out",
        "llm.layers.0.mlp_out": "llm.layers.0.resid_post",
        "llm.layers.0.resid_post": "llm.layers.1.resid_pre",
        "logits": None,
    }
    for site, later in changes.items():
        with watching(llava.model, {site: lambda passing: passing * 0.5}):
            found, changed = _passing(llava, batch)
        assert torch.equal(found[site], plain[site] * 0.5)  # the inner watcher sees what the outer one has put there
        assert not torch.allclose(changed.logits, output.logits)
        assert later is None or not torch.allclose(found[later], plain[later])
    assert torch.equal(_passing(llava, batch)[1].logits, output.logits)


@pytest.mark.parametrize(
    "site", ["llm.layers.2.resid_pre", "llm.layers.0.attn", "vision.layers.9", "head", "llm.layers.-1.mlp_out", ""]
)
def test_an_unknown_site_is_refused_and_leaves_no_hook(site):
    llava = awake(PAIRS[0])
    with (
        pytest.raises(UsageError, match="site"),
        watching(llava.model, {"projector": lambda passing: None, site: lambda passing: None}),
    ):
        pass
    assert not llava.model.model.multi_modal_projector._forward_hooks
