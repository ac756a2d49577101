"""Relevance along all paths against a second network that is an affine map, sums, and models whose paths are known."""

from functools import cache

import numpy as np
import pytest
import torch
from tests.inspection.held import Held, put
from tests.parts import joined, part, picture
from transformers import LlamaConfig, LlamaForCausalLM

from lapilli.core.layout import Role
from lapilli.core.placement import Placement
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.attribution import all_paths as module
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.recording import recording
from lapilli.inspection.target import Target
from lapilli.model.llava import join, load
from lapilli.model.upstream import cache_argument, new_cache

PAIRS = [
    *(("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")),
    *(("siglip", "many_heads"), ("clip", "biased_llama")),
]
TURNS = (
    Turn("user", "<image>\n<image>\nIs the red circle left of the yellow star?"),
    Turn("assistant", "yes, and above a green square"),
    Turn("user", "How many squares are there?"),
    Turn("assistant", "three small squares and one large triangle above the blue circle"),
)


@pytest.fixture(scope="module")
def many_heads(tmp_path_factory):
    """A LLaMA with keys and values for every head, and biases wherever one can have them."""
    folder = tmp_path_factory.mktemp("many_heads")
    config = LlamaConfig.from_pretrained(part("llama"), num_key_value_heads=4, attention_bias=True, mlp_bias=True)
    torch.manual_seed(9)
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in part("llama").glob("token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def model_of(many_heads):
    """Makes models whose biases and norms are not what they are when nothing has been learned."""

    @cache
    def make(vision, language, connector="mlp2x_gelu"):
        if language == "many_heads":
            return stirred(join(part(vision), many_heads, connector))
        return stirred(load(joined(vision, language, connector)))

    return make


def stirred(llava):
    torch.manual_seed(10)
    for weight in llava.model.parameters():
        if weight.ndim == 1:
            weight.data += (0.1 * torch.randn(weight.shape)).to(weight)
    return llava


def given(llava, turns=TURNS):
    """Ids, layout and pixel values of a conversation, and the queries that predict its answers and stops."""
    names = tuple("ab"[: turns[0].text.count("<image>")])
    encoded = encode(Sample("1", names, turns), llava.codec)
    pixels = llava.pixels([picture(ord(name)) for name in names]) if names else None
    (queries,) = np.nonzero(encoded.labels >= 0)
    return encoded.ids, encoded.layout, pixels, queries - 1


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def expected_parts(llava, ids, layout, pixels, queries, target):
    """Value, positions, biases, cells and vision biases from what comes out when each input is put in alone."""
    held = Held(llava.model)
    x = held.weights["model.language_model.embed_tokens.weight"][ids.tolist()][None]
    image = layout.positions(Role.IMAGE)
    if pixels is not None:
        x[0, image] = held.see(pixels.double()).flatten(0, 1)

    def targets(embeddings):
        logits = held.read(embeddings)[:, queries].numpy()
        word = logits[:, np.arange(len(queries)), ids[queries + 1]]
        less = {"token": 0, "centred": logits.mean(-1), "difference": logits[..., target.against or 0]}
        return (word - less[target.kind]).T

    value = targets(x)[:, 0]
    nothing = targets(torch.zeros_like(x))
    alone = targets(torch.eye(len(ids), dtype=torch.float64)[..., None] * x)
    found = {"value": value, "positions": alone - nothing, "biases": nothing[:, 0]}
    if pixels is None:
        return found
    seen = [held.see(one) for one in cell_by_cell(pixels.double())]
    blank = held.see(torch.zeros_like(pixels.double()))
    rows_of_cells = torch.stack([one - blank for one in seen]).flatten(1, 2)
    cells = targets(put(rows_of_cells, image, len(ids))) - nothing
    found["cells"] = cells.reshape(len(queries), len(pixels), *layout.patches(0).shape)
    found["vision_biases"] = (targets(put(blank.flatten(0, 1)[None], image, len(ids))) - nothing)[:, 0]
    return found


def cell_by_cell(pixels, side=8):
    """The pictures with all but one cell black, image by image and row by row."""
    for image in range(len(pixels)):
        for top in range(0, pixels.shape[2], side):
            for left in range(0, pixels.shape[3], side):
                alone = torch.zeros_like(pixels)
                cell = (image, slice(None), slice(top, top + side), slice(left, left + side))
                alone[cell] = pixels[cell]
                yield alone


def agrees(llava, sequence, target=None):
    """Holds the parts to those of the second network, and their sums to what they are sums of."""
    found = all_paths(llava, *sequence, target)
    for name, expected in expected_parts(llava, *sequence, target or Target()).items():
        close(getattr(found, name), expected)
    close(found.positions.sum(1) + found.biases, found.value)
    assert found.error[np.abs(found.value) > 0.5].max() <= 1e-5  # of a value near 0, a share says nothing
    return found


@pytest.mark.parametrize(("vision", "language"), PAIRS)
def test_every_part_is_what_comes_of_an_input_alone(model_of, vision, language):
    llava = model_of(vision, language)
    sequence = given(llava)
    assert len(sequence[0]) > 64  # the window of mistral
    assert len(sequence[3]) >= 20
    agrees(llava, sequence)


@pytest.mark.parametrize("target", [Target("token"), Target("difference", 7)], ids=lambda it: it.kind)
def test_every_target_is_taken_apart(model_of, target):
    llava = model_of("siglip", "qwen2")
    agrees(llava, given(llava), target)


@pytest.mark.parametrize("connector", ["linear", "mlp3x_gelu"])
def test_every_connector_is_followed(model_of, connector):
    llava = model_of("clip", "llama", connector)
    agrees(llava, given(llava, (Turn("user", "<image>\nIs it red?"), Turn("assistant", "yes"))))


def test_text_alone(model_of):
    llava = model_of("clip", "llama")
    found = agrees(llava, given(llava, (Turn("user", "Is it red?"), Turn("assistant", "yes"))))
    assert found.cells is None


def test_without_pixels_the_rest_is_the_same(model_of):
    llava = model_of("siglip", "qwen2")
    sequence = given(llava)
    found, whole = all_paths(llava, *sequence, to_pixels=False), all_paths(llava, *sequence)
    assert found.cells is None and found.vision_biases is None
    np.testing.assert_array_equal(found.positions, whole.positions)
    np.testing.assert_array_equal(found.biases, whole.biases)


def test_the_last_row_is_followed_from_the_likeliest_token(model_of):
    llava = model_of("clip", "llama")
    ids, layout, pixels, _ = given(llava)
    last = len(ids) - 1
    with torch.inference_mode():
        logits = llava.model(input_ids=torch.tensor(ids)[None], pixel_values=pixels).logits[0, last]
        found = all_paths(llava, ids, layout, pixels, [last], Target("token"))
    close(found.value, [float(logits.max())])


def test_a_token_against_itself_is_missed_by_nothing(model_of):
    llava = model_of("clip", "llama")
    ids, layout, pixels, queries = given(llava)
    found = all_paths(llava, ids, layout, pixels, queries[:1], Target("difference", int(ids[queries[0] + 1])))
    assert found.value.tolist() == found.error.tolist() == [0.0]


def test_nothing_of_the_model_changes_and_progress_is_told(model_of, monkeypatch):
    monkeypatch.setattr(module, "_BYTES", 1)
    llava = model_of("siglip", "many_heads")
    parameters = list(llava.model.parameters())
    before = [(parameter.requires_grad, parameter.detach().clone()) for parameter in parameters]
    done = []
    all_paths(llava, *given(llava), progress=done.append)
    assert done == list(range(1, len(given(llava)[3]) + 1))
    assert all(parameter.grad is None for parameter in parameters)
    for parameter, (flag, value) in zip(parameters, before, strict=True):
        assert parameter.requires_grad is flag
        assert torch.equal(parameter, value)


def test_rows_together_are_what_they_are_one_by_one(model_of, monkeypatch):
    llava = model_of("clip", "qwen2")
    together = all_paths(llava, *given(llava))
    monkeypatch.setattr(module, "_BYTES", 1)
    apart = all_paths(llava, *given(llava))
    for name in ("positions", "biases", "cells", "vision_biases"):
        one, other = getattr(together, name), getattr(apart, name)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_what_does_not_fit_is_refused(model_of):
    llava = model_of("clip", "llama")
    ids, layout, pixels, queries = given(llava)
    for wrong in ((ids[1:], layout, pixels, queries), (ids, layout, None, queries), (ids, layout, pixels[:1], queries)):
        with pytest.raises(ValueError, match="for a layout of"):
            all_paths(llava, *wrong)
    for none_such in ([], [-1], [len(ids)]):
        with pytest.raises(ValueError, match="at least one is needed"):
            all_paths(llava, ids, layout, pixels, none_such)


@pytest.mark.parametrize(("vision", "language"), [("clip", "llama"), ("siglip", "qwen2")])
def test_bfloat16_is_off_by_some_per_cent(vision, language):
    llava = stirred(load(joined(vision, language), Placement(dtype="bf16")))
    whole = stirred(load(joined(vision, language)))
    found, expected = all_paths(llava, *given(llava)), all_paths(whole, *given(whole))
    missed = np.abs(found.positions - expected.positions).max() / np.abs(expected.positions).max()
    assert missed < 0.05
    assert np.median(found.error) < 0.03


@pytest.mark.parametrize("name", ["llama", "qwen2", "biased_llama"])
def test_of_one_layer_without_mlp_it_is_the_direct_decomposition(name):
    """Biases too: of values, of attention's output and of the MLP's, however many heads share their values."""
    llava = stirred(load(joined("clip", name)))
    language = llava.model.model.language_model
    language.layers, language.config.num_hidden_layers = language.layers[:1], 1
    language.layers[0].mlp.down_proj.weight.data.zero_()
    ids, layout, pixels, queries = given(llava)
    with recording(llava, queries) as record, torch.inference_mode():
        llava.model(input_ids=torch.tensor(ids)[None], pixel_values=pixels, **cache_argument(llava.model, new_cache()))
    direct = decompose(record.trace(ids, layout))
    expected = direct.positions.copy()
    expected[np.arange(len(queries)), queries] += direct.embedding
    found = all_paths(llava, ids, layout, pixels, queries)
    close(found.positions, expected)
    close(found.biases, direct.biases.sum(1))
    close(found.value, direct.value)
    assert direct.biases.any() == (name != "llama")


@pytest.fixture
def unmixed():
    """A model whose patches keep to themselves in the vision encoder, and only attention's values carry in one layer
    of the language model, which looks everywhere alike.
    """
    llava = load(joined("clip", "llama"))
    for layer in llava.model.model.vision_tower.encoder.layers:
        layer.self_attn.v_proj.weight.data.zero_()
        layer.self_attn.out_proj.weight.data.zero_()
    language = llava.model.model.language_model
    language.layers, language.config.num_hidden_layers = language.layers[:1], 1
    language.layers[0].mlp.down_proj.weight.data.zero_()
    language.layers[0].self_attn.q_proj.weight.data.zero_()
    return llava


def test_a_changed_cell_changes_its_own_relevance_alone(unmixed):
    ids, layout, pixels, queries = given(unmixed)
    changed = pixels.clone()
    changed[1, :, 8:16, 16:24] += 1
    before, after = (all_paths(unmixed, ids, layout, shown, queries[:1]).cells[0] for shown in (pixels, changed))
    share = after / before
    others = np.ones(share.shape, bool)
    others[1, 1, 2] = False
    # All that is left in common is the last norm's scale, which is the same for all.
    np.testing.assert_allclose(share[others], np.median(share), rtol=1e-4)
    assert abs(share[1, 1, 2] / np.median(share) - 1) > 0.05


def test_without_biases_a_cell_is_its_token(unmixed):
    for name, parameter in unmixed.model.model.named_parameters():
        if name.endswith((".bias", "class_embedding", "position_embedding.weight")):
            parameter.data.zero_()
    ids, layout, pixels, queries = given(unmixed)
    found = all_paths(unmixed, ids, layout, pixels, queries)
    for image in range(layout.image_count):
        close(found.cells[:, image], found.positions[:, layout.patches(image)])
    assert not found.vision_biases.any()
