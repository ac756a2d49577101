"""A connector that is added as one entry: 2 x 2 patches become one token, their channels side by side, then an MLP.

So do InternVL (arXiv 2404.16821) and Idefics3 (arXiv 2408.12637). All that is asserted here is told by that entry.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.lessons import recipe
from tests.parts import PATCH_SIZE, joined, part, picture
from torch import nn

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.layout import Role
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.selfcheck import self_check
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.sinks import registers
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.sites import watching
from lapilli.model.architecture import features_read
from lapilli.model.checkpoints.info import describe
from lapilli.model.checkpoints.original import joined_of
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.connector import CONNECTORS, Connector
from lapilli.model.llava import join, load, save
from lapilli.model.pixels import Pixels
from lapilli.report.explanation import bundle
from lapilli.studies.explain.explanation import explanation
from lapilli.studies.explain.findings import explain
from lapilli.training.loop import train


class PixelShuffle(nn.Module):
    def __init__(self, d_vision, d_model):
        super().__init__()
        self.norm = nn.LayerNorm(4 * d_vision)
        self.mlp = nn.Sequential(nn.Linear(4 * d_vision, d_model), nn.GELU(), nn.Linear(d_model, d_model))

    def forward(self, features):
        images, patches, width = features.shape
        half = round(patches**0.5) // 2
        squares = features.reshape((images, half, 2, half, 2, width)).transpose(2, 3)
        return self.mlp(self.norm(squares.reshape(images, half * half, 4 * width)))


ENTRY = Connector("pixel_shuffle", PixelShuffle, {"norm.": None, "mlp.": None}, merge=2)
PAIRS = [("fine_clip", "llama"), ("fine_siglip", "qwen2")]
QUESTION = Sample("one", ("a.png",), (Turn("user", "<image>\nWhat color is the circle?"), Turn("assistant", "red")))
WIDE = picture(7, 90, 30)


@pytest.fixture(autouse=True, scope="module")
def entered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONNECTORS, ENTRY.name, ENTRY)
        yield


@pytest.fixture(params=PAIRS, ids="-".join)
def folder(request):
    return joined(*request.param, ENTRY.name)


def logits(llava, encoded, pixels):
    with torch.inference_mode():
        return llava.model(input_ids=torch.tensor(encoded.ids)[None], pixel_values=pixels).logits


def test_it_is_joined_saved_and_loaded_with_the_same_logits(tmp_path):
    made = join(part("fine_clip"), part("llama"), ENTRY.name)
    save(made, tmp_path / "model")
    read, encoded, pixels = load(tmp_path / "model"), encode(QUESTION, made.codec), made.pixels([WIDE])
    expected = logits(made, encoded, pixels)
    assert torch.equal(logits(read, encoded, pixels), expected)
    assert not torch.equal(logits(read, encoded, read.pixels([picture(8)])), expected)
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert (config["model_type"], config["connector"], config["image_seq_length"]) == ("lapilli_llava", ENTRY.name, 9)
    assert "plain transformers cannot load it" in read.card.notes[-1]
    assert describe(tmp_path / "model").connector == ENTRY.name


def test_it_has_a_token_for_every_four_patches(folder):
    llava = load(folder)
    assert llava.codec.patch_grid == (3, 3)
    assert describe(folder).patches == 9
    layout = encode(QUESTION, llava.codec).layout
    assert layout.patches(0).shape == (3, 3)
    assert len(layout.positions(Role.IMAGE)) == 9
    ids = llava.processor(text="<image> Is it red?", images=WIDE)["input_ids"][0]
    assert list(ids).count(llava.codec.image_token_id) == 9


def test_it_answers_as_transformers_generates(folder):
    """Alone, in batches, by transformers' own generation and processor, and in a conversation."""
    assert [finding for finding in self_check(load(folder)) if not finding.holds] == []


def test_a_token_is_made_of_the_patches_that_the_entry_names(folder):
    llava = load(folder)
    inner, pixels = llava.model.model, llava.pixels([WIDE])
    with torch.inference_mode():
        states = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
        (patches,) = features_read(llava.model.config, states)
        made = inner.get_image_features(pixels, return_dict=True).pooler_output[0]
        token_of = ENTRY.token_of(np.arange(36), (6, 6))
        for token in range(9):
            (four,) = np.nonzero(token_of == token)
            by_hand = inner.multi_modal_projector.mlp(inner.multi_modal_projector.norm(patches[four].flatten()))
            torch.testing.assert_close(made[token], by_hand)


@pytest.mark.parametrize("size", [(90, 30), (31, 70), (50, 50)])
def test_its_boxes_tile_the_picture(folder, size):
    """Each is what its four patches show, and all of them are what all patches show, without a gap."""
    llava = load(folder)
    tokens = llava.pixels.framing(size)
    patches = Pixels(llava.processor.image_processor, 50, PATCH_SIZE).framing(size)
    assert (tokens.grid, patches.grid) == ((3, 3), (6, 6))
    assert tokens.bounds == patches.bounds
    token_of = ENTRY.token_of(np.arange(36), patches.grid)
    boxes = np.array([patches.box(*divmod(patch, 6)) for patch in range(36)])
    for token in range(9):
        four = boxes[token_of == token]
        whole = (*four[:, :2].min(0), *four[:, 2:].max(0))
        assert tokens.box(*divmod(token, 3)) == pytest.approx(whole)
        assert (four[:, 2] - four[:, 0]) @ (four[:, 3] - four[:, 1]) == pytest.approx(
            (whole[2] - whole[0]) * (whole[3] - whole[1])
        )


