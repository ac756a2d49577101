"""Merged adapters against peft's own merging, on the models that they were trained on."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tests.model.checkpoints.originals import config, original, tensors
from tests.model.checkpoints.test_convert import PAIRS, assert_same_tensors, weights
from tests.parts import joined, part
from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.checkpoint import Choices
from lapilli.model.checkpoints.merge import merge
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.llava import load

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = {
    "plain": {"r": 4, "lora_alpha": 8},
    "rank-stabilised": {"r": 4, "lora_alpha": 8, "use_rslora": True},
    "patterns": {"r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 3}},
}


def trained(model, folder, **settings):
    """An adapter whose B is not zero, saved as peft saves it; and the model with it merged by peft."""
    wrapped = get_peft_model(model, LoraConfig(**settings))
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    return wrapped


def merged(folder, base, out, **choices):
    write_checkpoint(merge(folder, base, Choices(**choices)), out)
    return out


@pytest.mark.parity
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("pair", PAIRS[:2])
def test_an_adapter_of_a_llava(tmp_path, pair, settings):
    """Language model and vision encoder, trained by peft on transformers' class."""
    base = joined(*pair)
    adapted = [*LINEARS, "out_proj", "fc1"]
    trained(load(base).model, tmp_path / "lora", target_modules=adapted, **settings)
    out = merged(tmp_path / "lora", base, tmp_path / "out")
    theirs = PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), tmp_path / "lora")
    theirs = theirs.merge_and_unload().state_dict()
    ours, before = load(out).model.state_dict(), load(base).model.state_dict()
    assert sorted(ours) == sorted(theirs)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-6
    changed = {name for name in ours if not torch.equal(ours[name], before[name])}
    assert changed == {name for name in ours if name.endswith(tuple(f"{module}.weight" for module in adapted))}
    assert load(out).card.notes[-1] == "adapter merged: lora"


@pytest.mark.parity
def test_modules_saved_whole_take_the_place_of_the_base_s(tmp_path):
    base = joined("clip", "llama")
    wrapped = get_peft_model(
        load(base).model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["multi_modal_projector"])
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(1)
    wrapped.save_pretrained(tmp_path / "lora")
    ours = load(merged(tmp_path / "lora", base, tmp_path / "out")).model.model.multi_modal_projector
    before = load(base).model.model.multi_modal_projector
    assert torch.equal(ours.linear_1.weight, before.linear_1.weight + 1)
    assert torch.equal(ours.linear_2.bias, before.linear_2.bias + 1)


@pytest.mark.parity
@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
@pytest.mark.parametrize("pair", PAIRS[:2])
def test_what_llavas_own_trainer_leaves(tmp_path, pair, prefix):
    """An adapter of the language model, the projector in a file of its own, and a config.json; merged, all is there."""
    vision, language = pair
    folder = tmp_path / "lora"
    alone = AutoModelForCausalLM.from_pretrained(part(language))
    wrapped = trained(alone, folder, r=4, lora_alpha=8, target_modules=LINEARS)
    settings = config(vision, language, "mlp2x_gelu")
    (folder / "config.json").write_text(json.dumps(settings))
    everything = tensors(vision, language, "mlp2x_gelu")
    projector = {name: tensor for name, tensor in everything.items() if "mm_projector" in name}
    torch.save({prefix + name: tensor for name, tensor in projector.items()}, folder / "non_lora_trainables.bin")
    template = "chatml" if language == "qwen2" else "vicuna_v1"
    out = merged(folder, part(language), tmp_path / "out", template=template, vision=part(vision))
    write_checkpoint(merge(folder, part(language), Choices(template, part(vision))), tmp_path / "own", "original")
    ours, theirs = weights(tmp_path / "own"), wrapped.merge_and_unload().state_dict()
    for name, tensor in ours.items():
        reference = projector.get(name, theirs.get(name, everything.get(name)))
        assert float((tensor - reference).abs().max()) < 1e-6, name
    assert set(ours) == set(everything)
    assert load(out).card.connector == "mlp2x_gelu"


