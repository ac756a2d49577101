"""The names that vLLM's LLaVA looks for.

It renames what a checkpoint begins with, so that both transformers' layouts of before 5 lead to the modules of its own
classes, and loads queries, keys and values, and gate and up, into one matrix each. Written down from
vllm/model_executor/models/{llava,clip,siglip,llama,qwen2}.py; vLLM itself needs an environment of its own.
"""

import re

import pytest
from safetensors import safe_open
from tests.parts import joined
from transformers import AutoModelForImageTextToText

from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint

RENAMED = {
    "model.language_model.": "language_model.model.",
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "lm_head.": "language_model.lm_head.",
}
PACKED = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj",
          "up_proj": "gate_up_proj"}  # fmt: skip

MODULES = re.compile(
    r"""vision_tower\.vision_model\.(
            embeddings\.(class_embedding | (patch_embedding | position_embedding)\.(weight | bias))
          | (pre_layrnorm | post_layernorm)\.(weight | bias)
          | encoder\.layers\.\d+\.(self_attn\.(qkv_proj | out_proj) | mlp\.fc[12] | layer_norm[12])\.(weight | bias)
          | head\..+)
      | multi_modal_projector\.linear_[12]\.(weight | bias)
      | language_model\.(
            lm_head\.weight
          | model\.(embed_tokens | norm)\.weight
          | model\.layers\.\d+\.(self_attn\.(qkv_proj | o_proj)\.(weight | bias)
              | (mlp\.(gate_up_proj | down_proj) | input_layernorm | post_attention_layernorm)\.weight))""",
    re.VERBOSE,
)


def homeless(folder):
    """The tensors of a folder that end at no module of vLLM's."""
    names = [name for file in folder.glob("*.safetensors") for name in safe_open(file, "pt").keys()]  # noqa: SIM118
    assert names
    return [name for name in names if not MODULES.fullmatch(in_vllm(name))]


def in_vllm(name):
    start = next((old for old in RENAMED if name.startswith(old)), "")
    renamed = RENAMED.get(start, "") + name.removeprefix(start)
    return ".".join(PACKED.get(part, part) for part in renamed.split("."))


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("pair", [("clip", "llama"), ("clip", "tied_llama"), ("siglip", "qwen2")])
def test_every_tensor_of_ours_has_a_module(pair, connector, tmp_path):
    """As saved, and converted to what transformers 4.52 wrote."""
    path = joined(*pair, connector)
    assert homeless(path) == []
    write_checkpoint(read_checkpoint(path), tmp_path / "nested", "nested")
    assert homeless(tmp_path / "nested") == []


def test_the_encoder_that_transformers_5_saves_of_a_model_made_in_memory_has_none(tmp_path):
    """Its own save_pretrained leaves vision_model out, which is why the names are written here."""
    loaded = AutoModelForImageTextToText.from_pretrained(joined("clip", "llama"))
    made = type(loaded)(loaded.config)
    made.save_pretrained(tmp_path)
    encoder = [name for name in made.state_dict() if name.startswith("model.vision_tower.")]
    assert sorted("model." + name for name in homeless(tmp_path)) == sorted(encoder)
