"""Ablations change what they were asked to and nothing else, and are gone afterwards."""

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of, sample
from tests.parts import picture

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.encode import encode
from lapilli.inference.answer import answer
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.direct import decompose, head_outputs
from lapilli.inspection.attribution.increase import head_increases
from lapilli.inspection.intervention.ablation import ablated_heads, ablated_patches
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.sites import changed_sites, heads_changed, watching
from lapilli.model.upstream import cache_argument, new_cache

MODELS = ("deep", "llama", "qwen2")
D_HEAD, PATCHES = 12, 9
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def _inputs(llava, images=1):
    asked = sample(images=images)
    ids = encode(asked, llava.codec, for_generation=True).ids
    return {
        "input_ids": torch.tensor(ids)[None],
        "pixel_values": llava.pixels([picture(int(name)) for name in asked.images]),
    }


def _logits(llava, inputs, **more):
    with torch.inference_mode():
        return llava.model(**inputs, **more).logits


def _seen(llava, inputs, site):
    kept = []
    with watching(llava.model, {site: lambda passing: kept.append(passing.clone())}):
        _logits(llava, inputs)
    return kept[0]


def _hooks(llava):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in llava.model.modules())


def _without_columns(llava, inputs, heads):
    """The oracle of a head that says nothing: the columns of the output matrix that it is multiplied with are 0."""
    layers = llava.model.model.language_model.layers
    kept = {layer: layers[layer].self_attn.o_proj.weight.detach().clone() for layer, _ in heads}
    with torch.no_grad():
        for layer, head in heads:
            layers[layer].self_attn.o_proj.weight[:, head * D_HEAD : (head + 1) * D_HEAD] = 0
    try:
        return _logits(llava, inputs)
    finally:
        with torch.no_grad():
            for layer, weight in kept.items():
                layers[layer].self_attn.o_proj.weight.copy_(weight)


@pytest.mark.parametrize("name", MODELS)
def test_a_head_of_zeros_is_a_matrix_without_its_columns(name):
    llava = llava_of(name)
    inputs, heads = _inputs(llava), [(0, 1), (1, 3), (1, 0)]
    clean = _logits(llava, inputs)
    with ablated_heads(llava.model, heads):
        found = _logits(llava, inputs)
    torch.testing.assert_close(found, _without_columns(llava, inputs, heads), **CLOSE)
    assert (found - clean).abs().max() > 1e-3
    assert torch.equal(_logits(llava, inputs), clean)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
@pytest.mark.parametrize("name", MODELS)
def test_the_asked_heads_alone_are_replaced(name, how):
    llava = llava_of(name)
    inputs = _inputs(llava)
    site, length = "llm.layers.1.attn_heads", inputs["input_ids"].shape[1]
    generator = torch.Generator().manual_seed(0)
    values = {"mean": torch.randn(D_HEAD, generator=generator), "resample": torch.randn(length, D_HEAD)}.get(how)
    clean = _seen(llava, inputs, site)
    with ablated_heads(llava.model, [(1, 2)], how, None if values is None else {(1, 2): values}):
        found = _seen(llava, inputs, site)
    meant = clean.clone()
    meant[:, :, 2] = 0 if values is None else values
    assert torch.equal(found, meant)


@pytest.mark.parametrize("name", MODELS)
def test_resampling_every_head_and_patch_of_one_picture_by_another_is_the_other(name):
    """All heads of all layers, and the stream they start from, are the other's: so are the logits."""
    llava = llava_of(name)
    inputs, depth = _inputs(llava), len(llava.model.model.language_model.layers)
    other = {**inputs, "pixel_values": llava.pixels([picture(77)])}
    values = {}
    for layer in range(depth):
        outputs = _seen(llava, other, f"llm.layers.{layer}.attn_heads")[0]
        values |= {(layer, head): outputs[:, head] for head in range(4)}
    everything = np.ones(PATCHES, bool)
    with (
        ablated_heads(llava.model, list(values), "resample", values),
        ablated_patches(llava, everything, "resample", other["pixel_values"]),
    ):
        found = _logits(llava, inputs)
    torch.testing.assert_close(found, _logits(llava, other), **CLOSE)
    with ablated_patches(llava, everything, "resample", other["pixel_values"]):
        assert torch.equal(_logits(llava, inputs), _logits(llava, other))


