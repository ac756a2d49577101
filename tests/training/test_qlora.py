"""QLoRA: updates of a language model whose frozen matrices have 4 bits, by bitsandbytes' own arithmetic on the CPU."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.lessons import recipe
from tests.parts import joined
from transformers import LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.recipe import read_recipe
from lapilli.model import placement
from lapilli.model.llava import load
from lapilli.model.reading import quiet
from lapilli.training.loop import train
from lapilli.training.recipe import TrainRecipe
from lapilli.training.tuning import LlmTuning, Lora

LORA = {"llm": LlmTuning(mode="lora")}


@pytest.fixture
def on_cpu(monkeypatch):
    """bitsandbytes computes 4 bits on a CPU too, slowly; for users a GPU is asked for."""
    pytest.importorskip("bitsandbytes", reason="no bitsandbytes; it comes with the quant extra")
    monkeypatch.setattr(placement, "_require_quantiser", lambda bits, device: None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_updates_learn_on_four_bits_and_go_onto_the_whole_base(tmp_path, on_cpu, precision):
    whole = train(recipe(tmp_path / "whole", lora=Lora(4), epochs=4.0, precision=precision, **LORA), progress=False)
    run = train(recipe(tmp_path, lora=Lora(4, bits=4), epochs=4.0, precision=precision, **LORA), progress=False)
    losses, others = ([line["loss"] for line in one.metrics()] for one in (run, whole))
    assert losses[0] != others[0] and losses[0] == pytest.approx(others[0], rel=0.05)  # rounded, and no more
    assert losses[-1] < 0.8 * losses[0]
    assert run.load("start")["parts"] == whole.load("start")["parts"]
    adapter = load_file(run.path / "model/adapter_model.safetensors")
    assert all("lora_" in name or "projector" in name for name in adapter)
    assert "quantization_config" not in (run.path / "model/config.json").read_text()
    ours = load(run.path / "model")
    with quiet():
        base = LlavaForConditionalGeneration.from_pretrained(joined("clip", "llama"))
        plain = PeftModel.from_pretrained(base, run.path / "model").eval()
    ids = torch.arange(3, 30)[None]
    with torch.inference_mode():
        logits = [model(input_ids=ids).logits for model in (ours.model, plain)]
    assert float((logits[0] - logits[1]).abs().max()) < 1e-5 * float(logits[0].abs().max())


def test_it_resumes_bit_for_bit(tmp_path, on_cpu):
    def die(_):
        raise KeyboardInterrupt

    wanted = recipe(tmp_path, lora=Lora(2, bits=4), epochs=2.0, save_every=2, **LORA)
    with pytest.raises(KeyboardInterrupt):
        train(wanted, on_eval=die, progress=False)
    resumed = train(wanted, resume=True, progress=False)
    straight = train(recipe(tmp_path / "straight", lora=Lora(2, bits=4), epochs=2.0, **LORA), progress=False)
    one, other = (load_file(run.path / "model/adapter_model.safetensors") for run in (resumed, straight))
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="no machine without a CUDA GPU")
def test_without_a_gpu_it_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(LapilliError, match="bits 4: bitsandbytes needs a CUDA GPU, and torch finds none"):
        train(recipe(tmp_path, lora=Lora(bits=4), **LORA), progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("mode", "name"), [("full", "full"), ("frozen", "frozen"), ("null", "that of the stage")])
def test_bits_of_a_language_model_without_updates_are_refused(tmp_path, mode, name):
    file = tmp_path / "recipe.yaml"
    file.write_text(f"stage: instruct\nmodel: m\nout: o\ndata: {{file: d}}\nlora: {{bits: 4}}\nllm: {{mode: {mode}}}\n")
    with pytest.raises(UsageError, match=f"lora.bits: 4, but llm.mode is {name}; set it to lora"):
        read_recipe(file, [], TrainRecipe)


def test_other_bits_are_refused(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("stage: instruct\nmodel: m\nout: o\ndata: {file: d}\nlora: {bits: 8}\n")
    with pytest.raises(UsageError, match=r"lora\.bits: .*4 expected"):
        read_recipe(file, [], TrainRecipe)
