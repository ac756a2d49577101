"""Patching: hybrids with shared states are, to the bit, those that exchange modules and run from the start."""

import time
from functools import cache

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of, path_of, sample
from tests.parts import picture

from lapilli.core.errors import LapilliError
from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.inspection.capture import capturing
from lapilli.inspection.intervention import patching
from lapilli.inspection.intervention.patching import (
    Patch,
    block_sets,
    everything,
    hybrids,
    local_changes,
    nothing,
    patched,
    window,
    windows,
)
from lapilli.inspection.intervention.shapley import shapley_shares
from lapilli.model.llava import load

DEPTH = {"deep": 5, "mistral": 2, "qwen2": 2}


@cache
def pair(name):
    """A model and a copy of it that was changed everywhere, as a tuning would."""
    base, tuned = llava_of(name), load(path_of(name))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight += 0.1 * weight.std() * torch.randn_like(weight) if weight.numel() > 1 else 0
    return base, tuned


def batch_of(llava):
    prompts = [
        encode(sample(images, words=words), llava.codec, for_generation=True)
        for images, words in ((1, 1), (0, 4), (2, 2))
    ]
    pixels = llava.pixels([picture(number) for prompt in prompts for number in map(int, prompt.images)])
    batch = collate(prompts, llava.codec.tokenizer.pad_token_id, "right", pixels)
    del batch["labels"]
    at = torch.tensor([0, 0, 1, 2]), torch.tensor([len(prompts[0].ids) - 1, 3, len(prompts[1].ids) - 1, 2])
    return batch, at


@torch.inference_mode()
def alone(llava, batch, at):
    """The logits of a model that is run from the start."""
    return llava.model.lm_head(llava.model.model(**batch, use_cache=False).last_hidden_state[at]).float()


def run_again(target, source, batch, at, patch):
    with patched(target, source, patch):
        return alone(target, batch, at)


def same(logits):
    return logits


SWITCHES = ("embeddings", "connector", "norm", "head")


@pytest.mark.parametrize("name", DEPTH)
def test_nothing_is_the_target_and_everything_the_source_to_the_bit(name):
    target, source = pair(name)
    batch, at = batch_of(target)
    none, all_ = hybrids(target, source, batch, at, [nothing(DEPTH[name]), everything(DEPTH[name])], read=same)
    assert torch.equal(none, alone(target, batch, at))
    assert torch.equal(all_, alone(source, batch, at))
    assert not torch.allclose(none, all_, atol=0.05)


@pytest.mark.parametrize("name", DEPTH)
@pytest.mark.parametrize("towards", ["tuned", "base"])
def test_all_windows_are_those_run_again_to_the_bit(name, towards):
    target, source = pair(name) if towards == "tuned" else pair(name)[::-1]
    batch, at = batch_of(target)
    patches = windows(DEPTH[name])
    assert len(patches) == DEPTH[name] * (DEPTH[name] + 1) // 2
    shared = hybrids(target, source, batch, at, patches, read=same)
    for patch, logits in zip(patches, shared, strict=True):
        assert torch.equal(logits, run_again(target, source, batch, at, patch))
    assert len({tuple(logits.flatten().tolist()) for logits in shared}) == len(patches)


@pytest.mark.parametrize("switches", range(16))
def test_every_switch_is_its_part(switches):
    target, source = pair("deep")
    batch, at = batch_of(target)
    chosen = {name: bool(switches >> number & 1) for number, name in enumerate(SWITCHES)}
    patch = Patch((False, True, False, False, True), **chosen)
    (logits,) = hybrids(target, source, batch, at, [patch], read=same)
    torch.testing.assert_close(logits, run_again(target, source, batch, at, patch), rtol=0, atol=0)


def test_everything_exchanged_is_the_source_to_the_bit():
    target, source = pair("deep")
    batch, at = batch_of(target)
    assert torch.equal(run_again(target, source, batch, at, everything(5)), alone(source, batch, at))


def test_the_target_is_itself_again_whatever_happens():
    target, source = pair("deep")
    batch, at = batch_of(target)
    before, modules = alone(target, batch, at), [id(module) for module in target.model.modules()]
    with pytest.raises(KeyboardInterrupt), patched(target, source, everything(5)):
        assert not torch.equal(alone(target, batch, at), before)
        raise KeyboardInterrupt
    assert [id(module) for module in target.model.modules()] == modules
    assert torch.equal(alone(target, batch, at), before)


def test_states_that_hybrids_share_are_computed_once(monkeypatch):
    """The layers that are run beside the two models' own runs: L (L + 1) (L + 2) / 6 less the two paths' L each."""
    target, source = pair("deep")
    batch, at = batch_of(target)
    steps = []
    step = patching._Path.step
    monkeypatch.setattr(
        patching._Path, "step", lambda path, layer, state: steps.append(layer) or step(path, layer, state)
    )
    hybrids(target, source, batch, at, windows(5), read=same)
    assert len(steps) == 5 * 6 * 7 // 6 - 5
    steps.clear()
    hybrids(target, source, batch, at, block_sets(5, 5), read=same)
    assert len(steps) == 2 + 4 + 8 + 16 + 32 - 10


