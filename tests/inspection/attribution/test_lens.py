"""Read-outs: against formulas written out vector by vector, and against what the model itself predicts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.inspection.oracle import ALL_PAIRS, PAIRS, SAMPLES, awake, batch_of, close, traced

from lapilli.core.layout import Role
from lapilli.inspection.attribution import lens as lenses
from lapilli.inspection.attribution.lens import key_input, lens, read_embeddings, read_head, value_input
from lapilli.inspection.recording import recording


def _holds(ids, probs, logits):
    """That these are the likeliest tokens of logits (vocab,), and their probabilities."""
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    close(probs, np.sort(expected)[::-1][: len(probs)])
    close(probs, expected[ids])
    assert len(set(ids.tolist())) == len(ids)


def _logits(own, vector):
    """The head's, of a vector under the last norm with its own scale."""
    return own.head @ (own.gamma * vector / np.sqrt(np.mean(vector**2) + own.eps))


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_the_lens_is_the_norm_and_the_head_on_every_vector(pair):
    for case in traced(pair):
        positions = np.array([0, 5, len(case.trace.ids) - 2, 9])
        found = lens(case.trace, positions, k=4)
        assert (found.ids.dtype, found.probs.dtype) == (np.int32, np.float32)
        assert found.ids.shape == found.probs.shape == (len(case.own.resid), 4, 4)
        for depth, stream in enumerate(case.own.resid):
            for index, position in enumerate(positions):
                _holds(found.ids[depth, index], found.probs[depth, index], _logits(case.own, stream[position]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pair", PAIRS)
def test_the_deepest_reading_is_the_models_own_prediction(pair, dtype):
    llava = awake(pair, dtype=dtype)
    (prompt,), batch = batch_of(llava, SAMPLES[2:3])
    with recording(llava, whole=True) as record, torch.inference_mode():
        logits = llava.model(**batch).logits[0].float()
    found = lens(record.trace(prompt.ids, prompt.layout), np.arange(len(prompt.ids)), k=1)
    assert np.array_equal(found.ids[-1, :, 0], logits.argmax(-1).numpy())
    within = 1e-5 if dtype == torch.float32 else 1e-2
    close(found.probs[-1, :, 0], logits.softmax(-1).amax(-1).double().numpy(), within)


def test_few_distributions_are_held_at_a_time(monkeypatch):
    trace = traced(PAIRS[0])[2].trace
    positions, rows = np.tile(np.arange(len(trace.ids) - 1), 2), []
    handle = trace.llava.model.lm_head.register_forward_hook(lambda module, given, out: rows.append(len(out)))
    whole = lens(trace, positions)
    handle.remove()
    assert len(rows) > 1
    assert max(rows) <= 256
    monkeypatch.setattr(lenses, "_AT_ONCE", 7)
    parts = lens(trace, positions)
    close(parts.probs, whole.probs)
    assert np.mean(parts.ids == whole.ids) > 0.999


def test_no_positions_read_nothing():
    assert lens(traced(PAIRS[0])[0].trace, np.empty(0, np.intp), k=3).ids.shape == (3, 0, 3)


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_patches_are_read_by_the_input_embeddings(pair):
    case = traced(pair)[2]
    llava = case.trace.llava
    patches = np.concatenate([case.trace.layout.patches(image).ravel() for image in (0, 1)])
    found = read_embeddings(llava, case.trace.stream.resid[0, patches], k=6)
    matrix = llava.model.get_input_embeddings().weight.detach().double().numpy()
    assert found.ids.shape == (18, 6)
    for index, patch in enumerate(patches):
        _holds(found.ids[index], found.probs[index], matrix @ case.own.resid[0, patch])


def test_a_words_own_embedding_is_read_as_that_word():
    """With embeddings of one length, a product is largest with itself."""
    llava = awake(PAIRS[0])
    matrix = llava.model.get_input_embeddings().weight
    with torch.no_grad():
        matrix /= matrix.norm(dim=1, keepdim=True)
    ids = np.array([[9, 100], [350, 41]])
    assert np.array_equal(read_embeddings(llava, matrix[torch.from_numpy(ids)], k=1).ids[..., 0], ids)


def test_the_head_reads_the_patches_as_the_lens_at_depth_0():
    trace = traced(PAIRS[1])[2].trace
    patches = trace.layout.patches(1).ravel()
    found, expected = read_head(trace.llava, trace.stream.resid[0, patches], 3), lens(trace, patches, 3)
    assert np.array_equal(found.ids, expected.ids[0])
    close(found.probs, expected.probs[0])


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_key_and_value_inputs_by_the_papers_formulas(pair):
    for case in traced(pair)[1:3]:
        own, number = case.own, 6
        query = int(case.trace.queries[number])
        positions = np.append(case.trace.layout.patches(0)[1], [0, query])
        for layer in range(own.sizes[0] + 1):
            keys = key_input(case.trace, number, layer, positions, k=5)
            values = value_input(case.trace, number, layer, positions, k=5)
            for index, position in enumerate(positions):
                grown = own.resid[layer, position] - own.resid[0, position]
                key_in = grown - own.mlp_out[:layer, position].sum(0)
                value_in = grown - own.attn_out[:layer, position].sum(0)
                close(keys.probs[index], np.sort(_softmax(own.frozen(key_in, query)))[::-1][:5])
                close(values.probs[index], np.sort(_softmax(own.frozen(value_in, query)))[::-1][:5])
                if layer:  # before the first layer nothing is written, and all tokens are as likely
                    _holds(keys.ids[index], keys.probs[index], own.frozen(key_in, query))
                    _holds(values.ids[index], values.probs[index], own.frozen(value_in, query))


def _softmax(logits):
    found = np.exp(logits - logits.max())
    return found / found.sum()


def test_a_trace_without_the_stream_is_refused():
    trace = replace(traced(PAIRS[0])[1].trace, stream=None)
    at = trace.layout.positions(Role.IMAGE)
    for read in (lens, lambda one, at: key_input(one, 0, 1, at), lambda one, at: value_input(one, 0, 1, at)):
        with pytest.raises(ValueError, match="whole=True"):
            read(trace, at)