def test_resampling_goes_by_the_position_in_the_sequence():
    """A sequence read in two calls is one read in one; what comes behind the values is left alone."""
    llava = llava_of("deep")
    inputs = _inputs(llava)
    length, generator = inputs["input_ids"].shape[1], torch.Generator().manual_seed(3)
    for given in (length, length - 2):
        values = {(2, 1): torch.randn(given, D_HEAD, generator=generator)}
        with ablated_heads(llava.model, [(2, 1)], "resample", values):
            at_once = _logits(llava, inputs)
            cache = new_cache()
            begun = {**inputs, "input_ids": inputs["input_ids"][:, :-4]}
            parts = [_logits(llava, begun, **cache_argument(llava.model, cache))]
            for at in range(length - 4, length):
                parts.append(
                    _logits(
                        llava, {"input_ids": inputs["input_ids"][:, at : at + 1]}, **cache_argument(llava.model, cache)
                    )
                )
            left = _seen(llava, inputs, "llm.layers.2.attn_heads")[0, given:]
        torch.testing.assert_close(torch.cat(parts, dim=1), at_once, **CLOSE)
        assert torch.equal(left, _seen(llava, inputs, "llm.layers.2.attn_heads")[0, given:])


@pytest.mark.parametrize("how", ["zero", "mean", "given mean", "blank", "resample", "features"])
@pytest.mark.parametrize("name", MODELS)
def test_the_asked_patches_alone_are_replaced(name, how):
    """Against features put together by hand, of two pictures; and the logits are those of these features."""
    llava = llava_of(name)
    inputs = _inputs(llava, images=2)
    clean = _seen(llava, inputs, "projector")
    chosen = np.random.default_rng(2).random((2, PATCHES)) < 0.5
    other = llava.pixels([picture(50), picture(51)])
    features = _seen(llava, {**inputs, "pixel_values": other}, "projector")
    vector = torch.linspace(-1, 1, clean.shape[-1])
    blank = _seen(llava, {**inputs, "pixel_values": torch.zeros_like(other)}, "projector")
    values = {"given mean": vector, "resample": other, "features": features}.get(how)
    meant = clean.clone()
    for image, patch in np.argwhere(chosen):
        meant[image, patch] = {
            "zero": torch.zeros(clean.shape[-1]),
            "mean": clean[image].mean(0),
            "given mean": vector,
            "blank": blank[image, patch],
        }.get(how, features[image, patch])
    way = {"given mean": "mean", "features": "resample"}.get(how, how)
    with ablated_patches(llava, chosen, way, values):
        found = _seen(llava, inputs, "projector")
        logits = _logits(llava, inputs)
    torch.testing.assert_close(found, meant, **CLOSE)
    assert torch.equal(found[torch.from_numpy(~chosen)], clean[torch.from_numpy(~chosen)])
    with watching(llava.model, {"projector": lambda passing: meant}):
        torch.testing.assert_close(logits, _logits(llava, inputs), **CLOSE)


def test_one_line_of_patches_is_for_every_picture():
    llava = llava_of("llama")
    inputs, line = _inputs(llava, images=2), np.arange(PATCHES) < 4
    with ablated_patches(llava, line):
        found = _logits(llava, inputs)
    with ablated_patches(llava, np.stack([line, line])):
        assert torch.equal(_logits(llava, inputs), found)


def test_nested_use_adds_up_whatever_the_order():
    """The blank picture of the inner one is not touched by the outer one, which means two pictures."""
    llava = llava_of("deep")
    inputs = _inputs(llava, images=2)
    first, second = np.zeros((2, PATCHES), bool), np.zeros((2, PATCHES), bool)
    first[0, :4], second[1, 3:] = True, True
    with ablated_patches(llava, first), ablated_patches(llava, second, "blank"), ablated_heads(llava.model, [(1, 1)]):
        found = _logits(llava, inputs)
    with ablated_heads(llava.model, [(1, 1)]), ablated_patches(llava, second, "blank"), ablated_patches(llava, first):
        assert torch.equal(_logits(llava, inputs), found)
    with ablated_heads(llava.model, [(1, 1)]), ablated_heads(llava.model, [(3, 0), (1, 2)]):
        nested = _logits(llava, inputs)
    with ablated_heads(llava.model, [(1, 1), (3, 0), (1, 2)]):
        assert torch.equal(_logits(llava, inputs), nested)


