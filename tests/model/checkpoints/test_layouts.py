"""Layouts against what transformers has in memory and writes, and against names of the released checkpoints."""

import pytest
import torch
from safetensors import safe_open
from tests.parts import joined
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.layouts import layouts, recognised
from lapilli.model.llava import load

CONNECTORS = ["linear", "mlp2x_gelu", "mlp3x_gelu"]
PAIRS = [("clip", "llama"), ("siglip", "qwen2")]


@pytest.fixture(scope="module")
def seven_billion():
    """The names that LLaVA-1.5 7B has in memory."""
    vision = CLIPVisionConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, patch_size=14)
    text = LlamaConfig(vocab_size=32064, num_hidden_layers=32)
    with torch.device("meta"):
        return list(LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text)).state_dict())


def test_the_original_names_of_seven_billion_are_the_released_ones(seven_billion):
    """686 tensors, as many as the index of liuhaotian/llava-v1.5-7b and of llava-hf/llava-1.5-7b-hf has."""
    found, original = layouts("mlp2x_gelu"), layouts("mlp2x_gelu")["original"]
    names = {original.from_hf(found["memory"].to_hf(name)) for name in seven_billion}
    assert len(names) == len(seven_billion) == 686
    vision = "model.vision_tower.vision_tower.vision_model."
    assert {
        "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight", "model.layers.31.mlp.down_proj.weight",
        "model.mm_projector.0.weight", "model.mm_projector.0.bias", "model.mm_projector.2.weight",
        vision + "embeddings.class_embedding", vision + "embeddings.patch_embedding.weight",
        vision + "pre_layrnorm.weight", vision + "encoder.layers.23.self_attn.q_proj.bias",
        vision + "post_layernorm.bias",
    } <= names  # fmt: skip


def test_the_names_on_the_hub(seven_billion):
    names = {layouts("mlp2x_gelu")["memory"].to_hf(name) for name in seven_billion}
    assert {
        "language_model.lm_head.weight", "language_model.model.layers.0.self_attn.q_proj.weight",
        "multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_2.bias",
        "vision_tower.vision_model.embeddings.position_embedding.weight",
    } <= names  # fmt: skip


@pytest.mark.parametrize("connector", CONNECTORS[:2])  # plain transformers has no deeper ones
@pytest.mark.parametrize("pair", PAIRS)
def test_what_transformers_has_and_writes_is_recognised(pair, connector):
    folder = joined(*pair, connector)
    assert recognised(load(folder).model.state_dict(), connector).name == "memory"
    with safe_open(folder / "model.safetensors", "np") as file:
        assert recognised(file.keys(), connector).name == "hf"


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_name_comes_back_through_every_layout(pair, connector):
    found = layouts(connector)
    in_memory = list(load(joined(*pair, connector)).model.state_dict())
    hub = [found["memory"].to_hf(name) for name in in_memory]
    for layout in found.values():
        kept = [name for name in hub if not (layout.name == "original" and _identity(name, connector))]
        there = [layout.from_hf(name) for name in kept]
        assert len(set(there)) == len(there)
        assert [layout.to_hf(name) for name in there] == kept
        assert recognised(there, connector).name == layout.name


def _identity(name, connector):
    """The second layer of a linear connector, which LLaVA's own code has not."""
    return connector == "linear" and "linear_2" in name


def test_plain_transformers_reads_them_all(tmp_path):
    """Under the names of the hub and of 4.52 it loads the same weights that it has under its own."""
    from safetensors.torch import save_file

    folder = joined("clip", "llama")
    llava, found = load(folder), layouts("mlp2x_gelu")
    for name in ("hf", "nested"):
        out = tmp_path / name
        llava.model.config.save_pretrained(out)
        weights = {found["memory"].to_hf(key): value for key, value in llava.model.state_dict().items()}
        named = {found[name].from_hf(key): value.contiguous() for key, value in weights.items()}
        save_file(named, out / "model.safetensors", metadata={"format": "pt"})
        again, report = LlavaForConditionalGeneration.from_pretrained(out, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        state = again.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in llava.model.state_dict().items())


def test_a_strange_tensor_is_listed():
    names = ["model.mm_projector.0.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight", "optimizer.step"]
    with pytest.raises(LapilliError, match=r"original comes nearest, without optimizer\.step"):
        recognised(names, "mlp2x_gelu")


def test_many_strange_tensors_are_counted():
    with pytest.raises(LapilliError, match=r"t\.7 and 12 more; fetch it again$"):
        recognised([f"t.{index}" for index in range(20)] + ["lm_head.weight"], "linear")
