"""Registers and sinks: numbers against loops, and planted ones found where they were planted."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.inspection.oracle import ALL_PAIRS, PAIRS, SAMPLES, awake, batch_of, close, traced
from tests.parts import picture

from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.sinks import registers, sinks
from lapilli.inspection.recording import recording
from lapilli.inspection.sites import watching
from lapilli.inspection.target import Target

WIDE = ("siglip", "wide_llama")  # in which an entry of a normed residual can be as large as 45


def _read(llava, pixels):
    """What the projector reads, (image, patch, d_vision), and what it makes of it."""
    seen = []
    handle = llava.model.model.multi_modal_projector.register_forward_hook(
        lambda module, given, out: seen.append((given[0].double().numpy(), out.double().numpy()))
    )
    with torch.inference_mode():
        llava.model.model.get_image_features(pixel_values=pixels, **_features(llava))
    handle.remove()
    return seen[0]


def _features(llava):
    config = llava.model.config
    return {
        "vision_feature_layer": config.vision_feature_layer,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_lengths_and_scores_are_those_of_loops(pair):
    llava = awake(pair)
    pixels = llava.pixels([picture(1), picture(2), picture(3)])
    found = registers(llava, pixels)
    for lengths, vectors in zip((found.vision, found.projector), _read(llava, pixels), strict=True):
        for image in range(3):
            expected = [float(sum(x * x for x in patch) ** 0.5) for patch in vectors[image]]
            middle = sorted(expected)[4]
            spread = sorted(abs(x - middle) for x in expected)[4]
            close(lengths.lengths[image], expected)
            close(lengths.scores[image], [0.6745 * (x - middle) / spread for x in expected], within=1e-4)
    assert [patches.tolist() for patches in found.patches] == [[], [], []]


@pytest.mark.parametrize("pair", PAIRS)
def test_planted_registers_are_found(pair):
    llava = awake(pair)

    def grow(passing):
        passing = passing.clone()
        first = passing.shape[1] - 9  # behind the class token, if there is one
        passing[0, first + 4] *= 50
        passing[1, first] *= 50
        passing[1, first + 8] *= 50
        return passing

    with watching(llava.model, {"vision.layers.1": grow}):
        found = registers(llava, llava.pixels([picture(1), picture(2), picture(3)]))
    assert [patches.tolist() for patches in found.vision.registers] == [[4], [0, 8], []]
    assert [patches.tolist() for patches in found.patches] == [[4], [0, 8], []]


def test_a_register_of_the_encoders_own_weights():
    """One patch's position embedding is long, and the layers hand it on."""
    llava = awake(("siglip", "qwen2"))
    with torch.no_grad():
        llava.model.model.vision_tower.embeddings.position_embedding.weight[7] *= 500
    found = registers(llava, llava.pixels([picture(1), picture(2)]))
    assert [patches.tolist() for patches in found.vision.registers] == [[7], [7]]


def test_what_the_projector_alone_makes_long():
    llava = awake(PAIRS[0])

    def grow(passing):
        return passing * torch.where(torch.arange(9) == 2, 30.0, 1.0)[:, None]

    with watching(llava.model, {"projector": grow}):
        found = registers(llava, llava.pixels([picture(1)]))
    assert [len(patches) for patches in found.vision.registers] == [0]
    assert found.projector.registers[0].tolist() == found.patches[0].tolist() == [2]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_blank_picture_has_no_registers(pair, dtype):
    llava = awake(pair, dtype=dtype)
    found = registers(llava, llava.pixels([Image.new("RGB", (24, 24), "white")]))
    assert found.patches[0].tolist() == []
    assert np.isfinite(found.vision.scores).all()


def test_vectors_of_one_length_have_no_registers():
    llava = awake(PAIRS[0])
    with watching(llava.model, {"projector": torch.ones_like}):
        found = registers(llava, llava.pixels([picture(1)]))
    assert found.projector.scores.tolist() == [[0.0] * 9]
    with watching(llava.model, {"projector": torch.zeros_like}):
        assert registers(llava, llava.pixels([picture(1)])).projector.scores.tolist() == [[0.0] * 9]


@pytest.mark.parametrize("pair", ALL_PAIRS)
def test_shares_are_those_of_loops_and_tiny_models_have_no_sinks(pair):
    """Two layers: both are looked at."""
    for case in traced(pair):
        found = sinks(case.trace)
        assert found.dimensions.tolist() == []
        assert len(found.images) == case.trace.layout.image_count
        positions = np.abs(decompose(case.trace).positions)
        for image, one in enumerate(found.images):
            patches = case.trace.layout.patches(image).ravel()
            assert one.patches.tolist() == []
            assert one.activation.tolist() == [[0.0] * 9] * 2
            for index, patch in enumerate(patches):
                looks = [
                    weights[query, patch]
                    for layer in case.own.weights
                    for weights in layer
                    for query in case.trace.queries
                ]
                given = [row[patch] / row.sum() for row in positions]
                assert abs(one.attention[index] - np.mean(looks)) < 1e-5
                assert abs(one.contribution[index] - np.mean(given)) < 1e-5


@pytest.mark.filterwarnings("error")
def test_a_query_to_which_nothing_contributes_has_no_shares():
    """As where a token is held against itself: of two queries, it counts as nothing."""
    trace = traced(PAIRS[0])[1].trace
    direct = decompose(trace)
    none = replace(direct, positions=np.concatenate([direct.positions[:1], 0 * direct.positions[:1]]))
    shares = np.abs(direct.positions[0]) / np.abs(direct.positions[0]).sum() / 2
    close(sinks(trace, none).images[0].contribution, shares[trace.layout.patches(0).ravel()])


