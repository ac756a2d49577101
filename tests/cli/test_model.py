"""`lapilli model`."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.model.checkpoints.originals import original
from tests.parts import joined, part, picture
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from lapilli.cli import run
from lapilli.model.llava import load


def _build(out, **changes):
    options = {"vision": str(part("clip")), "language": str(part("llama")), **changes}
    return run(
        ["model", "build", *(word for name, value in options.items() for word in (f"--{name}", value)), str(out)]
    )


def test_a_model_is_built_and_what_changed_is_said(tmp_path, capsys):
    assert _build(tmp_path / "out", connector="linear") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "tokens added: <image> (360), <pad> (361); their embeddings are the mean of the other 360" in said.err
    assert load(tmp_path / "out").card.connector == "linear"


def test_a_deep_connector_is_warned_of(tmp_path, capsys):
    assert _build(tmp_path / "out", connector="mlp3x_gelu") == 0
    assert "connector mlp3x_gelu: plain transformers cannot load it, only lapilli can\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"vision": "nowhere"}, 2, "nowhere: no such folder; give that of a model"),
        ({"language": "nowhere"}, 2, "nowhere: no such folder; give that of a model"),
        ({"connector": "mlp"}, 2, "connector 'mlp': unknown; choose linear"),
        ({"template": "vicuna"}, 2, "template 'vicuna': unknown; choose one of"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(tmp_path, capsys, changes, code, message):
    assert _build(tmp_path / "out", **changes) == code
    said = capsys.readouterr().err
    assert said.startswith(f"lapilli: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "note.txt").write_text("mine")
    assert _build(tmp_path, vision="nowhere") == 1
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_background_is_chosen_when_a_model_is_built(tmp_path, capsys):
    assert _build(tmp_path / "out", background="mean") == 0
    assert load(tmp_path / "out").processor.image_processor.background == "mean"
    assert _build(tmp_path / "other", background="red") == 2
    assert "background 'red': unknown; choose one of white, black, mean" in capsys.readouterr().err


def test_bridges_are_a_table_and_one_json_object(capsys):
    assert run(["model", "bridges", "--vision", "24", "--language", "48", "--layers", "2"]) == 0
    assert "v = 24, d = 48, L = 2" in capsys.readouterr().out
    assert run(["model", "bridges", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    linear = next(one for one in found["bridges"] if one["name"] == "linear")
    assert linear["parameters"] == 1024 * 4096 + 4096
    assert {one["paper"] for one in found["published"]} == {"LLaVA-1.5", "BLIP-2", "Flamingo-3B"}


def test_a_width_of_nothing_is_refused(capsys):
    assert run(["model", "bridges", "--vision", "0"]) == 2
    assert "vision" in capsys.readouterr().err


def test_info_is_a_table_and_one_json_object(capsys):
    folder = str(joined("clip", "llama"))
    assert run(["model", "info", folder]) == 0
    said = capsys.readouterr().out
    assert "vicuna_v1" in said and "layout hf" in said
    assert run(["model", "info", folder, "--json"]) == 0
    assert [one["role"] for one in json.loads(capsys.readouterr().out)["parts"]] == ["vision", "projector", "language"]
    assert run(["model", "info", str(part("llama"))]) == 1
    assert "no LLaVA (its model_type: llama)" in capsys.readouterr().err


def _encoder(folder, image_size):
    """A CLIP encoder of three by three patches, for pictures of the size that a version of LLaVA reads."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=image_size, patch_size=image_size // 3)
    CLIPVisionModel(config).save_pretrained(folder)
    size = {"height": image_size, "width": image_size}
    CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=size).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("preset", "size", "connector", "pad"),
    [("llava-v1", 224, "linear", False), ("llava-v1.5", 336, "mlp2x_gelu", True)],
)
def test_a_preset_joins_as_that_version_did(tmp_path, capsys, preset, size, connector, pad):
    encoder = _encoder(tmp_path / "encoder", size)
    assert _build(tmp_path / "out", vision=encoder, preset=preset) == 0
    llava = load(tmp_path / "out")
    assert llava.card.connector == connector
    assert bool(getattr(llava.processor.image_processor, "do_pad", False)) is pad
    capsys.readouterr()
    assert _build(tmp_path / "other", preset=preset) == 2
    assert f"preset {preset}: pictures of {size} pixels, but" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_an_unknown_preset_lists_the_known(tmp_path, capsys):
    assert _build(tmp_path / "out", preset="llava-v2") == 2
    assert "preset 'llava-v2': unknown; choose one of llava-v1, llava-v1.5" in capsys.readouterr().err


def test_a_model_is_converted_there_and_back(tmp_path, capsys):
    folder, there, back = str(joined("clip", "llama")), str(tmp_path / "there"), str(tmp_path / "back")
    assert run(["model", "convert", folder, there, "--to", "original", "--shard-size", "100kB"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{there}: layout original, made from 80 tensors" in said.err
    assert len(list(Path(there).glob("*.safetensors"))) > 2
    assert run(["model", "convert", there, back]) == 0
    before, after = load(folder).model.state_dict(), load(back).model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--to", "gguf"], 2, "target 'gguf': unknown; choose one of hf, original"),
        (["--shard-size", "five"], 2, "size 'five': write a number and its unit"),
        (["--template", "vicuna"], 2, "template 'vicuna': unknown; choose one of"),
    ],
)
def test_a_wrong_conversion_is_one_line_and_leaves_nothing(tmp_path, capsys, options, code, message):
    assert run(["model", "convert", str(joined("clip", "llama")), str(tmp_path / "out"), *options]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"lapilli: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_original_cannot_be_asked_and_says_what_to_do(tmp_path, capsys):
    path = original(tmp_path / "original")
    picture(1).save(tmp_path / "picture.png")
    assert run(["ask", str(path), str(tmp_path / "picture.png"), "What is it?"]) == 1
    said = capsys.readouterr().err
    assert f"lapilli model convert {path} OUT --to hf --template NAME" in said


def test_an_adapter_is_merged(tmp_path, capsys):
    base = joined("clip", "llama")
    wrapped = get_peft_model(load(base).model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    wrapped.save_pretrained(tmp_path / "lora")
    assert run(["model", "merge", str(tmp_path / "lora"), str(tmp_path / "out"), "--base", str(base)]) == 0
    assert "adapter merged: lora" in capsys.readouterr().err
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(load(tmp_path / "out").model.state_dict()[name], load(base).model.state_dict()[name])
