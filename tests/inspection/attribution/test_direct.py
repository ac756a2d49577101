"""The direct decomposition: every part against loops over layers, heads and positions; the sum against the model."""

import numpy as np
import pytest
import torch
from tests.inspection.oracle import ALL_PAIRS, PAIRS, SAMPLES, awake, batch_of, close, continued, generated, traced

from lapilli.core.errors import UsageError
from lapilli.core.layout import Role
from lapilli.inspection.attribution.direct import (
    decompose,
    head_outputs,
    head_positions,
    neuron_parts,
    readouts,
)
from lapilli.inspection.recording import recording
from lapilli.inspection.target import Target
from lapilli.model.upstream import cache_argument, new_cache

KINDS = [Target("token"), Target("centred"), Target("difference", against=7)]


def _readout(own, query, token, target):
    """The vector whose product with a part of the stream is its part of the target."""
    direction = own.head[token].copy()
    if target.kind == "centred":
        direction -= own.head.mean(0)
    if target.kind == "difference":
        direction -= own.head[target.against]
    return direction * own.gamma * own.scale(query)


def _value(logits, token, target):
    taken = {"token": 0.0, "centred": logits.mean(), "difference": logits[target.against or 0]}
    return logits[token] - taken[target.kind]


def _by_loops(own, query, token, target):
    """Parts (layer, head, position) through attention of one query's target."""
    readout = _readout(own, query, token, target)
    layers, heads, _, _ = own.sizes
    parts = np.zeros((layers, heads, len(own.logits)))
    for layer in range(layers):
        for head in range(heads):
            for position in range(query + 1):
                parts[layer, head, position] = readout @ own.writes(layer, head, query, position)
    return parts


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_every_part_is_that_of_the_loops(pair):
    for case, target in zip(traced(pair), [*KINDS, Target()], strict=True):
        trace, own = case.trace, case.own
        found = decompose(trace, target)
        is_image = trace.layout.role == Role.IMAGE
        for number in (0, 1, len(trace.queries) - 1):
            query, token = int(trace.queries[number]), int(trace.ids[trace.queries[number] + 1])
            parts = _by_loops(own, query, token, target)
            readout = _readout(own, query, token, target)
            close(found.positions[number], parts.sum((0, 1)))
            close(found.heads[number], parts.sum(2))
            close(found.heads_image[number], parts[:, :, is_image].sum(2))
            close(found.mlps[number], (own.mlp_out[:, query] - own.down_bias) @ readout)
            close(found.embedding[number], own.resid[0, query] @ readout)
            constants = [own.constant(layer) + own.down_bias[layer] for layer in range(own.sizes[0])]
            close(found.biases[number], constants @ readout)
            close(found.value[number], _value(own.logits[query], token, target))


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_the_parts_sum_to_the_logits_that_generate_gave(pair, target):
    for case in traced(pair):
        found = decompose(case.trace, target)
        tokens = case.trace.next_ids
        value = np.array([_value(logits, token, target) for logits, token in zip(case.logits, tokens, strict=True)])
        rest = found.embedding + found.mlps.sum(1) + found.biases.sum(1)
        for parts in (found.positions.sum(1), found.heads.sum((1, 2))):
            assert np.abs(parts + rest - value).max() <= 1e-5 * np.abs(case.logits).max()
        assert np.abs(found.error * found.value).max() <= 1e-5 * np.abs(case.logits).max()
        assert target.kind != "token" or found.error.max() <= 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_the_parts_sum_to_the_logits_of_a_plain_forward_pass(pair, side):
    llava = awake(pair)
    prompts, batch = batch_of(llava, SAMPLES, side)
    width = batch["input_ids"].shape[1]
    with recording(llava, queries=range(width)) as record, torch.inference_mode():
        logits = llava.model(**batch, **cache_argument(llava.model, new_cache())).logits.double().numpy()
    for index, prompt in enumerate(prompts):
        trace = record.trace(prompt.ids, prompt.layout, index)
        found = decompose(trace, Target("token"))
        start = width - len(prompt.ids) if side == "left" else 0
        value = logits[index, trace.queries + start, trace.next_ids]
        parts = found.positions.sum(1) + found.embedding + found.mlps.sum(1) + found.biases.sum(1)
        assert len(trace.queries) > 20
        assert np.abs(parts - value).max() <= 1e-5 * np.abs(logits[index]).max()


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_in_bf16_the_parts_miss_the_logits_by_less_than_a_hundredth_of_the_largest(pair):
    """Every sum into the stream is rounded to 8 bits, and so is every logit; it grows with the depth."""
    llava = awake(pair, dtype=torch.bfloat16)
    prompts, batch = batch_of(llava, SAMPLES)
    with recording(llava) as record:
        said = generated(llava, batch, 8, **cache_argument(llava.model, new_cache()))
    logits = torch.stack(said.logits, dim=1).double().numpy()
    new = said.sequences[:, batch["input_ids"].shape[1] :].numpy()
    for index, prompt in enumerate(prompts):
        ids = np.concatenate([prompt.ids, new[index]])
        found = decompose(record.trace(ids, continued(prompt.layout, 8), index), Target("token"))
        parts = found.positions.sum(1) + found.embedding + found.mlps.sum(1) + found.biases.sum(1)
        assert np.abs(parts - logits[index, np.arange(8), new[index]]).max() <= np.abs(logits).max() / 100


