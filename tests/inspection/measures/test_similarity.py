"""Similarities of two spaces: identities, and the formulas in float64 with all pairs at once."""

import numpy as np
import pytest
import torch
from tests.inspection.measures import naive

from lapilli.core.errors import LapilliError
from lapilli.inspection.measures import (
    centroid_distance,
    cluster_homogeneity,
    cosine,
    distance_correlation,
    information_imbalance,
    linear_cka,
    logit_lens_kl,
    modality_probe,
    neighborhood_overlap,
    neighbors,
    procrustes,
    rbf_cka,
    relative_l2,
)
from lapilli.inspection.measures import overlap as overlaps

RNG = np.random.default_rng(0)
N = 120
X = RNG.standard_normal((N, 10)) * np.linspace(0.3, 3, 10)
Y = X + 0.5 * RNG.standard_normal((N, 10))
OTHER = RNG.standard_normal((N, 7))
WIDE = X @ RNG.standard_normal((10, 400)) + 0.1 * RNG.standard_normal((N, 400))
FAR = (X + 5_000).astype(np.float32)
PAIRS = {"alike": (X, Y), "independent": (X, OTHER), "wide": (X, WIDE), "far from the origin": (FAR, Y)}


def rotated(points, seed=1):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((points.shape[1],) * 2))
    return points @ turn


def overlap(x, y):
    return neighborhood_overlap(x, y, ks=(10,))[0]


def biased_cka(x, y):
    return linear_cka(x, y, debiased=False)


def imbalance(x, y):
    return information_imbalance(x, y)[0]


SIMILARITIES = {
    overlap: lambda x, y: naive.overlap(x, y, 10),
    imbalance: naive.imbalance,
    linear_cka: lambda x, y: naive.alignment(naive.linear(x), naive.linear(y), naive.unbiased),
    biased_cka: lambda x, y: naive.alignment(naive.linear(x), naive.linear(y), naive.biased),
    distance_correlation: naive.distance_correlation,
    procrustes: naive.procrustes,
}
SAME = {overlap: 1.0, imbalance: 2 / N, procrustes: 0.0}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("measure", SIMILARITIES, ids=lambda measure: measure.__name__)
def test_the_formula_in_float64_says_the_same(measure, pair):
    assert measure(*PAIRS[pair]).value == pytest.approx(SIMILARITIES[measure](*PAIRS[pair]), abs=1e-6)


@pytest.mark.parametrize("measure", [*SIMILARITIES, rbf_cka], ids=lambda measure: measure.__name__)
def test_a_space_is_itself_whatever_its_rotation_scale_and_shift(measure):
    for other in (X, rotated(X), 30 * X, X - 9, torch.from_numpy(rotated(X) * 3 + 1)):
        assert measure(X, other).value == pytest.approx(SAME.get(measure, 1.0), abs=1e-9)


@pytest.mark.parametrize("measure", [linear_cka, rbf_cka, distance_correlation, overlap, imbalance, procrustes])
def test_a_rotation_of_one_space_changes_nothing(measure):
    assert measure(rotated(X) * 2 + 1, Y).value == pytest.approx(measure(X, Y).value, abs=1e-9)


@pytest.mark.parametrize("measure", [linear_cka, rbf_cka, distance_correlation, procrustes, biased_cka])
def test_symmetric(measure):
    assert measure(X, Y).value == pytest.approx(measure(Y, X).value, abs=1e-9)


def test_independent_spaces_have_nothing_in_common():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((400, 200)), rng.standard_normal((400, 200))
    for measure in (linear_cka, rbf_cka, distance_correlation, overlap):
        measured = measure(x, y)
        assert abs(measured.value) < 4 * measured.error < 0.05
    for way in information_imbalance(x, y):
        assert abs(way.value - 1) < 4 * way.error < 0.25
    assert linear_cka(x, y, debiased=False).value > 0.3  # why the other one is the default


@pytest.mark.parametrize("measure", [linear_cka, distance_correlation])
def test_the_error_is_that_of_leaving_out_one_sample_after_the_other(measure):
    formula = SIMILARITIES[measure]
    x, y = X[:40], Y[:40]
    assert measure(x, y).error == pytest.approx(naive.jackknife(formula, x, y), rel=1e-6)


