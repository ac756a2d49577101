"""Nearest neighbors, against all distances in float64."""

import numpy as np
import pytest
import torch
from tests.inspection.measures import naive

from lapilli.inspection.measures.nearest import MARGIN, nearest, neighbors


def cloud(n=300, d=64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def outlying(size):
    """One coordinate is very large and the same but for a share in a thousand: |x| is far more than the distances."""
    points = cloud()
    points[:, 3] = size * (1 + 1e-3 * cloud(seed=1)[:, 0])
    return points


CLOUDS = {
    "plain": cloud(),
    "far from the origin": cloud() + np.float32(30_000),
    "one large coordinate": outlying(300.0),
    "one huge coordinate": outlying(30_000.0),
    "two sizes": np.concatenate([cloud(150) * np.float32(1e-3), cloud(150, seed=1) * np.float32(1e4)]),
    "tiny": cloud() * np.float32(1e-30),
    "vast": cloud() * np.float32(1e30),
    "ten orders apart": np.concatenate([cloud(150) * np.float32(1e-4), cloud(150, seed=1) + np.float32(1e6)]),
    "float64": cloud().astype(np.float64) + 1e9,
}


@pytest.mark.parametrize("name", CLOUDS)
def test_neighbors_are_those_of_float64(name):
    points = CLOUDS[name]
    known = neighbors(points, 20, block=64)
    expected = naive.order(points)[:, : 20 + MARGIN]
    assert (known.index[:, :20] == expected[:, :20]).all()
    apart = np.linalg.norm(points[:, None].astype(np.float64) - points[expected].astype(np.float64), axis=2)
    np.testing.assert_allclose(known.distance[:, :20], apart[:, :20], rtol=1e-6)


def test_the_plain_form_in_float32_is_wrong_where_ours_is_right():
    """The control of the test above: what it is about exists."""
    points = torch.from_numpy(CLOUDS["far from the origin"])
    plain = torch.cdist(points, points, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    wrong = plain.topk(20, largest=False).indices.numpy() != naive.order(points.numpy())[:, :20]
    assert wrong.mean() > 0.3


def test_rows_that_float32_cannot_decide_are_done_again():
    assert neighbors(CLOUDS["plain"], 20).redone == neighbors(CLOUDS["far from the origin"], 20).redone == 0
    assert neighbors(CLOUDS["two sizes"], 20).redone >= 150


def test_rounding_is_not_left_to_the_program():
    points, before = cloud(d=256), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert (neighbors(points, 5).index[:, :5] == naive.order(points)[:, :5]).all()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_change_nothing(block):
    points = cloud(100, 8)
    assert np.array_equal(neighbors(points, 10, block).index, neighbors(points, 10).index)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_of_numbers(dtype):
    points = torch.from_numpy(cloud(100, 16)).to(dtype)
    assert np.array_equal(neighbors(points, 5).index[:, :5], naive.order(points.double().numpy())[:, :5])


def test_a_point_is_not_its_own_neighbor_even_among_duplicates():
    points = np.repeat(cloud(50, 8), 2, axis=0)
    known = neighbors(points, 3)
    assert (known.index[:, 0] == np.arange(100) ^ 1).all()
    assert (known.distance[:, 0] == 0).all() and (known.index != np.arange(100)[:, None]).all()


def test_as_many_neighbors_as_there_are_points():
    points = cloud(12, 4)
    assert np.array_equal(neighbors(points, 11).index, naive.order(points))
    for k in (0, 12):
        with pytest.raises(ValueError, match=f"{k} neighbors of 12 points"):
            neighbors(points, k)


def test_known_neighbors_are_taken_as_they_are():
    known = neighbors(cloud(), 10)
    assert nearest(known, 7) is known
    with pytest.raises(ValueError, match="10 neighbors where 11 are needed"):
        nearest(known, 11)


GRID = np.stack(np.meshgrid(*[np.arange(3.0)] * 4), -1).reshape(-1, 4)


@pytest.mark.parametrize(
    "points", [np.eye(100), np.eye(100, dtype=np.float32), np.tile(GRID, (3, 1)), np.ones((60, 2))]
)
def test_of_more_equal_distances_than_candidates_the_lower_index_goes_first(points):
    assert np.array_equal(neighbors(points, 5).index[:, :5], naive.order(points)[:, :5])