def test_its_explanation_has_the_grid_of_its_tokens_and_sums_to_the_logit(folder, tmp_path):
    llava = load(folder)
    asked = replace(QUESTION, turns=QUESTION.turns[:1])
    trace = traced(llava, answered(llava, asked, "a red circle"), llava.pixels([WIDE]), whole=True)
    findings = explain(trace, WIDE, controls=2)
    explanation(findings, WIDE).save(tmp_path / "why")
    description, arrays = bundle.read(tmp_path / "why")
    image = description["image"]
    assert (image["grid"]["rows"], image["grid"]["cols"], image["view"]["size"]) == (3, 3, [48, 48])
    assert all(check["passed"] for check in description["checks"])
    value = findings.decomposition.all_paths.value
    for name in ("image_patches", "all_paths_patches", "all_paths_pixels"):
        assert arrays[name].shape == (len(value), 9)
    patches = arrays["all_paths_patches"].sum(1)
    np.testing.assert_allclose(arrays["all_paths_sources"].sum(1), value, atol=1e-5)
    np.testing.assert_allclose(
        arrays["all_paths_pixels"].sum(1) + arrays["all_paths_vision_biases"], patches, atol=1e-5
    )
    np.testing.assert_allclose(arrays["sources"].sum(1), value, atol=1e-5)


def test_a_cell_of_pixels_is_what_its_token_was_made_of():
    """In an encoder whose patches keep to themselves, without biases, each token's part is its own cell's."""
    llava = load(joined("fine_clip", "llama", ENTRY.name))
    for name, parameter in llava.model.model.named_parameters():
        if name.startswith("vision_tower.encoder") and name.endswith(("v_proj.weight", "out_proj.weight")):
            parameter.data.zero_()
        if name.endswith((".bias", "class_embedding", "position_embedding.weight")):
            parameter.data.zero_()
    encoded = encode(QUESTION, llava.codec)
    found = all_paths(llava, encoded.ids, encoded.layout, llava.pixels([WIDE]), [len(encoded.ids) - 3])
    tokens = found.positions[:, encoded.layout.patches(0)]
    assert np.abs(tokens).max() > 1e-3
    np.testing.assert_allclose(found.cells[:, 0], tokens, atol=1e-5 * np.abs(tokens).max())


@pytest.mark.parametrize(("patch", "token"), [(0, 0), (8, 1), (28, 8), (35, 8)])
def test_a_register_of_the_encoder_marks_the_token_that_it_goes_into(folder, patch, token):
    llava = load(folder)

    def grow(passing):
        passing = passing.clone()
        passing[:, passing.shape[1] - 36 + patch] *= 50  # behind the class token, if there is one
        return passing

    with watching(llava.model, {"vision.layers.1": grow}):
        found = registers(llava, llava.pixels([picture(1)]))
    assert found.vision.registers[0].tolist() == [patch]
    assert token in found.patches[0].tolist()
    assert found.patches[0].max() < 9


def test_stage_one_trains_it(tmp_path):
    model = joined("fine_clip", "llama", ENTRY.name)
    run = train(recipe(tmp_path, "align", model=model, max_steps=2), progress=False)
    before, after = (dict(load(one).model.named_parameters()) for one in (model, run.path / "model"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("model.multi_modal_projector.") for name in changed)


def test_layouts_that_have_names_for_it_hold_it(folder, tmp_path):
    write_checkpoint(read_checkpoint(folder), tmp_path / "nested", "nested")
    write_checkpoint(read_checkpoint(tmp_path / "nested"), tmp_path / "back", "hf")
    llava = load(folder)
    encoded, pixels = encode(QUESTION, llava.codec), llava.pixels([WIDE])
    assert torch.equal(logits(load(tmp_path / "back"), encoded, pixels), logits(llava, encoded, pixels))


@pytest.mark.parametrize("target", ["original", "split", "projector", "memory", "joined"])
def test_layouts_that_cannot_hold_it_say_so(folder, tmp_path, target):
    with pytest.raises(UsageError, match=r"^connector pixel_shuffle: .*; use hf$"):
        write_checkpoint(read_checkpoint(folder), tmp_path / "out", target)
    assert not (tmp_path / "out").exists()


def test_an_original_cannot_have_it():
    with pytest.raises(LapilliError, match="mm_projector_type pixel_shuffle: LLaVA's own code has no such connector"):
        joined_of({"mm_vision_tower": "clip", "mm_projector_type": ENTRY.name})


def test_patches_that_leave_a_rest_are_refused(tmp_path):
    refused = "connector pixel_shuffle: 3 x 3 patches do not make squares of 2 x 2; give another encoder"
    with pytest.raises(LapilliError, match=refused):
        join(part("clip"), part("llama"), ENTRY.name)
    broken = shutil.copytree(joined("fine_clip", "llama", ENTRY.name), tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    config["vision_config"]["image_size"] = 24
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(LapilliError, match=refused):
        load(broken)


def test_without_its_entry_the_folder_is_refused_in_one_line(monkeypatch):
    folder = joined("fine_clip", "llama", ENTRY.name)
    monkeypatch.delitem(CONNECTORS, ENTRY.name)
    with pytest.raises(LapilliError, match="connector 'pixel_shuffle': unknown; choose linear, mlp2x_gelu, "):
        load(folder)
    with pytest.raises(LapilliError, match=r"config.json: connector 'pixel_shuffle': unknown; known are linear, "):
        describe(folder)
