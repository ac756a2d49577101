"""What is said of a folder, against the model that loads from it, and folders that hold something else."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.parts import joined, part

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.info import describe
from lapilli.model.checkpoints.layouts import layouts
from lapilli.model.llava import load


@pytest.fixture
def copy(tmp_path):
    """A folder of a LLaVA that may be changed."""
    return shutil.copytree(joined("clip", "llama"), tmp_path / "model")


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2"), ("clip", "tied_llama")])
def test_what_is_said_is_what_loads(pair, connector):
    folder = joined(*pair, connector)
    llava, info = load(folder), describe(folder)
    inner = llava.model.model
    sizes = {one.role: one.parameters for one in info.parts}
    language = [*inner.language_model.parameters(), *llava.model.lm_head.parameters()]
    assert sizes["vision"] == inner.vision_tower.num_parameters()
    assert sizes["language"] == sum(p.numel() for p in {id(p): p for p in language}.values())
    assert sizes["projector"] == sum(
        p.numel() for name, p in inner.multi_modal_projector.named_parameters() if "1" in name or connector != "linear"
    )
    assert info.patches == llava.codec.patch_grid[0] * llava.codec.patch_grid[1]
    assert (info.template, info.connector, info.feature_layer) == (llava.template, connector, -2)
    assert info.picture.startswith("padded to a square")
    assert info.notes[-1] == llava.card.notes[-1]


def test_the_parts_of_the_config_do_not_say_where_they_lay():
    config = json.loads((joined("clip", "llama") / "config.json").read_text())
    assert config["vision_config"]["_name_or_path"] == part("clip").name
    assert config["text_config"]["_name_or_path"] == part("llama").name


def test_a_folder_of_the_hub_that_lapilli_did_not_make(copy):
    """Half of it stored in bfloat16, in two files, under the hub's names, cropping its pictures."""
    (copy / "lapilli.json").unlink()
    weights = load_file(copy / "model.safetensors")
    to_hf = layouts("mlp2x_gelu")["hf"].to_hf
    named = {to_hf(name): value.clone() for name, value in weights.items()}
    (copy / "model.safetensors").unlink()
    vision = {name: value for name, value in named.items() if name.startswith("vision")}
    rest = {name: value.bfloat16() for name, value in named.items() if name not in vision}
    save_file(vision, copy / "model-00001-of-00002.safetensors")
    save_file(rest, copy / "model-00002-of-00002.safetensors")
    processor = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(processor | {"do_pad": False}))
    info = describe(copy)
    assert (info.layout, info.connector, info.template, info.notes) == ("hf", "mlp2x_gelu", "vicuna_v1", ())
    assert info.dtypes == {
        "float32": sum(value.numel() for value in vision.values()),
        "bfloat16": sum(value.numel() for value in rest.values()),
    }
    total = sum(value.numel() for value in named.values())
    assert info.memory == {"float32": 4 * total, "bfloat16": 2 * total, "8 bit": total, "4 bit": round(total / 2)}
    assert "cropped" in info.picture


ORIGINAL = {"model_type": "llava_llama", "mm_vision_tower": "openai/clip", "mm_vision_select_layer": -2}


def _original(folder, connector, vision=True):
    """The weights by their names in LLaVA's own code, and what its config.json says of the joining."""
    names, weights = layouts(connector), load(joined("clip", "llama", connector)).model.state_dict()
    hub = {names["memory"].to_hf(name): value.clone() for name, value in weights.items()}
    if connector == "linear":
        hub = {name: value for name, value in hub.items() if "linear_2" not in name}
    folder.mkdir()
    config = ORIGINAL | {"mm_projector_type": connector, "image_aspect_ratio": "pad"}
    (folder / "config.json").write_text(json.dumps(config))
    named = {names["original"].from_hf(name): value for name, value in hub.items()}
    return {name: value for name, value in named.items() if vision or "vision_tower" not in name}


@pytest.mark.parametrize("connector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_a_checkpoint_of_llavas_own_code(tmp_path, connector, form):
    weights = _original(tmp_path / "model", connector)
    half = dict(list(weights.items())[:20])
    rest = {name: value for name, value in weights.items() if name not in half}
    write = torch.save if form == "bin" else save_file
    stem = "pytorch_model" if form == "bin" else "model"
    write(half, tmp_path / f"model/{stem}-00001-of-00002.{form}")
    write(rest, tmp_path / f"model/{stem}-00002-of-00002.{form}")
    info, same = describe(tmp_path / "model"), describe(joined("clip", "llama", connector))
    assert [one.parameters for one in info.parts] == [one.parameters for one in same.parts]
    assert [one.kind for one in info.parts] == ["openai/clip", connector, "llava_llama"]
    assert (info.layout, info.template, info.picture) == ("original", None, same.picture)
    assert (info.image_size, info.patches, info.feature_layer) == (same.image_size, same.patches, -2)


def test_one_that_only_names_its_vision_encoder(tmp_path):
    save_file(_original(tmp_path / "model", "mlp2x_gelu", vision=False), tmp_path / "model/model.safetensors")
    info = describe(tmp_path / "model")
    assert (info.parts[0].parameters, info.image_size, info.patches) == (0, None, None)


class _Code:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, capsys):
    _original(tmp_path / "model", "linear")
    torch.save({"lm_head.weight": _Code()}, tmp_path / "model/pytorch_model.bin")
    with pytest.raises(
        LapilliError, match="a pickle of more than tensors, and loading that would run code; fetch it again, or"
    ):
        describe(tmp_path / "model")
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"PK\x03\x04 cut off"])
def test_a_damaged_bin_is_one_line(tmp_path, content):
    _original(tmp_path / "model", "linear")
    (tmp_path / "model/pytorch_model.bin").write_bytes(content)
    with pytest.raises(LapilliError, match=r"pytorch_model\.bin: .*; ") as caught:
        describe(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_a_state_of_training_is_no_model(tmp_path):
    _original(tmp_path / "model", "linear")
    torch.save({"step": 7, "state": {"lm_head.weight": torch.zeros(2)}}, tmp_path / "model/pytorch_model.bin")
    with pytest.raises(LapilliError, match="not tensors by their names"):
        describe(tmp_path / "model")


def _strange(folder):
    save_file({"optimizer.step": torch.zeros(1)}, folder / "more.safetensors")


def _twice(folder):
    shutil.copy(folder / "model.safetensors", folder / "old.safetensors")


def _cut_off(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def _no_weights(folder):
    (folder / "model.safetensors").unlink()


def _broken_config(folder):
    (folder / "config.json").write_text('{"model_type": "llava",}')


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_strange, "comes nearest, without optimizer.step"),
        (_twice, r"is in model\.safetensors too; remove the file that does not belong here"),
        (_cut_off, "no safetensors: .*; fetch the file again"),
        (_no_weights, r"neither \*\.safetensors nor pytorch_model\*\.bin"),
        (_broken_config, "not JSON: .*; fetch the file again"),
    ],
)
def test_a_damaged_folder_is_one_line(copy, harm, message):
    harm(copy)
    with pytest.raises(LapilliError, match=message) as caught:
        describe(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_language_model_alone_is_no_llava():
    with pytest.raises(LapilliError, match=r"no LLaVA \(its model_type: llama\)"):
        describe(part("llama"))


def test_no_folder(tmp_path):
    with pytest.raises(LapilliError, match="nothing: no such folder; give that of a model"):
        describe(tmp_path / "nothing")