def test_rbf_cka_by_its_formula():
    def kernel(points):
        apart = naive.distances(points)
        return np.exp(-(apart**2) / (2 * np.median(apart[apart > 0]) ** 2))

    for debiased, hsic in ((True, naive.unbiased), (False, naive.biased)):
        expected = naive.alignment(kernel(X), kernel(Y), hsic)
        assert rbf_cka(X, Y, debiased).value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rows", [1, 13, 119, 512])
@pytest.mark.parametrize("measure", [linear_cka, rbf_cka, distance_correlation])
def test_blocks_of_kernels_change_nothing(measure, rows):
    assert measure(X, Y, rows=rows).value == pytest.approx(measure(X, Y).value, abs=1e-12)


@pytest.mark.parametrize("block", [17, 119, 1000])
def test_blocks_of_ranks_change_nothing(block):
    for blocked, whole in zip(information_imbalance(X, Y, block), information_imbalance(X, Y), strict=True):
        assert np.array_equal(blocked.samples, whole.samples)


def test_the_overlap_over_k_and_of_every_sample():
    curve = neighborhood_overlap(X, Y, ks=(1, 5, 30, 119))
    for measured in curve[:3]:
        assert measured.value == pytest.approx(naive.overlap(X, Y, int(measured.scale)), abs=1e-12)
        assert measured.samples.mean() == pytest.approx(measured.value, abs=1e-12)
    assert np.isnan(curve[3].value) and curve[3].scale == 119
    known = neighborhood_overlap(neighbors(X, 40), neighbors(Y, 40), ks=(5, 30))
    assert [part.value for part in known] == [part.value for part in curve[1:3]]


@pytest.mark.parametrize("measure", [overlap, imbalance])
def test_samples_that_equal_another_one_in_either_space_are_left_out(measure):
    x, y = np.concatenate([X, X[:9], X[:9]]), np.concatenate([Y, Y[:9], Y[20:29]])
    assert measure(x, y).value == pytest.approx(measure(X, Y).value, abs=1e-12)
    assert measure(x, y).n == N


HALF_K = {"as many": 59, "one less": 58, "one more": 60, "nearly all": 118}


@pytest.mark.parametrize("k", HALF_K.values(), ids=HALF_K)
def test_halves_that_have_no_other_points_say_nothing_of_the_error(k):
    """Of 60 points each has 59 neighbors; there the overlap is 1 by chance, and no halves differ."""
    (measured,) = neighborhood_overlap(X, Y, ks=(k,))
    assert measured.value == pytest.approx(naive.overlap(X, Y, k))
    assert np.isnan(measured.error) if k >= 59 else measured.error > 0
    for wrong in ((0,), (0, 5), (-1, 5)):
        with pytest.raises(ValueError, match="1 are needed"):
            neighborhood_overlap(X, Y, ks=wrong)


def test_neighbors_are_matched_in_blocks_of_so_many_pairs(monkeypatch):
    """All pairs of known neighbors at once would be 10 GB for a thousand of them and 2,048 rows."""
    largest = []
    nonzero = np.nonzero
    monkeypatch.setattr(overlaps.np, "nonzero", lambda same: largest.append(same.size) or nonzero(same))
    monkeypatch.setattr(overlaps, "BLOCK", 256)
    blocked = neighborhood_overlap(X, Y, ks=(30,))[0]
    assert max(largest) <= 256**2
    monkeypatch.undo()
    assert blocked.value == neighborhood_overlap(X, Y, ks=(30,))[0].value


TIED = np.stack(np.meshgrid(*[np.arange(3.0)] * 4), -1).reshape(-1, 4)


@pytest.mark.parametrize(
    "points",
    [
        TIED * 0.1 + 0.7,
        np.eye(60) + 0.1,
        np.concatenate([X[:60] * 1e-4, X[60:] + 1e6]).astype(np.float32),
        np.concatenate([X[:60] * 1e-6, X[60:] + 1e6]),
    ],
    ids=["grid", "equal distances", "two sizes", "two sizes in float64"],
)
def test_a_space_predicts_itself_whatever_rounding_does(points):
    for way in information_imbalance(points, points):
        assert way.value == pytest.approx(2 / len(points), rel=1e-12)


