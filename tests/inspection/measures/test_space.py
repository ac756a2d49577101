"""Measures of one space, of two modalities in it, and of weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis
from tests.inspection.measures import naive

from lapilli.core.errors import LapilliError
from lapilli.inspection.measures import (
    by_layer,
    centroid_distance,
    cluster_homogeneity,
    density_peaks,
    in_output_metric,
    largest_variance_share,
    mean_cosine,
    modality_probe,
    norm_kurtosis,
    participation_ratio,
    prompt_entropy,
    spectrum_entropy,
    standardized,
    weight_changes,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((150, 12)) * np.linspace(0.3, 3, 12) + 1
TURN = np.linalg.qr(RNG.standard_normal((12, 12)))[0]
CLUSTERS = json.loads(Path(__file__).with_name("dadapy_values.json").read_text(encoding="utf-8"))["clusters"]


@pytest.mark.parametrize("points", [X, X[:8], X.astype(np.float32) + 3_000], ids=["tall", "wide", "far"])
def test_the_entropy_by_its_formula(points):
    assert spectrum_entropy(points).value == pytest.approx(naive.entropy(points), abs=1e-6)


def test_the_entropy_of_known_spectra():
    corners = np.concatenate([np.eye(6), -np.eye(6)])
    assert spectrum_entropy(corners).value == pytest.approx(1)
    line = np.outer(np.linspace(-1, 1, 40), np.ones(5))
    assert spectrum_entropy(line).value == pytest.approx(0, abs=1e-9)
    assert np.isnan(spectrum_entropy(np.ones((9, 5))).value)


def test_the_entropy_of_each_prompt():
    measured = prompt_entropy([X[:20], X[20:90], X[:1], torch.from_numpy(X[90:])])
    expected = [naive.entropy(X[:20]), naive.entropy(X[20:90]), np.nan, naive.entropy(X[90:])]
    np.testing.assert_allclose(measured.samples, expected, atol=1e-9)
    assert measured.value == pytest.approx(np.nanmean(expected)) and measured.n == 3


def test_the_participation_ratio_by_its_formula():
    assert participation_ratio(X[:9]).value == pytest.approx(naive.participation(X[:9]), rel=1e-6)
    assert participation_ratio(X[:9] + 1e4).value == pytest.approx(naive.participation(X[:9]), rel=1e-5)


def test_the_participation_ratio_is_right_where_samples_are_fewer_than_dimensions():
    points = np.random.default_rng(1).standard_normal((200, 1_000))
    values = np.linalg.eigvalsh(np.cov(points))
    plain = values.sum() ** 2 / (values**2).sum()
    measured = participation_ratio(points)
    assert abs(measured.value - 1_000) < 3 * measured.error < 300
    assert plain < 200  # the control: as it is usually computed


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e9 + 0.1])
@pytest.mark.parametrize("measure", [spectrum_entropy, participation_ratio, norm_kurtosis, largest_variance_share])
def test_points_without_variance_have_no_spectrum(measure, constant):
    assert np.isnan(measure(np.full((40, 3), constant)).value)
    assert np.isnan(centroid_distance(np.full((40, 3), constant), np.full((40, 3), constant + 0.1)).value)


@pytest.mark.parametrize("measure", [spectrum_entropy, participation_ratio])
def test_rotation_scale_and_shift_leave_a_space_as_it_is(measure):
    assert measure(X @ TURN * 5 + 2).value == pytest.approx(measure(X).value, rel=1e-9)


def test_mean_cosine_by_all_pairs():
    assert mean_cosine(X).value == pytest.approx(naive.mean_cosine(X), abs=1e-12)
    assert mean_cosine(X * RNG.random((150, 1))).value == pytest.approx(mean_cosine(X).value, abs=1e-9)
    assert mean_cosine(np.concatenate([np.eye(5), -np.eye(5)])).value == pytest.approx(-1 / 9)
    assert mean_cosine(X).error == pytest.approx(naive.jackknife(naive.mean_cosine, X), rel=0.05)


def test_a_state_without_direction_has_no_mean_cosine():
    assert np.isnan(mean_cosine(np.concatenate([X, np.zeros((1, 12))])).value)
    assert np.isnan(mean_cosine(X[:1]).value) and np.isnan(mean_cosine(X[:0]).value)
    for size in (1e-30, 1e30):  # short is not 0
        assert mean_cosine(size * X).value == pytest.approx(mean_cosine(X).value)


def test_norm_kurtosis_is_that_of_the_lengths():
    norms = np.linalg.norm(X, axis=1)
    assert norm_kurtosis(X).value == pytest.approx(kurtosis(norms, bias=False))
    assert norm_kurtosis(np.concatenate([X, 100 * X[:1]])).value > 50
    assert np.isnan(norm_kurtosis(np.ones((20, 3))).value)


def test_a_dimension_with_most_of_the_variance_is_noticed():
    points = X.copy()
    points[:, 4] *= 100
    assert largest_variance_share(points).value > 0.9
    assert largest_variance_share(standardized(points)).value == pytest.approx(1 / 12)
    assert (standardized(np.ones((5, 3))) == 0).all()
    np.testing.assert_allclose(standardized(X), (X - X.mean(0)) / X.std(0), atol=1e-12)


def test_a_probe_tells_modalities_apart_where_they_are():
    same, other = RNG.standard_normal((2, 100, 40))
    assert modality_probe(same, other + 10).value == 1
    chance = modality_probe(same, other)
    assert abs(chance.value - 0.5) < 4 * chance.error < 0.25
    shifted = other.copy()
    shifted[:, 0] += 2
    assert 0.65 < modality_probe(same, shifted).value < 0.95  # Phi(1) = .84 at best
    assert np.isnan(modality_probe(same[:19], other[:19]).value)


def test_the_distance_of_centroids():
    same, other = np.random.default_rng(5).standard_normal((2, 2_000, 16))
    shift = np.r_[8.0, np.zeros(15)]
    measured = centroid_distance(same, other + shift)
    assert abs(measured.value - 8 / 4) < 3 * measured.error < 0.1
    assert centroid_distance(same, other).value < 0.02
    assert centroid_distance(same * 3, (other + shift) * 3 + 5).value != measured.value
    assert centroid_distance(same * 3 + 5, (other + shift) * 3 + 5).value == pytest.approx(measured.value)


@pytest.mark.parity
def test_dadapy_finds_the_same_clusters():
    rng = np.random.default_rng(7)
    points = np.concatenate([rng.standard_normal((150, 5)) + shift for shift in (0, 3, 12)])
    table = np.zeros((3, 3), int)
    np.add.at(table, (density_peaks(points), CLUSTERS), 1)
    assert (np.sort(table.max(1)) >= 148).all() and table.max(1).sum() >= 447


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_as_many_clusters_as_there_are_groups(groups):
    rng = np.random.default_rng(groups)
    truth = np.repeat(np.arange(groups), 200)
    cluster = density_peaks(rng.standard_normal((len(truth), 3)) + 12 * truth[:, None])
    assert len(np.unique(cluster)) == groups
    assert len(np.unique(np.column_stack([cluster, truth]), axis=0)) == groups


def test_homogeneity_of_clusters():
    same, other = np.random.default_rng(2).standard_normal((2, 200, 3))
    assert cluster_homogeneity(same, other + 15).value == pytest.approx(1)
    assert cluster_homogeneity(same, other).value < 0.1
    assert np.isnan(cluster_homogeneity(same[:5], other[:5]).value)


def test_the_change_of_weights_by_layer_and_part():
    base = {
        "model.layers.0.mlp.up_proj.weight": torch.ones(4, 4),
        "model.layers.0.mlp.down_proj.weight": torch.full((4, 4), 2.0),
        "model.layers.11.self_attn.q_proj.bias": torch.zeros(4),
        "lm_head.weight": torch.eye(5),
    }
    tuned = {name: weight.clone() for name, weight in base.items()}
    tuned["model.layers.0.mlp.up_proj.weight"] += torch.outer(torch.ones(4), torch.ones(4))
    tuned["model.layers.11.self_attn.q_proj.bias"] += 3
    tuned["lm_head.weight"] += 2 * torch.eye(5)
    up, down, bias, head = weight_changes(base, tuned)
    assert (up.layer, up.part, up.absolute, up.relative) == (0, "mlp.up_proj", 4, 1)
    assert up.effective_rank == pytest.approx(1) and head.effective_rank == pytest.approx(5)
    assert (down.absolute, down.relative) == (0, 0) and np.isnan(down.effective_rank)
    assert (bias.layer, bias.part, bias.absolute) == (11, "self_attn.q_proj", 6) and np.isnan(bias.relative)
    assert (head.layer, head.part) == (None, "lm_head.weight")
    layers = by_layer([up, down, bias, head])
    assert layers[0] == pytest.approx((4, np.sqrt(16 / 80)))
    assert layers[11][0] == 6 and np.isnan(layers[11][1])


def test_layers_of_two_stacks_are_not_summed_up():
    names = ["model.language_model.layers.0.mlp.weight", "model.vision_tower.encoder.layers.0.mlp.weight"]
    base = {name: torch.ones(2, 2) for name in names}
    changes = weight_changes(base, {name: 2 * weight for name, weight in base.items()})
    for some in (changes[:1], changes[1:]):
        assert by_layer(some) == {0: (2, 1)}
    with pytest.raises(LapilliError, match=r"layers of 'model\.language_model\.' and of 'model\.vision"):
        by_layer(changes)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("ranks", [True, False])
def test_weights_that_are_no_numbers_are_refused(wrong, ranks):
    with pytest.raises(LapilliError, match="a: not all of its numbers are finite"):
        weight_changes({"a": torch.eye(2)}, {"a": torch.full((2, 2), wrong)}, ranks)


def test_weights_of_two_kinds_of_models_are_refused():
    one = {"a.weight": torch.ones(2, 2)}
    with pytest.raises(LapilliError, match=r"b\.weight: only one"):
        weight_changes(one, one | {"b.weight": torch.ones(1)})
    with pytest.raises(LapilliError, match=r"\(2, 2\) in one model, \(3, 2\)"):
        weight_changes(one, {"a.weight": torch.ones(3, 2)})


@pytest.mark.parametrize("shape", [(40, 3, 8), (3, 2, 5)])
def test_heads_have_the_distances_of_what_they_add(shape):
    """Wide output matrices, and one that makes fewer numbers than a head has."""
    width, heads, size = shape
    states, matrix = (
        torch.from_numpy(RNG.standard_normal((30, heads, size))),
        torch.from_numpy(RNG.standard_normal((width, heads * size))),
    )
    added = torch.stack([states[:, h] @ matrix[:, h * size : (h + 1) * size].T for h in range(heads)], 1)
    turned = in_output_metric(states, matrix)
    assert turned.shape[2] == min(width, size)
    for head in range(heads):
        np.testing.assert_allclose(naive.distances(turned[:, head]), naive.distances(added[:, head]), atol=1e-9)
