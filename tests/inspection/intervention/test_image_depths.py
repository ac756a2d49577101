"""Images in some layers only: each variant is what the whole model computes from the pixels, and its ends are known."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from tests.inspection.runs import MODELS, _mask, _masking, full_logits, llava_of, read, replay_logits, sample

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role, TokenLayout
from lapilli.inspection.intervention import replay as replaying
from lapilli.inspection.intervention.image_depths import blocked, hide, random_text
from lapilli.inspection.intervention.replay import Cut, enter_late, readers, replay
from lapilli.inspection.readings import clean
from lapilli.inspection.target import Target

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def late_by_hand(llava, run, entry):
    """The logits of every position, (token, vocab), where images pass the layers below `entry` unchanged and unread."""
    layout, length = run.trace.layout, len(run.trace.ids)
    image = layout.positions(Role.IMAGE)
    text = [at for at in range(length) if at not in image]
    unread = _mask(llava.model, length, [Cut(np.array(text), image, range(entry))])
    blocks, embedded = llava.model.model.language_model.layers, {}

    def note(module, arguments):
        embedded["image"] = arguments[0][:, image]

    def stay(module, arguments, output):
        output = output.clone()
        output[:, image] = embedded["image"]
        return output

    with ExitStack() as hooks, torch.inference_mode():
        hooks.callback(blocks[0].register_forward_pre_hook(note).remove)
        for layer, block in enumerate(blocks):
            mask = unread if layer < entry else _mask(llava.model, length, [])
            hooks.callback(block.self_attn.register_forward_pre_hook(_masking(mask), with_kwargs=True).remove)
            if layer < entry:
                hooks.callback(block.register_forward_hook(stay).remove)
        read = torch.from_numpy(run.trace.ids)[None]
        return llava.model(input_ids=read, pixel_values=run.pixels, use_cache=False).logits[0].float()


def log_probs(run, logits):
    """What `replay` reads of the logits of every position, (query,)."""
    ids = torch.from_numpy(run.trace.next_ids)
    return logits[run.trace.queries].log_softmax(-1).gather(1, ids[:, None])[:, 0].numpy()


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_images_that_enter_late_are_those_of_the_whole_model(name, images):
    """In no order, in one call, with text between two images."""
    llava, oracle = llava_of(name), llava_of(name, "eager")
    run = read(llava, sample(images, turns=images, words=3))
    depth = run.trace.decoder.depth
    entries = [*range(depth, -1, -1), 1]
    late = enter_late(run.trace, entries)
    for entry, log_prob in zip(entries, late.log_prob, strict=True):
        np.testing.assert_allclose(log_prob, log_probs(run, late_by_hand(oracle, run, entry)), **CLOSE)
    assert np.ptp(late.log_prob, 0).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_images_that_enter_before_the_first_layer_are_the_model_and_behind_the_last_are_withdrawn(name):
    run = read(llava_of(name), sample())
    depth = run.trace.decoder.depth
    late = enter_late(run.trace, [0, depth])
    unseen = replay(run.trace, blocked(run.trace.layout, [range(depth)]))
    for part in ("log_prob", "target"):
        np.testing.assert_allclose(getattr(late, part)[0], getattr(late, f"clean_{part}"), **CLOSE)
        np.testing.assert_allclose(getattr(late, part)[1], getattr(unseen, part)[0], **CLOSE)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_how_many_run_together_changes_nothing(at_once, monkeypatch):
    run = read(llava_of("deep"), sample())
    entries = [3, 0, 5, 1, 3]
    whole = enter_late(run.trace, entries)
    monkeypatch.setattr(replaying._Suffix, "fitting", lambda self: at_once + 1)
    parts = enter_late(run.trace, entries)
    np.testing.assert_allclose(parts.log_prob, whole.log_prob, **CLOSE)
    assert np.array_equal(parts.likeliest, whole.likeliest)


def test_queries_before_and_inside_the_image():
    """Those before it are as they were, to the bit; those at its tokens read what passed them unchanged."""
    llava = llava_of("deep")
    length = len(read(llava, sample()).trace.ids)
    run = read(llava, sample(), queries=np.arange(1, length - 1))
    late = enter_late(run.trace, [2, 5])
    before = run.trace.queries < run.trace.layout.positions(Role.IMAGE)[0]
    assert before.any() and np.array_equal(late.log_prob[:, before], np.tile(late.clean_log_prob[before], (2, 1)))
    for entry, log_prob in zip((2, 5), late.log_prob, strict=True):
        np.testing.assert_allclose(
            log_prob, log_probs(run, late_by_hand(llava_of("deep", "eager"), run, entry)), **CLOSE
        )


@pytest.mark.parametrize("name", MODELS)
def test_withdrawn_behind_the_last_layer_is_the_model_to_the_bit_and_before_the_first_no_text_sees_the_image(name):
    llava = llava_of(name)
    run, other = read(llava, sample()), read(llava, sample())
    layout, depth = run.trace.layout, run.trace.decoder.depth
    nothing, everything = blocked(layout, [range(depth, depth), range(depth)])
    assert np.array_equal(replay(run.trace, [nothing]).log_prob[0], clean(run.trace, Target())[1])
    unseen = replay(run.trace, [everything]).log_prob[0]
    np.testing.assert_allclose(unseen, log_probs(run, full_logits(llava_of(name, "eager"), run, everything)), **CLOSE)
    assert np.array_equal(other.trace.ids, run.trace.ids)


def test_withdrawing_is_taking_the_tokens_out_of_the_sequence():
    """From a layer on, text alone runs through the model's layers, at its own positions: the same logits."""
    llava = llava_of("deep")
    run = read(llava, sample(words=4))
    trace, model = run.trace, llava.model.model.language_model
    text = np.flatnonzero(trace.layout.role != Role.IMAGE)
    for layer in range(trace.decoder.depth + 1):
        (kept,) = replay_logits(trace, blocked(trace.layout, [range(layer, trace.decoder.depth)]))
        hidden = trace.stream.resid[layer][None, text]
        rotary = tuple(part[None, text] for part in trace.stream.rotary)
        causal = torch.full((len(text), len(text)), -torch.inf).triu(1)[None, None]
        with torch.inference_mode():
            for block in model.layers[layer:]:
                hidden = block(hidden, attention_mask=causal, position_embeddings=rotary)
            logits = llava.model.lm_head(model.norm(hidden))[0]
        torch.testing.assert_close(kept, logits[np.searchsorted(text, trace.queries)], **CLOSE)