def test_states_of_two_spaces_have_no_cosine():
    """Not even where numpy would take one column for all."""
    for measure in (cosine, relative_l2, centroid_distance, modality_probe, cluster_homogeneity):
        for other in (Y[:, :1], Y[:, :3]):
            with pytest.raises(LapilliError, match=r"10 and \d dimensions: both must be states of one space"):
                measure(X, other)


def test_one_direction_may_know_more_than_the_other():
    """A space with a dimension more predicts the one without; not the other way."""
    forward, backward = information_imbalance(np.column_stack([X, 5 * OTHER]), X)
    assert backward.value > forward.value + 2 * (forward.error + backward.error)


def test_procrustes_of_the_first_components():
    noisy = np.column_stack([X, 1e-3 * OTHER])
    assert procrustes(noisy, X, rank=10).value < 1e-4
    x, y = (part - part.mean(0) for part in (X, Y))
    first = [part @ np.linalg.svd(part)[2].T[:, :3] for part in (x, y)]
    assert procrustes(X, Y, rank=3).value == pytest.approx(naive.procrustes(*first), abs=1e-9)
    assert procrustes(WIDE, X).value == pytest.approx(naive.procrustes(WIDE, X), abs=1e-9)


def test_each_sample_on_its_own():
    cosines = (X * Y).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(Y, axis=1)
    np.testing.assert_allclose(cosine(X, Y).samples, cosines, atol=1e-12)
    np.testing.assert_allclose(
        relative_l2(X, Y).samples, np.linalg.norm(Y - X, axis=1) / np.linalg.norm(X, axis=1), rtol=1e-12
    )
    assert cosine(X, 3 * X).value == pytest.approx(1) and relative_l2(X, X).value == 0
    assert cosine(X, Y).error == pytest.approx(cosines.std(ddof=1) / np.sqrt(N))


def test_the_lens_divergence_by_its_formula():
    head = torch.from_numpy(RNG.standard_normal((10, 30)).astype(np.float32))
    measured = logit_lens_kl(X, Y, lambda states: states @ head)
    first, second = (np.exp(part @ head.numpy()) for part in (X, Y))
    first, second = (part / part.sum(1, keepdims=True) for part in (first, second))
    np.testing.assert_allclose(measured.samples, (first * np.log(first / second)).sum(1), atol=1e-4)
    assert logit_lens_kl(X, X, lambda states: states @ head).value == 0
    assert logit_lens_kl(X, X, lambda states: states @ head, lambda states: 2 * states @ head).value > 0.1


BAD = {
    "3 axes": (np.zeros((4, 4, 4)), X, "shape"),
    "rows": (X, Y[:-1], "120 and 119 rows"),
    "nan": (np.where(np.arange(N)[:, None] == 7, np.nan, X), Y, "row 7, column 0: nan"),
    "inf": (X, np.where(np.arange(N)[:, None] == 3, np.inf, X), "row 3, column 0: inf"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("measure", [overlap, imbalance, linear_cka, distance_correlation, procrustes, cosine])
def test_what_is_no_pair_of_spaces_is_refused(measure, case):
    x, y, message = BAD[case]
    with pytest.raises(LapilliError, match=message):
        measure(x, y)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e9 + 0.1])
@pytest.mark.parametrize("measure", [linear_cka, rbf_cka, distance_correlation, procrustes, biased_cka])
def test_a_space_without_variance_says_nothing(measure, constant):
    """Though the mean of forty times .1 in float64 is not .1."""
    assert np.isnan(measure(np.full((N, 3), constant), Y).value)
    assert np.isnan(measure(Y, np.full((N, 3), constant)).value)


@pytest.mark.parametrize("points", [np.zeros((40, 3)), np.ones((2, 3)), np.empty((0, 3)), np.arange(3.0)[:, None]])
@pytest.mark.parametrize("measure", [overlap, imbalance, linear_cka, rbf_cka, distance_correlation])
def test_too_few_distinct_samples_say_nothing(measure, points):
    assert np.isnan(measure(points, points).value)