@pytest.mark.parametrize(
    ("depth", "blocks", "first"), [(5, 5, [0]), (30, 8, [0, 1, 2, 3]), (32, 8, [0, 1, 2, 3]), (2, 1, [0, 1])]
)
def test_sets_of_blocks(depth, blocks, first):
    sets = block_sets(depth, blocks)
    assert len(set(sets)) == 2**blocks
    assert sets[0] == nothing(depth) and all(sets[-1].layers)
    assert [layer for layer in range(depth) if sets[1].layers[layer]] == first


def test_windows_of_some_widths():
    assert windows(4, [1]) == [window(4, layer, layer + 1) for layer in range(4)]
    for start, stop in ((2, 2), (-1, 2), (0, 5)):
        with pytest.raises(ValueError, match="of 4"):
            window(4, start, stop)


def passing(llava, batch, at, site):
    with capturing(llava.model, site) as capture, torch.inference_mode():
        llava.model(**batch)
    return capture[site][at]


def test_a_layers_own_change_is_that_of_the_layer_alone():
    """By exchanging one layer: what is before it is the same, what is behind it differs by the layer alone."""
    base, tuned = pair("deep")
    batch, at = batch_of(base)
    for own, changes in zip((base, tuned), local_changes(base, tuned, batch, at), strict=True):
        for layer in range(5):
            before = passing(own, batch, at, f"llm.layers.{layer}.resid_pre")
            site, other = f"llm.layers.{layer}.resid_post", tuned if own is base else base
            kept = passing(own, batch, at, site)
            with patched(own, other, window(5, layer, layer + 1)):
                exchanged = passing(own, batch, at, site)
            by_base = kept if own is base else exchanged
            expected = (kept - exchanged).norm(dim=1) / (by_base - before).norm(dim=1)
            torch.testing.assert_close(changes[layer], expected)
            assert (changes[layer] > 0.01).all()


def test_a_layer_that_stayed_has_no_change():
    base, tuned = pair("deep")
    batch, at = batch_of(base)
    with patched(tuned, base, window(5, 1, 3)):
        changes = local_changes(base, tuned, batch, at)
    for of in changes:
        assert (of[[1, 2]] == 0).all() and (of[[0, 3, 4]] > 0).all()


def test_models_that_do_not_fit_are_refused():
    deep, mistral = llava_of("deep"), llava_of("mistral")
    batch, at = batch_of(deep)
    with pytest.raises(LapilliError, match="patch a base and its tuned version"):
        hybrids(deep, mistral, batch, at, [nothing(5)], read=same)
    with pytest.raises(LapilliError, match="patch a base and its tuned version"), patched(deep, mistral, nothing(5)):
        pass
    with pytest.raises(LapilliError, match=r"in float32 on cpu of one model, .* in bfloat16 on cpu of the other"):
        hybrids(deep, llava_of("deep", dtype=torch.bfloat16), batch, at, [nothing(5)], read=same)
    with pytest.raises(ValueError, match="a patch of 4 layers for models of 5"):
        hybrids(*pair("deep"), batch, at, [nothing(4)], read=same)


SETTINGS = {"num_attention_heads": 2, "rms_norm_eps": 0.5, "hidden_act": "gelu", "rope_parameters": {"rope_theta": 7.0}}


@pytest.mark.parametrize("setting", SETTINGS)
def test_models_whose_layers_do_something_else_with_like_weights_are_refused(setting, monkeypatch):
    base, tuned = pair("deep")
    batch, at = batch_of(base)
    monkeypatch.setattr(tuned.model.model.language_model.config, setting, SETTINGS[setting])
    with pytest.raises(LapilliError, match=rf"config\.{setting}: .* patch a base and its tuned version"):
        local_changes(base, tuned, batch, at)


def test_shares_sum_to_what_all_parts_do():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2**6, 3))
    np.testing.assert_allclose(shapley_shares(values).sum(0), values[-1] - values[0], atol=1e-12)


def test_shares_by_all_orders():
    from itertools import permutations

    values = np.random.default_rng(1).standard_normal(2**4)
    expected = np.zeros(4)
    for order in permutations(range(4)):
        before = 0
        for part in order:
            expected[part] += values[before | 1 << part] - values[before]
            before |= 1 << part
    np.testing.assert_allclose(shapley_shares(values), expected / 24, atol=1e-12)


def test_shares_of_parts_that_only_add_are_what_they_add():
    adds = np.array([1.0, -2.0, 0.0, 5.0])
    values = np.array([sum(adds[i] for i in range(4) if number >> i & 1) for number in range(16)])
    np.testing.assert_allclose(shapley_shares(values), adds, atol=1e-12)
    with pytest.raises(ValueError, match="3 values"):
        shapley_shares(values[:3])


@pytest.mark.slow
def test_shared_states_take_the_time_that_they_should():
    target, source = pair("deep")
    batch, at = batch_of(target)
    patches = windows(5)
    seconds = {}
    for name, run in (
        ("shared", lambda: hybrids(target, source, batch, at, patches, read=same)),
        ("again", lambda: [run_again(target, source, batch, at, patch) for patch in patches]),
    ):
        start = time.process_time()
        for _ in range(10):
            run()
        seconds[name] = time.process_time() - start
    assert seconds["shared"] < 1.1 * (5 + 2) / (3 * 5) * seconds["again"]
