"""LLaVAs whose projector reads several layers of the vision encoder, as transformers allows it, in every way here."""

import json

import numpy as np
import pytest
import torch
from tests.lessons import recipe
from tests.parts import joined, picture
from transformers import LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.sinks import registers
from lapilli.inspection.intervention.ablation import ablated_patches
from lapilli.model.architecture import new_projector
from lapilli.model.checkpoints.info import describe
from lapilli.model.checkpoints.original import joined_of
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.llava import load, save
from lapilli.training.loop import train

LAYERS = [[-2, -1], [-1, 0], [1], [3, 1, 2]]
QUESTION = Sample("one", ("a.png",), (Turn("user", "<image>\nHow many squares are there?"), Turn("assistant", "three")))


def layered(folder, layers, base):
    """A LLaVA like the base, but for the layers that it reads; its projector is new."""
    llava = load(base)
    llava.model.config.vision_feature_layer = layers
    llava.model.model.multi_modal_projector = new_projector(llava.model.config, 3)
    save(llava, folder)
    return folder


def projected(model, pixels):
    with torch.inference_mode():
        return torch.stack(tuple(model.get_image_features(pixel_values=pixels).pooler_output))


@pytest.mark.parity
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_features_are_transformers_own(tmp_path, layers, pair):
    """Which here no longer runs the layers behind the last that is read, and there does."""
    llava = load(layered(tmp_path / "model", layers, joined(*pair)))
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "model").eval()
    width = llava.model.config.vision_config.hidden_size
    assert llava.model.model.multi_modal_projector.linear_1.in_features == width * len(layers)
    pixels = llava.pixels([picture(1), picture(2)])
    features = projected(theirs, pixels)
    assert torch.equal(projected(llava.model, pixels), features)
    found = registers(llava, pixels).projector.lengths
    np.testing.assert_allclose(found, features.norm(dim=-1), rtol=1e-5)
    assert describe(tmp_path / "model").feature_layer == layers


@pytest.mark.parametrize("connector", ["linear", "mlp3x_gelu"])
def test_every_connector_is_as_wide_as_what_it_reads(tmp_path, connector):
    """By hand, from the encoder's own states."""
    llava = load(layered(tmp_path / "model", [-3, -1], joined("clip", "llama", connector)))
    pixels, inner = llava.pixels([picture(1)]), llava.model.model
    with torch.inference_mode():
        states = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
        by_hand = inner.multi_modal_projector(torch.cat([states[1], states[3]], dim=-1)[:, 1:])
    assert torch.equal(projected(llava.model, pixels), by_hand)


def test_it_is_trained_asked_and_explained(tmp_path):
    model = layered(tmp_path / "model", [-3, -1], joined("clip", "llama"))
    run = train(recipe(tmp_path, "align", model=model, max_steps=2), progress=False)
    llava = load(run.path / "model")
    before, after = (one.model.model.multi_modal_projector.linear_1.weight for one in (load(model), llava))
    assert before.shape == after.shape == (48, 64)
    assert (before[:, :32] != after[:, :32]).any() and (before[:, 32:] != after[:, 32:]).any()
    answer(llava, [QUESTION], lambda name: picture(1), max_new_tokens=3)
    encoded = encode(QUESTION, llava.codec)
    rows = [len(encoded.ids) - 3]
    found = all_paths(llava, encoded.ids, encoded.layout, llava.pixels([picture(1)]), rows)
    assert found.error.max() < 1e-5
    pixels = llava.pixels([picture(1)])
    with ablated_patches(llava, np.ones(9, bool), "resample", llava.pixels([picture(2)])):
        replaced = projected(llava.model, pixels)
    assert torch.allclose(replaced, projected(llava.model, llava.pixels([picture(2)])), atol=1e-6)


@pytest.mark.parametrize("target", ["nested", "joined", "memory"])
def test_every_layout_of_transformers_holds_it(tmp_path, target):
    folder = layered(tmp_path / "model", [-3, -1], joined("clip", "llama"))
    write_checkpoint(read_checkpoint(folder), tmp_path / "there", target)
    write_checkpoint(read_checkpoint(tmp_path / "there"), tmp_path / "back")
    assert json.loads((tmp_path / "back/config.json").read_text())["vision_feature_layer"] == [-3, -1]
    pixels = load(folder).pixels([picture(1)])
    assert torch.equal(projected(load(tmp_path / "back").model, pixels), projected(load(folder).model, pixels))


@pytest.mark.parametrize("target", ["original", "split", "projector"])
def test_what_reads_one_layer_is_given_none_of_it(tmp_path, target):
    found = read_checkpoint(layered(tmp_path / "model", [-3, -1], joined("clip", "llama")))
    with pytest.raises(UsageError, match=rf"layout {target}: has no place for several layers .* \[-3, -1\]; use hf"):
        write_checkpoint(found, tmp_path / "out", target)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layer", [[-2, -1], "-2", None, -2.5])
def test_an_original_reads_one_layer(layer):
    config = {"mm_vision_tower": "clip", "mm_vision_select_layer": layer}
    with pytest.raises(LapilliError, match=r"mm_vision_select_layer is .*: LLaVA's own code reads one layer"):
        joined_of(config)