def test_hidden_text_sees_itself_and_is_seen_by_no_other_text():
    run = read(llava_of("deep"), sample(words=4))
    layout = run.trace.layout
    question = layout.positions(Role.QUESTION)[1:4]
    cuts = hide(layout, question, range(1, 3))
    pairs = {(query, key) for cut in cuts for query in cut.queries.tolist() for key in cut.keys.tolist()}
    assert pairs == {(query, key) for query in readers(layout).tolist() for key in question.tolist() if query != key}
    assert {cut.layers for cut in cuts} == {range(1, 3)}


def test_the_control_hides_as_many_text_positions_of_the_prompt_and_at_most_half():
    many = read(llava_of("deep"), sample(words=2)).trace.layout
    role = np.array([Role.TEMPLATE, *[Role.IMAGE] * 9, *[Role.QUESTION] * 9, Role.TEMPLATE, Role.ANSWER, Role.STOP])
    at = np.cumsum(role == Role.IMAGE) - 1
    image, row, column = (np.where(role == Role.IMAGE, part, -1) for part in (0 * at, at // 3, at % 3))
    few = TokenLayout(role, np.zeros_like(role), image, row, column)
    for layout, count in ((many, 9), (few, 4)):
        prompt = np.flatnonzero((layout.role != Role.IMAGE) & ~layout.last_answer)
        chosen = {tuple(random_text(layout, np.random.default_rng(seed)).tolist()) for seed in range(20)}
        assert {len(some) for some in chosen} == {count} and len(chosen) > 1
        assert set().union(*chosen) <= set(prompt[1:-1].tolist())


def test_what_cannot_enter_late_is_refused():
    llava = llava_of("deep")
    with pytest.raises(ValueError, match=r"images enter before layers \[6\], of 5"):
        enter_late(read(llava, sample()).trace, [2, 6])
    with pytest.raises(LapilliError, match="shows no image"):
        enter_late(read(llava, sample(images=0)).trace, [1])
