"""Traces: against the model's own numbers from one slow pass; recording changes nothing and leaves nothing behind."""

import numpy as np
import pytest
import torch
from tests.inspection.oracle import (
    ALL_PAIRS,
    PAIRS,
    SAMPLES,
    TOKENS,
    awake,
    batch_of,
    close,
    continued,
    generated,
    own_numbers,
    traced,
)
from tests.parts import joined, picture

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role, TokenLayout
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.recording import recording
from lapilli.inspection.sites import watching
from lapilli.inspection.trace import attention
from lapilli.model.llava import load
from lapilli.model.upstream import cache_argument, new_cache

NARROW = ("clip", "narrow_mistral")


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_what_generating_a_mixed_batch_leaves_is_what_one_pass_computes(pair):
    for case in traced(pair):
        trace, own, queries = case.trace, case.own, case.trace.queries
        assert len(queries) == TOKENS
        assert np.array_equal(queries, len(trace.ids) - 1 - TOKENS + np.arange(TOKENS))
        close(trace.resid, own.resid[:, queries].transpose(1, 0, 2))
        close(trace.attn_out, own.attn_out[:, queries].transpose(1, 0, 2))
        close(trace.mlp_out, own.mlp_out[:, queries].transpose(1, 0, 2))
        close(trace.stream.resid, own.resid[:, :-1])
        close(trace.stream.attn_out, own.attn_out[:, :-1])
        for layer, values in enumerate(trace.values):
            close(values, own.values[layer, :, :-1] + own.value_bias[layer, :, None])
        close(trace.logits, own.logits[queries])
        close(trace.logits, case.logits)
        assert np.array_equal(trace.next_ids, trace.ids[queries + 1])


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_attention_is_that_of_eager_attention(pair):
    for case in traced(pair):
        for layer in range(case.trace.decoder.depth):
            close(attention(case.trace, layer), case.own.weights[layer][:, case.trace.queries, :-1].transpose(1, 0, 2))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_earlier_rows_of_a_plain_padded_forward_pass(pair, side):
    """No position ids are given, so that on the left the padding counts among the positions."""
    llava, slow = awake(pair), awake(pair, "eager")
    prompts, batch = batch_of(llava, SAMPLES, side)
    width = batch["input_ids"].shape[1]
    asked = [3, 5, width - 20, width - 2]
    with recording(llava, queries=asked) as record, torch.inference_mode():
        logits = llava.model(**batch, **cache_argument(llava.model, new_cache())).logits.numpy()
    for index, prompt in enumerate(prompts):
        start = width - len(prompt.ids) if side == "left" else 0
        queries = [query - start for query in asked if start <= query < start + len(prompt.ids)]
        trace = record.trace(prompt.ids, prompt.layout, index)
        pixels = slow.pixels([picture(int(name)) for name in prompt.images]) if prompt.images else None
        own = own_numbers(slow, prompt.ids, pixels)
        assert trace.queries.tolist() == queries
        close(trace.logits, logits[index, np.array(queries) + start])
        close(trace.resid, own.resid[:, queries].transpose(1, 0, 2))
        for layer in range(trace.decoder.depth):
            close(attention(trace, layer), own.weights[layer][:, queries].transpose(1, 0, 2))


def test_the_last_row_of_a_sequence_predicts_the_likeliest():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    with recording(llava) as record, torch.inference_mode():
        logits = llava.model(**batch).logits[0, -1]
    assert record.trace(prompt.ids, prompt.layout).next_ids.tolist() == [int(logits.argmax())]


def test_a_query_by_itself_is_that_query():
    trace = traced(PAIRS[0])[1].trace
    one = trace.at(3)
    assert one.queries.tolist() == [trace.queries[3]]
    assert one.next_ids.tolist() == [trace.next_ids[3]]
    for layer in range(trace.decoder.depth):
        close(attention(one, layer)[0], attention(trace, layer)[3])


def test_answers_are_traced_and_the_row_of_the_stop_is_left_out():
    llava = awake(PAIRS[0])
    llava.model.lm_head.register_forward_hook(lambda module, given, out: out.index_fill(-1, torch.tensor([2]), 99))
    with recording(llava) as record:
        (given,) = answer(llava, SAMPLES[1:2], lambda name: picture(int(name)), max_new_tokens=5)
    trace = record.trace(given.ids, given.layout)
    assert trace.layout.role[-1] == Role.STOP
    assert trace.queries.tolist() == [len(given.ids) - 2]
    assert trace.next_ids.tolist() == [llava.stop_id] and trace.stops.tolist() == [True]


def test_what_ends_an_answer_is_its_stop_or_the_end_of_the_sequence():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[3:4])
    (stop,) = prompt.layout.positions(Role.STOP)
    with recording(llava, queries=[stop - 2, stop - 1, stop, len(prompt.ids) - 1]) as record, torch.inference_mode():
        llava.model(**batch)
    assert record.trace(prompt.ids, prompt.layout).stops.tolist() == [False, True, False, True]


