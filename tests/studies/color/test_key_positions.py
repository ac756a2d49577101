"""Key positions and what is read there, against parts computed the long way and against the lens."""

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of, sample
from tests.parts import picture

from lapilli.core.layout import Role
from lapilli.inspection.attribution.direct import carried, readouts
from lapilli.inspection.attribution.lens import key_input, lens, read_embeddings
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.studies.color.key_positions import READOUTS, attention_to_facts, key_positions, reciprocal_ranks
from lapilli.studies.color.places import Places

HEADS = [(1, 2), (0, 0), (1, 0)]
WORDS = np.array([300, 5, 17])


@pytest.fixture(scope="module", params=["deep", "llama", "qwen2"])
def run(request):
    llava = llava_of(request.param)
    trace = traced(llava, answered(llava, sample(), "red"), llava.pixels([picture(3)]), whole=True)
    facts, last = trace.layout.positions(Role.IMAGE), int(trace.queries[0])
    asked = np.arange(len(facts)) < 4
    return trace, Places(facts, np.arange(facts[-1] + 1, last), last, asked)


@torch.inference_mode()
def test_the_key_position_brings_most_to_the_color(run):
    trace, where = run
    color = int(trace.next_ids[0])
    found = key_positions(trace, where, HEADS, color)
    one = trace.at(0)
    readout = readouts(one, Target(), torch.tensor([color]))[0]
    for number, (layer, head) in enumerate(HEADS):
        matrix = one.decoder.output_matrix(layer).unflatten(1, (one.decoder.heads, -1))[:, head]
        parts = (carried(one, layer, head)[0] @ matrix.T @ readout).numpy()
        assert found.at[number] == parts[where.facts].argmax()
        share = np.abs(parts[where.facts]).sum() / np.abs(parts).sum()
        assert found.inside[number] == pytest.approx(share, abs=1e-4)
        assert found.on_target[number] == (found.at[number] < 4)


def test_looks_are_the_attention_of_the_model_itself(run):
    trace, where = run
    llava = trace.llava
    llava.model.set_attn_implementation("eager")
    try:
        inputs = {"input_ids": torch.tensor(trace.ids)[None], "pixel_values": llava.pixels([picture(3)])}
        with torch.inference_mode():
            weights = llava.model(**inputs, output_attentions=True).attentions
    finally:
        llava.model.set_attn_implementation("sdpa")
    expected = [weights[layer][0, head, where.last, where.facts].numpy() for layer, head in HEADS]
    np.testing.assert_allclose(attention_to_facts(trace, where, HEADS), expected, atol=1e-5)


def test_reciprocal_ranks_are_those_of_the_lens(run):
    """Every word's place in the lists of the lens, as long as the vocabulary."""
    trace, where = run
    found = reciprocal_ranks(trace, where, HEADS, WORDS)
    vocabulary = trace.decoder.head.weight.shape[0]
    stream = lens(trace, where.facts, vocabulary).ids
    embedded = read_embeddings(trace.llava, trace.stream.resid[0, torch.from_numpy(where.facts)], vocabulary).ids
    assert found.keys() == READOUTS.keys()
    for number, (layer, _) in enumerate(HEADS):
        np.testing.assert_allclose(found["embedding"][number], _places(embedded))
        np.testing.assert_allclose(found["stream"][number], _places(stream[layer]))
        if layer:
            wrote = key_input(trace, 0, layer, where.facts, vocabulary).ids
            np.testing.assert_allclose(found["wrote"][number], _places(wrote))


def _places(ids):
    """1 / place of WORDS in lists of ids (position, vocab)."""
    return 1 / (1 + np.stack([(ids == word).argmax(1) for word in WORDS], axis=1))