def test_answers_are_those_of_the_ablated_model_and_all_is_gone_afterwards():
    llava, asked = llava_of("deep"), sample()
    every = [(layer, head) for layer in range(5) for head in range(4)]

    def said():
        (given,) = answer(llava, [asked], lambda name: picture(int(name)), max_new_tokens=5)
        return given.ids.tolist()

    clean, hooks = said(), _hooks(llava)
    with ablated_heads(llava.model, every), ablated_patches(llava, np.ones(PATCHES, bool)):
        changed = said()
        ids = torch.tensor(changed)[None]
        inputs = {"input_ids": ids, "pixel_values": llava.pixels([picture(0)])}
        assert _logits(llava, inputs)[0, -6:-1].argmax(-1).tolist() == changed[-5:]
    assert said() == clean != changed
    line = np.ones(PATCHES, bool)
    with pytest.raises(ZeroDivisionError), ablated_heads(llava.model, every), ablated_patches(llava, line, "blank"):
        raise ZeroDivisionError
    assert _hooks(llava) == hooks
    assert said() == clean


def test_a_trace_of_ablated_heads_is_not_taken_apart_and_one_of_ablated_patches_is():
    llava = llava_of("llama")
    encoded, pixels = answered(llava, sample(), "red"), llava.pixels([picture(0)])
    with ablated_heads(llava.model, [(0, 1)]), ablated_patches(llava, np.ones(PATCHES, bool)):
        trace = traced(llava, encoded, pixels)
    for apart in (decompose, lambda trace: head_outputs(trace, 1), head_increases):
        with pytest.raises(LapilliError, match="trace without the ablation"):
            apart(trace)
    with ablated_patches(llava, np.ones(PATCHES, bool)):
        assert decompose(traced(llava, encoded, pixels)).error.max() < 1e-3
    assert decompose(traced(llava, encoded, pixels)).error.max() < 1e-3


def test_paths_are_not_followed_back_from_values_from_elsewhere():
    llava, line = llava_of("llama"), np.ones(PATCHES, bool)
    encoded, pixels = answered(llava, sample(), "red"), llava.pixels([picture(0)])
    values = {(0, 1): torch.ones(D_HEAD)}
    with (
        pytest.raises(LapilliError, match="no path"),
        ablated_heads(llava.model, list(values), "mean", values),
    ):
        all_paths(llava, encoded.ids, encoded.layout, pixels, queries=[20])
    with pytest.raises(LapilliError, match="no path"), ablated_patches(llava, line, "blank"):
        all_paths(llava, encoded.ids, encoded.layout, pixels, queries=[20])
    for way in ("zero", "mean"):
        with ablated_patches(llava, line, way):
            assert all_paths(llava, encoded.ids, encoded.layout, pixels, queries=[20]).error.max() < 1e-4


def test_the_sites_that_are_replaced_are_known_within_the_block_alone():
    llava = llava_of("llama")
    with pytest.raises(ZeroDivisionError), ablated_patches(llava, np.ones(PATCHES, bool)):
        assert changed_sites(llava.model) == ["projector"] and not heads_changed(llava.model)
        with ablated_heads(llava.model, [(1, 0)]), ablated_heads(llava.model, [(1, 0)]):
            assert heads_changed(llava.model) and len(changed_sites(llava.model)) == 3
            assert not changed_sites(llava_of("qwen2").model)
        raise ZeroDivisionError
    assert changed_sites(llava.model) == []


def test_what_cannot_be_ablated_is_refused_and_leaves_nothing():
    llava = llava_of("llama")
    model, hooks, line = llava.model, _hooks(llava), np.ones(PATCHES, bool)
    for heads, how, values, error in [
        ([(0, 4)], "zero", None, UsageError),
        ([(2, 0)], "zero", None, UsageError),
        ([(0, 0)], "mean", None, UsageError),
        ([(0, 0)], "mean", {(0, 0): torch.zeros(3)}, UsageError),
        ([(0, 0)], "resample", {(0, 0): torch.zeros(D_HEAD)}, UsageError),
        ([(0, 0)], "noise", None, UsageError),
    ]:
        with pytest.raises(error), ablated_heads(model, heads, how, values):
            pass
    for how, values in [("zero", torch.zeros(3)), ("resample", None), ("mean", torch.zeros(2, 3)), ("noise", None)]:
        with pytest.raises(UsageError), ablated_patches(llava, line, how, values):
            pass
    inputs = _inputs(llava)
    for patches in (line[:-1], np.ones((2, PATCHES), bool)):
        with pytest.raises(LapilliError, match="shows 1 x 9"), ablated_patches(llava, patches):
            _logits(llava, inputs)
    with (
        pytest.raises(LapilliError, match="values"),
        ablated_patches(llava, line, "resample", llava.pixels([picture(1), picture(2)])),
    ):
        _logits(llava, inputs)
    assert _hooks(llava) == hooks