def test_every_generate_call_begins_a_new_recording():
    llava = awake(PAIRS[0])
    with recording(llava) as record:
        for sample in (SAMPLES[2], SAMPLES[1]):
            (given,) = answer(llava, [sample], lambda name: picture(int(name)), max_new_tokens=3)
    trace = record.trace(given.ids, given.layout)
    with recording(llava) as alone:
        answer(llava, SAMPLES[1:2], lambda name: picture(int(name)), max_new_tokens=3)
    assert torch.equal(trace.resid, alone.trace(given.ids, given.layout).resid)


def test_the_row_of_an_earlier_stop_is_one_as_any():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[3:4])
    (stop,) = prompt.layout.positions(Role.STOP)
    with recording(llava, queries=[stop, stop + 1]) as record, torch.inference_mode():
        logits = llava.model(**batch).logits[0]
    trace = record.trace(prompt.ids, prompt.layout)
    assert trace.queries.tolist() == [stop, stop + 1] and not trace.stops.any()
    close(trace.logits, logits[stop : stop + 2])


@pytest.mark.parametrize("pair", PAIRS)
def test_going_on_with_a_cache_that_was_not_recorded(pair):
    """As a chat does: the queries are where they are in the sequence; the stream of all cannot be had."""
    llava, slow = awake(pair), awake(pair, "eager")
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    cache = new_cache()
    first = generated(llava, batch, 4, **cache_argument(llava.model, cache))
    longer = {"input_ids": torch.cat([first.sequences, torch.tensor([[9, 10]])], dim=1)}
    with recording(llava) as record, recording(llava, whole=True) as whole:
        said = generated(llava, longer, 3, **cache_argument(llava.model, cache))
    ids, layout = said.sequences[0].numpy(), continued(prompt.layout, 9)
    trace, own = record.trace(ids, layout), own_numbers(slow, ids, slow.pixels([picture(1)]))
    assert trace.queries.tolist() == [len(ids) - 4, len(ids) - 3, len(ids) - 2]
    close(trace.resid, own.resid[:, trace.queries].transpose(1, 0, 2))
    for layer in range(trace.decoder.depth):
        close(attention(trace, layer), own.weights[layer][:, trace.queries, :-1].transpose(1, 0, 2))
    with pytest.raises(LapilliError, match="has not been recorded: the model went on with a cache; give it an empty"):
        whole.trace(ids, layout)


def test_a_cropped_cache_is_refused_with_its_remedy():
    llava = awake(NARROW)
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    with recording(llava) as record, torch.inference_mode():
        llava.model(**batch)
    with pytest.raises(LapilliError, match="sliding window has dropped the others; give the model a DynamicCache"):
        record.trace(prompt.ids, prompt.layout)


def test_nothing_recorded_is_said():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    with recording(llava) as record:
        pass
    with pytest.raises(LapilliError, match="nothing of this sequence has been recorded"):
        record.trace(prompt.ids, prompt.layout)
    with recording(llava) as record, torch.inference_mode():
        llava.model(**batch, use_cache=False)
    with pytest.raises(LapilliError, match="nothing of this sequence has been recorded"):
        record.trace(prompt.ids, prompt.layout)


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_recording_changes_no_bit(pair):
    llava = awake(pair)
    _, batch = batch_of(llava, SAMPLES)
    with torch.inference_mode():
        plain = llava.model(**batch).logits
    free = generated(llava, batch, 6)
    with recording(llava, whole=True), torch.inference_mode():
        assert torch.equal(llava.model(**batch).logits, plain)
    with recording(llava, queries=[1, 2], whole=True):
        recorded = generated(llava, batch, 6)
    assert torch.equal(recorded.sequences, free.sequences)
    assert all(torch.equal(one, other) for one, other in zip(recorded.logits, free.logits, strict=True))


def _hooks(llava):
    """How many hooks every module has; transformers has its own in the vision encoder, from the first call on."""
    return {
        name: tuple(map(len, (module._forward_hooks, module._forward_pre_hooks)))
        for name, module in llava.model.named_modules()
    }


class _StopError(Exception):
    pass


@pytest.mark.parametrize("thrown", [_StopError, KeyboardInterrupt])
def test_no_hook_is_left_behind(thrown):
    llava = awake(PAIRS[0])
    _, batch = batch_of(llava, SAMPLES)
    generated(llava, batch, 2)
    before = _hooks(llava)
    assert {counts for name, counts in before.items() if ".language_model" in name} == {(0, 0)}
    with recording(llava, whole=True), recording(llava):
        generated(llava, batch, 2)
    assert _hooks(llava) == before

    def stop(passing):
        raise thrown

    for site in ("projector", "llm.layers.1.mlp_out", "logits"):
        with pytest.raises(thrown), recording(llava), watching(llava.model, {site: stop}):
            generated(llava, batch, 2)
        assert _hooks(llava) == before
    with pytest.raises(thrown), recording(llava):
        raise thrown
    assert _hooks(llava) == before