BIASES = ("v_proj", "o_proj", "down_proj")


@pytest.mark.parametrize("name", BIASES)
def test_a_bias_is_no_content_of_a_patch(name):
    """In the last layer, where nothing comes after it, a bias changes their part alone but for the norm's scale."""

    def parts(bias):
        llava = awake(("clip", "biased_llama"))
        last = llava.model.model.language_model.layers[-1]
        of = last.mlp if name == "down_proj" else last.self_attn
        getattr(of, name).bias.data += bias
        prompts, batch = batch_of(llava, SAMPLES[1:2])
        with recording(llava) as record, torch.inference_mode():
            llava.model(**batch, **cache_argument(llava.model, new_cache()))
        trace = record.trace(prompts[0].ids, prompts[0].layout, 0)
        found = decompose(trace, Target("token"), np.array([9]))
        scale = float(trace.decoder.scale(trace.resid[0, -1]))
        content = found.positions[0], found.heads[0].ravel(), found.heads_image[0].ravel(), found.mlps[0, :-1]
        return np.concatenate(content) / scale, found.biases[0] / scale, found.missed

    (before, biases, _), (after, moved, missed) = parts(0.0), parts(3.0)
    close(after, before)
    assert np.abs(moved - biases)[-1] > 0.1 and missed.max() < 1e-4


def test_without_biases_there_are_none():
    for case in traced(PAIRS[0]):
        assert not decompose(case.trace).biases.any()


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_what_heads_write_is_that_of_the_loops(pair):
    case = traced(pair)[2]
    trace, own = case.trace, case.own
    layers, heads, _, _ = own.sizes
    for layer in range(layers):
        outputs = head_outputs(trace, layer)
        close(outputs.sum(1) + torch.from_numpy(own.constant(layer)), own.attn_out[layer, trace.queries])
        for head in range(heads):
            for number in (0, len(trace.queries) - 1):
                query = int(trace.queries[number])
                expected = np.zeros((len(trace.ids), own.resid.shape[-1]))
                for position in range(query + 1):
                    expected[position] = own.writes(layer, head, query, position)
                close(outputs[number, head], expected.sum(0))


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_one_layer_by_heads_and_positions(pair):
    case = traced(pair)[1]
    readout = readouts(case.trace, KINDS[1], torch.from_numpy(case.trace.next_ids))
    query, token = int(case.trace.queries[4]), int(case.trace.next_ids[4])
    close(readout[4], _readout(case.own, query, token, KINDS[1]))
    expected = _by_loops(case.own, query, token, KINDS[1])
    for layer in range(case.trace.decoder.depth):
        close(head_positions(case.trace, readout, layer)[4], expected[layer])


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_neurons_sum_to_their_mlp(pair):
    case = traced(pair)[3]
    trace, own = case.trace, case.own
    readout, found = readouts(trace, Target(), torch.from_numpy(trace.next_ids)), decompose(trace)
    for layer in range(trace.decoder.depth):
        parts = neuron_parts(trace, readout, layer)
        close(parts.double().sum(1), found.mlps[:, layer])
        for number in (0, 5):
            query = int(trace.queries[number])
            vector = _readout(own, query, int(trace.next_ids[number]), Target())
            expected = [own.neurons[layer, query, n] * own.down[layer][:, n] @ vector for n in range(parts.shape[1])]
            close(parts[number], expected)


def test_a_change_at_one_position_is_foretold_by_its_parts():
    """Values are scaled at one patch, in one layer: with everything behind held, the logit moves by what is taken."""
    case = traced(PAIRS[0])[1]
    readout = readouts(case.trace, Target("token"), torch.from_numpy(case.trace.next_ids))
    patch, last = int(case.trace.layout.patches(0)[1, 1]), case.trace.decoder.depth - 1
    taken = head_positions(case.trace, readout, last)[0, :, patch].sum()
    query = int(case.trace.queries[0])
    stream = case.own.resid[-1, query] - sum(case.own.writes(last, head, query, patch) for head in range(4))
    token = int(case.trace.next_ids[0])
    moved = case.own.logits[query, token] - case.own.frozen(stream, query)[token]
    assert abs(float(taken) - moved) < 1e-5


def test_a_token_against_itself_is_missed_by_nothing():
    case = traced(PAIRS[0])[1]
    found = decompose(case.trace.at(2), Target("difference", against=int(case.trace.next_ids[2])))
    assert found.value.tolist() == [0.0]
    assert found.error.tolist() == [0.0]


@pytest.mark.parametrize(("kind", "against"), [("logit", None), ("difference", None), ("token", 3), ("centred", 3)])
def test_a_target_that_is_none_is_refused(kind, against):
    with pytest.raises(UsageError, match=f"target '?{kind}"):
        Target(kind, against)