@pytest.mark.parity
def test_an_adapter_on_an_original_llava(tmp_path):
    """By its own names, for what was trained on a LLaVA of its own code with peft."""
    base = original(tmp_path / "original")
    alone = AutoModelForCausalLM.from_pretrained(part("llama"))
    wrapped = trained(alone, tmp_path / "lora", r=4, lora_alpha=8, target_modules=["q_proj"])
    found = merge(tmp_path / "lora", base, Choices("vicuna_v1"))
    name = "layers.0.self_attn.q_proj.weight"
    theirs = wrapped.merge_and_unload().state_dict()["model." + name]
    ours = found.tensors["language_model.model." + name].read()
    assert float((ours - theirs).abs().max()) < 1e-6
    untouched = "language_model.model.layers.0.self_attn.k_proj.weight"
    assert torch.equal(found.tensors[untouched].read(), weights(base)["model.layers.0.self_attn.k_proj.weight"])


def test_half_precision_is_rounded_once(tmp_path):
    base = original(tmp_path / "original", dtype=torch.bfloat16)
    alone = AutoModelForCausalLM.from_pretrained(part("llama"))
    trained(alone, tmp_path / "lora", r=4, lora_alpha=8, target_modules=["q_proj"])
    found = merge(tmp_path / "lora", base, Choices("vicuna_v1"))
    ours = found.tensors["language_model.model.layers.0.self_attn.q_proj.weight"].read()
    held = load_file(tmp_path / "lora/adapter_model.safetensors")
    down, up = (held[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"] for side in "AB")
    exact = weights(base)["model.layers.0.self_attn.q_proj.weight"].double() + 2 * (up.double() @ down.double())
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, exact.bfloat16())


def test_an_adapter_that_changes_nothing_gives_the_base(tmp_path):
    base = joined("clip", "llama")
    get_peft_model(load(base).model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    assert_same_tensors(weights(merged(tmp_path / "lora", base, tmp_path / "out")), weights(base))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "an adapter of kind 'IA3'; only LORA is merged here"),
        ({"use_dora": True}, "use_dora is True, which .*q_proj.weight contradicts"),
        ({"fan_in_fan_out": True}, "its fan_in_fan_out is True"),
    ],
)
def test_other_kinds_are_refused(tmp_path, change, message):
    base = joined("clip", "llama")
    get_peft_model(load(base).model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path / "lora")
    file = tmp_path / "lora/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(LapilliError, match=message):
        merge(tmp_path / "lora", base)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_first_is_refused(tmp_path, start):
    """Its A and B are the change from weights that are nowhere: merged into the base, they would be wrong."""
    wrapped = get_peft_model(
        load(joined("clip", "llama")).model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=start)
    )
    wrapped.save_pretrained(tmp_path / "lora")
    with pytest.raises(LapilliError, match=f"its init_lora_weights, '{start}', changed the base before training"):
        merge(tmp_path / "lora", joined("clip", "llama"))


@pytest.mark.parity
def test_biases_that_were_trained_are_taken_over(tmp_path):
    base = joined("siglip", "qwen2")
    wrapped = trained(load(base).model, tmp_path / "lora", r=2, target_modules=["q_proj"], bias="lora_only")
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if name.endswith("q_proj.base_layer.bias"):
                parameter.add_(1)
    wrapped.save_pretrained(tmp_path / "lora")
    ours = load(merged(tmp_path / "lora", base, tmp_path / "out")).model.state_dict()
    theirs = wrapped.merge_and_unload().state_dict()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-6


def test_the_wrong_base_is_said(tmp_path):
    get_peft_model(load(joined("clip", "llama")).model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(
        tmp_path / "lora"
    )
    with pytest.raises(LapilliError, match=r"q_proj\.weight.* of another shape than in the base"):
        merge(tmp_path / "lora", joined("siglip", "qwen2"))
    with pytest.raises(LapilliError, match=r"lora does not say what to make of it; give the adapter's LLaVA"):
        merge(tmp_path / "lora", part("llama"))
