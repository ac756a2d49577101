import numpy as np
import pytest

from lapilli.inspection.intervention.patch_sets import in_pieces, pieces, scattered, strongest

GRID = (4, 5)


def test_the_strongest_patches_are_those_with_the_largest_values_and_of_equal_ones_the_first():
    assert strongest(np.array([3.0, -9.0, 5.0, 5.0, 1.0, 5.0]), 3).tolist() == [2, 3, 5]
    assert strongest(np.array([1.0, 2.0, 2.0]), 1).tolist() == [1]


def test_pieces_are_connected_by_edges_not_by_corners():
    #  0  1  .  .  .
    #  5  .  .  .  .
    #  .  . 12  .  .
    #  .  .  . 18  .
    assert pieces(np.array([0, 1, 5, 12, 18]), GRID) == [3, 1, 1]


def test_the_last_patch_of_a_row_is_no_neighbour_of_the_first_of_the_next():
    assert pieces(np.array([4, 5]), GRID) == [1, 1]


@pytest.mark.parametrize("sizes", [[6], [3, 3], [4, 2, 1], [1, 1, 1, 1]])
def test_random_pieces_have_their_number_of_patches_within_what_is_free(sizes):
    free = np.setdiff1d(np.arange(20), [7, 8])
    for seed in range(30):
        found = in_pieces(np.random.default_rng(seed), free, sizes, GRID)
        assert len(set(found.tolist())) == sum(sizes) and set(found.tolist()) <= set(free.tolist())
        assert max(pieces(found, GRID)) >= max(sizes)  # pieces may touch, never fall apart while there is room


def test_a_single_piece_is_connected():
    for seed in range(30):
        assert pieces(in_pieces(np.random.default_rng(seed), np.arange(20), [7], GRID), GRID) == [7]


def test_a_piece_without_room_goes_on_elsewhere_and_too_many_are_refused():
    free = np.array([0, 2, 4, 11])  # no two are neighbours
    assert in_pieces(np.random.default_rng(0), free, [3], GRID).size == 3
    with pytest.raises(ValueError, match="5 patches of 4"):
        in_pieces(np.random.default_rng(0), free, [5], GRID)


def test_scattered_patches_are_each_as_likely():
    drawn = [scattered(np.random.default_rng(seed), np.arange(10), 3) for seed in range(3000)]
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    assert all(len(set(one.tolist())) == 3 for one in drawn)
    assert abs(counts - 900).max() < 5 * np.sqrt(3000 * 0.3 * 0.7)
