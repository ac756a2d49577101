"""Replaying: every variant is what the whole model computes under the same mask, from the pixels on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.inspection.runs import MODELS, Run, full_logits, generated, llava_of, path_of, read, replay_logits, sample

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.core.placement import Placement
from lapilli.inspection.intervention.replay import Cut, replay
from lapilli.inspection.recording import recording
from lapilli.inspection.target import Target
from lapilli.model.llava import load
from lapilli.model.upstream import cache_argument, new_cache

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def _text(layout):
    """All text behind the first image."""
    (text,) = np.nonzero(layout.role != Role.IMAGE)
    return text[text > layout.positions(Role.IMAGE)[0]]


def _variants(trace):
    """Cuts of every kind: of all layers, of one, of late ones, two at once that begin in different layers, far in."""
    layout, depth = trace.layout, trace.decoder.depth
    image, question = layout.positions(Role.IMAGE), layout.positions(Role.QUESTION)
    text, last = _text(layout), trace.queries
    yield [Cut(text, image, range(depth))]
    yield from ([Cut(text, image, range(layer, layer + 1))] for layer in range(depth))
    yield [Cut(question[question > image[0]], image[::2], range(depth))]
    yield [Cut(last, question, range(depth // 2, depth)), Cut(text[3:], image[:4], range(1))]
    yield [Cut(last[2:], image, range(depth - 1, depth)), Cut(last[1:2], text[:4], range(depth))]
    yield [Cut(last[-1:], np.arange(3, last[-1]), range(0, depth, 2))]


def _require_same(run, llava, oracle, **how):
    variants = list(_variants(run.trace))
    found = replay_logits(run.trace, variants, **how)
    for logits, variant in zip(found, variants, strict=True):
        meant = full_logits(oracle, run, variant)[run.trace.queries]
        torch.testing.assert_close(logits, meant, **CLOSE)
    moved = (found - run.trace.logits).abs().amax((1, 2))
    assert (moved > 1e-3).float().mean() > 0.6  # the last queries of mistral are out of the image's reach


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_a_variant_is_a_full_run_under_its_mask(name, attention):
    """The oracle is eager throughout; mistral's sequence is longer than its window."""
    llava = llava_of(name, attention)
    run = read(llava, sample(words=50 if name == "mistral" else 1))
    if name == "mistral":
        assert len(run.trace.ids) > 70 > 64 == run.trace.decoder.window(0)
    _require_same(run, llava, llava_of(name, "eager"))


@pytest.mark.parametrize("name", MODELS)
def test_two_images_and_several_turns(name):
    llava = llava_of(name)
    run = read(llava, sample(images=2, turns=3), queries=None)
    assert run.trace.layout.image_count == 3
    _require_same(run, llava, llava_of(name, "eager"))


@pytest.mark.parametrize("name", ["deep", "llama", "qwen2"])
def test_a_generated_answer_of_20_tokens(name):
    """In double precision: in single precision even the whole run of `deep` is as much as 1.5e-5 away from it."""
    llava = llava_of(name, dtype=torch.float64)
    run = generated(llava, sample(), tokens=20)
    assert len(run.trace.queries) == 20
    _require_same(run, llava, llava_of(name, "eager", torch.float64))


@pytest.mark.parametrize("name", ["deep", "llama", "qwen2"])
def test_in_single_precision_an_answer_is_replayed_as_exactly_as_it_is_run(name):
    """Both rounded differently: neither a replay nor the whole model in float32 is much nearer to double precision."""
    llava, double = llava_of(name), llava_of(name, dtype=torch.float64)
    run = generated(llava, sample(), tokens=20)
    exact, variants = Run(run.trace, run.pixels.double()), list(_variants(run.trace))
    wrong = {"replayed": 0.0, "run": 0.0}
    for logits, variant in zip(replay_logits(run.trace, variants), variants, strict=True):
        meant = full_logits(double, exact, variant)[run.trace.queries]
        whole = full_logits(llava, run, variant)[run.trace.queries]
        wrong["replayed"] = max(wrong["replayed"], float((logits - meant).abs().max()))
        wrong["run"] = max(wrong["run"], float((whole - meant).abs().max()))
    assert 0 < wrong["replayed"] < 2 * wrong["run"] < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_rows_before_and_behind_the_cut(name):
    """Rows all over the sequence, in the image too: those before the first cut query stay exactly as they were."""
    llava = llava_of(name)
    whole = read(llava, sample()).trace
    run = read(llava, sample(), queries=np.arange(2, len(whole.ids) - 1, 3))
    middle = len(whole.ids) - 8
    variant = [Cut(np.arange(middle, len(whole.ids)), np.arange(1, middle), range(1, 2))]
    (found,) = replay_logits(run.trace, [variant])
    before = run.trace.queries < middle
    assert 0 < before.sum() < len(before)
    assert torch.equal(found[before], run.trace.logits[before])
    torch.testing.assert_close(found, full_logits(llava_of(name, "eager"), run, variant)[run.trace.queries], **CLOSE)


