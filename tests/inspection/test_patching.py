"""Patching: hybrids with shared states are, to the bit, those that exchange modules and run from the start."""

import time
from contextlib import ExitStack
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
from lapilli.inspection.intervention.mixed_layer import mixed
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
from lapilli.model.llm_modules import LLM_MODULES

DEPTH = {"deep": 5, "mistral": 2, "qwen2": 2}


@cache
def pair(name):
    """A model and a copy of it that was changed everywhere, as a tuning would."""
    base, tuned = llava_of(name), load(path_of(name))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            if weight.numel() > 1:
                weight += 0.1 * (float(weight.std()) or 1.0) * torch.randn_like(weight)  # norms begin as ones
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


def restricted(positions="all", modules=LLM_MODULES, depth=5):
    """The first layers, at some positions or in some modules."""
    return Patch(tuple(layer < -(-depth // 2) for layer in range(depth)), positions=positions, modules=modules)


@pytest.mark.parametrize("name", DEPTH)
def test_at_image_tokens_and_at_all_others_together_is_everywhere_to_the_bit(name):
    """By one mask behind the other; and with nothing to exchange a layer is itself."""
    target, source = pair(name)
    batch, at = batch_of(target)
    at_images = batch["input_ids"] == target.processor.image_token_id
    own, other = (llava.model.model.language_model.layers for llava in (target, source))
    with ExitStack() as both:
        for layer in range(DEPTH[name]):
            for positions in (at_images, ~at_images):
                both.enter_context(mixed(own[layer], other[layer], LLM_MODULES, positions))
        together = alone(target, batch, at)
    assert torch.equal(together, run_again(target, source, batch, at, window(DEPTH[name], 0, DEPTH[name])))
    before = alone(target, batch, at)
    assert not torch.allclose(together, before, atol=0.05)
    nowhere = torch.zeros_like(at_images)
    with mixed(own[0], other[0], LLM_MODULES, nowhere), mixed(own[1], other[1], ()):
        assert torch.equal(alone(target, batch, at), before)


def test_without_a_picture_there_are_text_positions_only():
    target, source = pair("deep")
    batch, at = batch_of(target)
    batch = {name: tensor[1:2] for name, tensor in batch.items() if name != "pixel_values"}  # the prompt without one
    at = torch.zeros(1, dtype=torch.long), at[1][2:3]
    patches = [restricted("image"), restricted("text"), restricted(), nothing(5)]
    image, text, whole, none = hybrids(target, source, batch, at, patches, read=same)
    assert torch.equal(image, none) and torch.equal(text, whole) and not torch.equal(whole, none)


def by_position(llavas, batch, at, patch):
    """The logits of a hybrid in which layers act at some positions, by hand: every token's keys and values are its own.

    In float64 and without a word of the models' code but their rotary angles.
    """
    target = llavas[0].model.model.language_model
    at_images = (batch["input_ids"] == llavas[0].processor.image_token_id).tolist()
    with capturing(llavas[0].model, "llm.layers.0.resid_pre") as capture, torch.inference_mode():
        llavas[0].model(**batch)
    rows = []
    for row, state in enumerate(capture["llm.layers.0.resid_pre"]):
        cos, sin = target.rotary_emb(state[None], torch.arange(len(state))[None])
        state = state.double()
        for layer, exchanged in enumerate(patch.layers):
            chosen = [
                llavas[exchanged and (patch.positions == "all" or (patch.positions == "image") == is_image)]
                for is_image in at_images[row]
            ]
            blocks = [llava.model.model.language_model.layers[layer] for llava in chosen]
            state = layer_by_hand(blocks, state, cos[0].double(), sin[0].double())
        rows.append(state)
    norm, head = target.norm, llavas[0].model.lm_head
    states = torch.stack([norm_of(norm, rows[row][token]) for row, token in zip(*at, strict=True)])
    return states @ head.weight.double().T


def norm_of(norm, state):
    return norm.weight.double() * state / (state.pow(2).mean() + norm.variance_epsilon).sqrt()


def layer_by_hand(blocks, state, cos, sin):
    """A layer whose weights at position i are those of `blocks[i]`: one token and one head after the other."""
    heads, width = blocks[0].self_attn.config.num_attention_heads, blocks[0].self_attn.head_dim
    vectors = {}
    for name in ("q_proj", "k_proj", "v_proj"):
        made = [
            getattr(block.self_attn, name).weight.double() @ norm_of(block.input_layernorm, token)
            for block, token in zip(blocks, state, strict=True)
        ]
        vectors[name] = torch.stack(made).unflatten(1, (heads, width))
    for name in ("q_proj", "k_proj"):
        of, half = vectors[name], width // 2
        turned = torch.cat([-of[..., half:], of[..., :half]], -1)
        vectors[name] = of * cos[:, None] + turned * sin[:, None]
    rows = []
    for token, block in enumerate(blocks):
        keys, values = (vectors[name][: token + 1] for name in ("k_proj", "v_proj"))
        weights = (torch.einsum("hd,thd->ht", vectors["q_proj"][token], keys) / width**0.5).softmax(-1)
        attended = torch.einsum("ht,thd->hd", weights, values).flatten()
        middle = state[token] + block.self_attn.o_proj.weight.double() @ attended
        normed = norm_of(block.post_attention_layernorm, middle)
        gate, up = (getattr(block.mlp, name).weight.double() @ normed for name in ("gate_proj", "up_proj"))
        rows.append(middle + block.mlp.down_proj.weight.double() @ (torch.nn.functional.silu(gate) * up))
    return torch.stack(rows)


@pytest.mark.parametrize("positions", ["image", "text", "all"])
@torch.inference_mode()
def test_layers_at_some_positions_are_those_by_hand(positions):
    target, source = pair("deep")
    batch, at = batch_of(target)
    patch = restricted(positions)
    (logits,) = hybrids(target, source, batch, at, [patch], read=same)
    expected = by_position((target, source), batch, at, patch)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)


MODULES = {
    "attention": ["self_attn"],
    "gate_up": ["mlp.gate_proj", "mlp.up_proj"],
    "down": ["mlp.down_proj"],
    "norms": ["input_layernorm", "post_attention_layernorm"],
}


@pytest.mark.parametrize("kind", LLM_MODULES)
def test_modules_of_a_kind_are_those_by_name_to_the_bit(kind):
    """By exchanging the modules themselves; the whole model under `patched` too."""
    target, source = pair("deep")
    batch, at = batch_of(target)
    patch = restricted(modules=(kind,))
    (logits,) = hybrids(target, source, batch, at, [patch], read=same)
    assert torch.equal(logits, run_again(target, source, batch, at, patch))
    own, other = (llava.model.model.language_model.layers[:3] for llava in (target, source))
    places = [(layer, name) for layer in range(3) for name in MODULES[kind]]
    before = alone(target, batch, at)
    kept = {place: own[place[0]].get_submodule(place[1]) for place in places}
    try:
        for layer, name in places:
            own[layer].set_submodule(name, other[layer].get_submodule(name))
        expected = alone(target, batch, at)
    finally:
        for (layer, name), module in kept.items():
            own[layer].set_submodule(name, module)
    assert torch.equal(logits, expected)
    assert not torch.equal(logits, before) and torch.equal(alone(target, batch, at), before)


def test_all_kinds_of_modules_are_the_layer_to_the_bit():
    target, source = pair("qwen2")
    batch, at = batch_of(target)
    with ExitStack() as kinds:
        for kind in LLM_MODULES:
            layers = zip(*(llava.model.model.language_model.layers for llava in (target, source)), strict=True)
            for own, other in layers:
                kinds.enter_context(mixed(own, other, (kind,)))
        together = alone(target, batch, at)
    assert torch.equal(together, run_again(target, source, batch, at, window(2, 0, 2)))


def test_a_patch_at_some_positions_is_no_whole_model():
    with pytest.raises(ValueError, match="at image positions"), patched(*pair("deep"), restricted("image")):
        pass


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
