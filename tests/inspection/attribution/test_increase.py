"""Log-probability increases: against the formulas of Yu & Ananiadou, written out as loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.inspection.oracle import ALL_PAIRS, PAIRS, close, traced

from lapilli.inspection.attribution import increase
from lapilli.inspection.attribution.increase import (
    head_increases,
    layer_increases,
    neuron_increases,
    position_increases,
    stream_lengths,
)

ROWS = (0, 7, 19)


def _inc(own, query, token, stream, part):
    return own.log_prob(stream + part, query, token) - own.log_prob(stream, query, token)


def _query(case, number):
    return int(case.trace.queries[number]), int(case.trace.next_ids[number])


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_layers(pair):
    for case in traced(pair):
        own, found = case.own, layer_increases(case.trace)
        for number in ROWS:
            query, token = _query(case, number)
            for layer in range(own.sizes[0]):
                before, attention = own.resid[layer, query], own.attn_out[layer, query]
                expected = (
                    _inc(own, query, token, before, attention),
                    _inc(own, query, token, before + attention, own.mlp_out[layer, query]),
                )
                close(found[number, :, layer], expected)


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_heads_and_positions(pair):
    case = traced(pair)[2]
    own, found = case.own, head_increases(case.trace)
    layers, heads, _, _ = own.sizes
    for number in (0, 19):
        query, token = _query(case, number)
        for layer in range(layers):
            for head in range(heads):
                writes = [own.writes(layer, head, query, position) for position in range(query + 1)]
                before = own.resid[layer, query]
                close(found[number, layer, head], _inc(own, query, token, before, sum(writes)))
                expected = np.zeros(len(case.trace.ids))
                expected[: query + 1] = [_inc(own, query, token, before, part) for part in writes]
                close(position_increases(case.trace, number, layer, head), expected)


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_neurons(pair):
    case = traced(pair)[1]
    own = case.own
    for number in ROWS:
        query, token = _query(case, number)
        for layer in range(own.sizes[0]):
            stream = own.resid[layer, query] + own.attn_out[layer, query]
            parts = own.neurons[layer, query][:, None] * own.down[layer].T
            expected = [_inc(own, query, token, stream, part) for part in parts]
            close(neuron_increases(case.trace, number, layer), expected)


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_lengths_are_those_of_the_stream(pair):
    for case in traced(pair):
        queries = case.trace.queries
        lengths = np.sqrt((case.own.resid[:, queries] ** 2).sum(-1)).T
        close(stream_lengths(case.trace), lengths / lengths[:, -1:])


@pytest.mark.parametrize("shrunk", [1e-3, 1e-2])
def test_increases_are_near_0_where_the_stream_is_short_and_not_because_the_layer_is_early(shrunk):
    """All that the first layer reads and writes is made short: what it gains becomes so; as it is, it is not."""
    trace = traced(PAIRS[0])[1].trace
    at_first = np.abs(layer_increases(trace)[:, :, 0])
    resid = trace.resid.clone()
    resid[:, 0] *= shrunk
    short = replace(trace, resid=resid, attn_out=trace.attn_out * shrunk, mlp_out=trace.mlp_out * shrunk)
    assert stream_lengths(short)[:, 0] == pytest.approx(stream_lengths(trace)[:, 0] * shrunk)
    gained = np.abs(layer_increases(short)[:, :, 0])
    assert at_first.max() > 0.1 and gained.max() < 4 * shrunk * at_first.max()


def test_however_few_distributions_are_held(monkeypatch):
    trace = traced(PAIRS[1])[2].trace
    whole = head_increases(trace), neuron_increases(trace, 0, 1)
    monkeypatch.setattr(increase, "_AT_ONCE", 7)
    close(head_increases(trace), whole[0])
    close(neuron_increases(trace, 0, 1), whole[1])


def test_the_last_layer_ends_at_the_models_own_log_probability():
    case = traced(PAIRS[0])[0]
    logits = torch.from_numpy(case.logits).double()
    expected = logits.log_softmax(-1).numpy()[np.arange(len(logits)), case.trace.next_ids]
    last = case.trace.decoder.depth - 1
    for number in ROWS:
        query, token = _query(case, number)
        before = case.own.log_prob(case.own.resid[last, query], query, token)
        found = layer_increases(case.trace)[number, :, last].sum()
        assert abs(before + found - expected[number]) < 1e-5


@pytest.mark.parametrize("certain", [-30.0, 1.0, 12.0, 30.0])
def test_however_likely_the_word_it_is_as_exact(certain):
    """Differences of float32 log-probabilities are off by 1e-6, more than the whole increase of a certain word."""
    rng = np.random.default_rng(3)
    before, brought = rng.normal(size=50), rng.normal(size=(10, 50)) * np.logspace(-6, 2.5, 10)[:, None]
    before[7] += certain
    brought[9], brought[9, 7] = 0, 20  # an unlikely word is made likely
    before, brought = torch.from_numpy(before).float().log_softmax(-1), torch.from_numpy(brought).float()
    weights, apart = before.double().exp(), brought.double() - brought[:, 7:8].double()
    # A share of what weights sum to, since rounded ones do not sum to 1; where apart is 0, nothing is added.
    expected = -torch.log1p((apart.expm1() * weights).sum(1) / weights.sum())
    torch.testing.assert_close(
        increase._increase(before, brought, torch.tensor(7)).double(), expected, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("pair", PAIRS)
def test_small_increases_have_digits(pair):
    """They are of 1e-6 nats and more here, which is what a float32 log-probability is rounded to.

    What is allowed is less: 3e-8, a few roundings of the largest of these (0.1), which parts that cancel leave over.
    """
    case = traced(pair)[2]
    own, (query, token) = case.own, _query(case, 7)
    for head in range(own.sizes[1]):
        parts = [own.writes(1, head, query, position) for position in range(query + 1)]
        expected = [_inc(own, query, token, own.resid[1, query], part) for part in parts]
        found = position_increases(case.trace, 7, 1, head)[: query + 1]
        assert np.allclose(found, expected, rtol=1e-3, atol=3e-8)
    stream, parts = own.resid[1, query] + own.attn_out[1, query], own.neurons[1, query][:, None] * own.down[1].T
    expected = [_inc(own, query, token, stream, part) for part in parts]
    assert np.allclose(neuron_increases(case.trace, 7, 1), expected, rtol=1e-3, atol=3e-8)