@pytest.mark.parametrize("name", ["deep", "qwen2"])
def test_queries_inside_the_image_may_be_cut(name):
    """Then the image's own keys and values change behind them, and are computed again."""
    llava = llava_of(name)
    run = read(llava, sample())
    image = run.trace.layout.positions(Role.IMAGE)
    variant = [Cut(image[2:], image[:2], range(run.trace.decoder.depth))]
    (found,) = replay_logits(run.trace, [variant])
    torch.testing.assert_close(found, full_logits(llava_of(name, "eager"), run, variant)[run.trace.queries], **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_cutting_nothing_is_the_clean_run(name):
    """Run again without a cut, from every layer; and not run at all, to the bit."""
    run = read(llava_of(name), sample())
    nothing, text = np.empty(0, np.intp), _text(run.trace.layout)
    again = [[Cut(text, nothing, range(layer, layer + 1))] for layer in range(run.trace.decoder.depth)]
    for logits in replay_logits(run.trace, again):
        torch.testing.assert_close(logits, run.trace.logits, **CLOSE)
    unseen = [[], [Cut(nothing, text, range(1))], [Cut(text, text, range(0))]]
    assert torch.equal(replay_logits(run.trace, unseen), run.trace.logits.expand(3, -1, -1))


@pytest.mark.parametrize("name", MODELS)
def test_text_that_sees_no_image_does_not_depend_on_the_picture(name):
    """One image: with all of its keys cut for all text, another picture changes nothing, though it had before."""
    llava = llava_of(name)
    run = read(llava, sample())
    other_pixels = run.pixels.flip(-1, -2)
    inputs = {"input_ids": torch.from_numpy(run.trace.ids)[None], "pixel_values": other_pixels}
    with recording(llava, queries=run.trace.queries, whole=True) as record, torch.inference_mode():
        llava.model(**inputs, **cache_argument(llava.model, new_cache()))
    other = record.trace(run.trace.ids, run.trace.layout)
    assert (other.logits - run.trace.logits).abs().max() > 1e-3
    layout = run.trace.layout
    blind = [Cut(_text(layout), layout.positions(Role.IMAGE), range(run.trace.decoder.depth))]
    torch.testing.assert_close(replay_logits(run.trace, [blind]), replay_logits(other, [blind]), **CLOSE)


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_how_many_run_together_changes_nothing(at_once):
    run = read(llava_of("deep"), sample())
    variants = list(_variants(run.trace))[::-1]
    alone = torch.cat([replay_logits(run.trace, [variant]) for variant in variants])
    torch.testing.assert_close(replay_logits(run.trace, variants, at_once=at_once), alone, **CLOSE)
    assert np.allclose(replay(run.trace, variants, at_once=at_once).target, replay(run.trace, variants).target, **CLOSE)


@pytest.mark.parametrize("target", [Target(), Target("token"), Target("difference", against=7)])
def test_what_is_read_off_is_that_of_the_logits(target):
    run = read(llava_of("llama"), sample())
    variants = list(_variants(run.trace))
    logits, ids = replay_logits(run.trace, variants).double(), run.trace.next_ids
    found = replay(run.trace, variants, target)
    for number in range(len(variants)):
        for query, word in enumerate(ids):
            one = logits[number, query]
            other = {"token": 0, "centred": one.mean(), "difference": one[7]}[target.kind]
            assert found.log_prob[number, query] == pytest.approx(float(one.log_softmax(0)[word]), abs=1e-5)
            assert found.target[number, query] == pytest.approx(float(one[word] - other), abs=1e-5)
    clean = replay(run.trace, [[]], target)
    assert np.array_equal(clean.target[0], found.clean_target)
    assert not clean.log_prob_change.any()
    assert np.array_equal(found.target_change, found.target - clean.target)


def test_a_padded_batch_gives_what_each_gets_alone():
    """Two sequences of different lengths, padded on the left, whose positions are those that transformers counts."""
    llava = llava_of("deep")
    alone = [read(llava, sample(words=words)) for words in (1, 6)]
    short, long = (torch.from_numpy(run.trace.ids) for run in alone)
    missing = len(long) - len(short)
    ids = torch.stack([torch.nn.functional.pad(short, (missing, 0), value=0), long])
    mask = torch.ones_like(ids)
    mask[0, :missing] = 0
    queries = alone[1].trace.queries
    with recording(llava, queries=queries, whole=True) as record, torch.inference_mode():
        pixels = torch.cat([run.pixels for run in alone])
        llava.model(input_ids=ids, attention_mask=mask, pixel_values=pixels, **cache_argument(llava.model, new_cache()))
    for index, run in enumerate(alone):
        trace = record.trace(run.trace.ids, run.trace.layout, index)
        variants = list(_variants(run.trace))
        torch.testing.assert_close(replay_logits(trace, variants), replay_logits(run.trace, variants), **CLOSE)


def test_in_bfloat16_the_error_is_that_of_the_model_itself():
    llava = llava_of("deep")
    exact = read(llava, sample())
    variants = list(_variants(exact.trace))
    meant = replay_logits(exact.trace, variants)
    rounded = load(path_of("deep"), Placement(dtype="bf16"))
    inputs = {"input_ids": torch.from_numpy(exact.trace.ids)[None], "pixel_values": exact.pixels.bfloat16()}
    with recording(rounded, queries=exact.trace.queries, whole=True) as record, torch.inference_mode():
        rounded.model(**inputs, **cache_argument(rounded.model, new_cache()))
    trace = record.trace(exact.trace.ids, exact.trace.layout)
    own = (trace.logits - exact.trace.logits).abs().max()
    found = replay_logits(trace, variants)
    assert found.dtype == torch.float32
    assert (found - meant).abs().max() < 3 * own
    full = full_logits(rounded, Run(trace, exact.pixels.bfloat16()), variants[0])[trace.queries]
    assert (found[0] - full).abs().max() < own


def test_the_model_is_as_before_and_works_on():
    llava = llava_of("llama")
    run = generated(llava, sample())
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llava.model.modules()]
    keys = [layer.clone() for layer in run.trace.keys]
    replay(run.trace, list(_variants(run.trace)))
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llava.model.modules()] == hooks
    assert all(torch.equal(layer, before) for layer, before in zip(run.trace.keys, keys, strict=True))
    assert np.array_equal(generated(llava, sample()).trace.ids, run.trace.ids)


def test_what_cannot_be_replayed_is_refused():
    run = read(llava_of("llama"), sample())
    queries = run.trace.queries
    with pytest.raises(LapilliError, match="whole=True"):
        replay(replace(run.trace, stream=None), [])
    with pytest.raises(ValueError, match="keys of a cut"):
        replay(run.trace, [[Cut(queries, np.array([len(run.trace.ids)]), range(1))]])
    with pytest.raises(ValueError, match="layers of a cut"):
        replay(run.trace, [[Cut(queries, queries, range(3))]])
    with pytest.raises(ValueError, match="nothing to look at"):
        replay(run.trace, [[Cut(queries, np.arange(len(run.trace.ids)), range(1))]])
    config = run.trace.decoder.config
    config._attn_implementation = "flash_attention_2"
    try:
        with pytest.raises(LapilliError, match="set_attn_implementation"):
            replay(run.trace, [])
    finally:
        config._attn_implementation = "sdpa"