def test_recordings_may_be_nested():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    with recording(llava) as outer, recording(llava, queries=[4, 5], whole=True) as inner, torch.inference_mode():
        logits = llava.model(**batch).logits[0]
    one, other = (record.trace(prompt.ids, prompt.layout) for record in (outer, inner))
    close(one.logits, logits[-1:])
    close(other.logits, logits[4:6])
    assert one.stream is None


def test_a_model_built_otherwise_is_refused():
    llava = awake(PAIRS[0])
    llava.model.model.language_model.norm = torch.nn.LayerNorm(48)
    with pytest.raises(LapilliError, match="LlamaModel: only language models built like LLaMA"), recording(llava):
        pass


def test_a_quantised_model_is_refused():
    llava = awake(PAIRS[0])
    llava.model.is_quantized = True
    with pytest.raises(LapilliError, match="load it without bits"), recording(llava):
        pass


def test_a_beam_search_is_refused_and_not_disturbed():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    options = {"num_beams": 3, "max_new_tokens": 6, "do_sample": False}
    free = llava.model.generate(**batch, **options)
    with recording(llava) as record:
        assert torch.equal(llava.model.generate(**batch, **options), free)
    with pytest.raises(LapilliError, match="as beam search does"):
        record.trace(prompt.ids, prompt.layout)


def test_a_row_is_counted_from_either_end():
    llava = awake(PAIRS[0])
    (prompt,), batch = batch_of(llava, SAMPLES[1:2])
    with recording(llava, queries=[3, 4, 5]) as record, torch.inference_mode():
        llava.model(**batch)
    trace = record.trace(prompt.ids, prompt.layout)
    assert trace.at(-1).queries.tolist() == trace.at(2).queries.tolist() == [5]
    for query in (3, -4):
        with pytest.raises(IndexError):
            trace.at(query)


def test_answers_of_a_batch_are_found_by_their_tokens():
    """`answer` sorts a batch by length, so that its rows are not in the samples' order: each gets its own trace."""
    llava = load(joined("clip", "llama"))
    texts = ["What?", "What color is the large circle?", "How many squares are there, and where?", "Is it red?"]
    samples = [Sample(str(n), ("noise",), (Turn("user", f"<image>\n{text}"),)) for n, text in enumerate(texts)]
    with recording(llava) as record:
        together = answer(llava, samples, lambda name: picture(3), 6)
    for sample, given in zip(samples, together, strict=True):
        with recording(llava) as alone:
            (same,) = answer(llava, [sample], lambda name: picture(3), 6)
        assert same.ids.tolist() == given.ids.tolist()
        found = decompose(record.trace(given.ids, given.layout))
        assert np.allclose(found.value, decompose(alone.trace(same.ids, same.layout)).value, atol=1e-4)


def test_a_sequence_that_is_not_in_the_batch_or_is_there_twice_is_not_handed_out():
    llava = load(joined("clip", "llama"))
    samples = [Sample(n, ("noise",), (Turn("user", f"<image>\n{text}"),)) for n, text in ("ax", "bx", "cy")]
    with recording(llava) as record:
        given = answer(llava, samples, lambda name: picture(3), 4)
    with pytest.raises(LapilliError, match=r"have the same tokens; say which by its index"):
        record.trace(given[0].ids, given[0].layout)
    assert sum(_reads(record, given[2], index) for index in range(3)) == 1
    assert sum(_reads(record, given[0], index) for index in range(3)) == 2
    with pytest.raises(LapilliError, match="nothing of this sequence is in the last batch"):
        record.trace(np.where(given[2].ids == given[2].ids[1], 7, given[2].ids), given[2].layout)


def _reads(record, given, index):
    try:
        record.trace(given.ids, given.layout, index)
    except LapilliError as error:
        assert "has other tokens" in str(error)
        return False
    return True


def test_without_tokens_a_batch_of_several_is_not_guessed_at():
    llava = load(joined("clip", "llama"))
    ids = torch.tensor([[1, 9, 12, 30], [1, 40, 41, 42]])
    layout = TokenLayout(*(np.full(4, kind) for kind in (Role.QUESTION, 0, -1, -1, -1)))
    with recording(llava) as record, torch.inference_mode():
        llava.model(ids, use_cache=True)
        second = record.trace(ids[1].numpy(), layout)
        llava.model(inputs_embeds=llava.model.get_input_embeddings()(ids), use_cache=True)
        with pytest.raises(LapilliError, match="say which by its index"):
            record.trace(ids[1].numpy(), layout)
        again = record.trace(ids[1].numpy(), layout, 1)
    assert torch.equal(second.resid, again.resid)