def test_contributions_are_those_of_the_decomposition_given():
    trace = traced(PAIRS[0])[1].trace
    direct = decompose(trace, Target("token"))
    found, other = sinks(trace, direct).images[0], sinks(trace).images[0]
    shares = np.abs(direct.positions) / np.abs(direct.positions).sum(1, keepdims=True)
    close(found.contribution, shares.mean(0)[trace.layout.patches(0).ravel()])
    assert not np.allclose(found.contribution, other.contribution)


@pytest.mark.parametrize("pair", [("siglip", "mha_llama"), ("siglip", "qwen2")])
def test_a_patch_whose_keys_draw_everything_has_all_of_the_attention(pair):
    """Queries are constant, in the dimensions that turn least; keys are 0 but where the stream's third entry is not."""
    llava = awake(pair)
    (prompt,), batch = batch_of(llava, SAMPLES[2:3])
    drawing = int(prompt.layout.patches(1)[2, 0])
    still = 5  # of 12: turned by less than 0.05 over 100 positions
    with torch.no_grad():
        for block in llava.model.model.language_model.layers:
            for projection, width in ((block.self_attn.q_proj, 12), (block.self_attn.k_proj, 12)):
                projection.weight.zero_()
                projection.bias.zero_()
                heads = torch.arange(0, projection.out_features, width) + still
                if projection is block.self_attn.q_proj:
                    projection.bias[heads] = 50
                else:
                    projection.weight[heads, 3] = 1

    def mark(passing):
        passing = passing.clone()
        passing[..., 3] = 0
        passing[:, drawing, 3] = 100
        return passing

    sites = {f"llm.layers.{layer}.resid_pre": mark for layer in range(2)}
    with watching(llava.model, sites), recording(llava, whole=True) as record, torch.inference_mode():
        llava.model(**batch)
    one, other = sinks(record.trace(prompt.ids, prompt.layout)).images
    close(one.attention, np.zeros(9))
    close(other.attention, np.eye(9)[6])


def _massive(llava, sample, plants):
    """A trace in which, behind layer 0, (position, dimension, size) have been added to the stream."""
    (prompt,), batch = batch_of(llava, [sample])

    def plant(at):
        def add(passing):
            passing = passing.clone()
            for position, dimension, size, behind in plants(prompt.layout):
                passing[:, position, dimension] += size * (behind == at)
            return passing

        return add

    with ExitStack() as stack:
        for layer in range(5):
            stack.enter_context(watching(llava.model, {f"llm.layers.{layer}.resid_post": plant(layer)}))
        record = stack.enter_context(recording(llava, whole=True))
        with torch.inference_mode():
            llava.model(**batch)
    return record.trace(prompt.ids, prompt.layout)


def _plants(layout):
    one, other = layout.patches(0).ravel(), layout.patches(1).ravel()
    return [
        (0, 77, 9000, 0),
        (0, 1500, -8000, 0),
        (one[3], 77, -9000, 0),  # a sink, whatever the sign
        (one[5], 1500, 9000, 0),  # another, in the other dimension
        (one[6], 300, 9000, 0),  # massive where the first token is not
        (one[7], 77, 9000, 4),  # too late to be one
        (other[8], 77, 9000, 2),  # before layers 3, 4 and 5 of 2 to 5
        (other[0], 77, 9000, 0),  # among others as large: normed, it is below 20
        *((other[0], dimension, 9000, 0) for dimension in range(10, 16)),
    ]


def test_planted_massive_activations_are_found():
    trace = _massive(awake(WIDE), SAMPLES[2], _plants)
    found = sinks(trace)
    assert found.dimensions.tolist() == [77, 1500]
    assert [one.patches.tolist() for one in found.images] == [[3, 5], [8]]
    for image, one in enumerate(found.images):
        assert one.activation.shape == (6, 9)
        for layer in range(6):
            for index, patch in enumerate(trace.layout.patches(image).ravel()):
                vector = trace.stream.resid[layer, patch].double().numpy()
                normed = np.abs(vector / np.sqrt(np.mean(vector**2) + 1e-6))
                assert abs(one.activation[layer, index] - max(normed[77], normed[1500])) < 1e-4


def test_where_the_first_token_is_not_massive_nothing_is_a_sink():
    found = sinks(_massive(awake(WIDE), SAMPLES[2], lambda layout: _plants(layout)[2:]))
    assert found.dimensions.tolist() == []
    assert [one.patches.tolist() for one in found.images] == [[], []]


def test_of_a_deep_model_the_first_two_layers_attention_is_left_out():
    trace = _massive(awake(WIDE), SAMPLES[1], lambda layout: [])
    (prompt,), batch = batch_of(trace.llava, SAMPLES[1:2])
    slow = awake(WIDE, "eager")
    with torch.inference_mode():
        weights = torch.stack(slow.model(**batch, output_attentions=True).attentions)[2:, 0, :, -1]
    patches = prompt.layout.patches(0).ravel()
    close(sinks(trace).images[0].attention, weights.mean((0, 1))[patches].double().numpy())


def test_a_trace_without_the_stream_is_refused():
    with pytest.raises(ValueError, match="whole=True"):
        sinks(replace(traced(PAIRS[0])[1].trace, stream=None))
