"""A case scored as a whole: words whose patches are known, put through all that real maps go through."""

import numpy as np
import pytest
from tests.studies.scorecard import held

from lapilli.inspection.intervention.patch_sets import pieces
from lapilli.studies.scorecard.curves import Curves, Sets
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.operators import WordAfterRemoval
from lapilli.studies.scorecard.score import SHARE, Place, apart, score


def additive(weights, logits=3):
    """An operator under which the word loses each removed patch's weight, and changes without the heaviest.

    In nats; in logits it loses so many times as much.
    """

    def left(case, sets):
        lost = np.array([weights[some].sum() for some in sets])
        changed = np.array([int(weights.argmax()) in some for some in sets])
        return WordAfterRemoval(case.log_prob - lost, case.logit - logits * lost, changed)

    return left


def scored(weights, maps, place=None, seed=3):
    case = held.case("deep", seed)
    methods = [Method(name, "floor", lambda case, one=one: one) for name, one in maps.items()]
    found = score(case, methods, {"additive": additive(weights)}, place)
    return found, list(maps)


@pytest.fixture
def weights():
    count = len(held.case("deep").patches)
    return np.random.default_rng(5).exponential(size=count) + np.eye(count)[3] * 9


def test_the_true_map_is_the_best_and_foretells_exactly(weights):
    rng = np.random.default_rng(6)
    maps = {"true": weights, "random": rng.normal(size=len(weights)), "wrong": -weights}
    found, _ = scored(weights, maps)
    gaps = Curves(found.morf, found.lerf).gap[0]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[0] == pytest.approx(-gaps[2])
    assert found.calibration[0, 0] == pytest.approx(1) and found.calibration[0, 2] == pytest.approx(-1)
    assert found.flips[0, 0] > 0.5 and found.flips[0, 2] <= 0


def test_a_true_forecast_has_slope_one_in_its_own_unit(weights):
    """Of a word whose logit falls three times as far as its log-probability."""
    case = held.case("deep")
    planted = {"nat": weights, "logit": 3 * weights, "too small": weights / 4, "wrong": -weights}
    units = {"nat": "nat", "logit": "logit", "too small": "nat", "wrong": "logit"}
    methods = [Method(name, "floor", lambda case, one=one: one, unit=units[name]) for name, one in planted.items()]
    (found,) = score(case, methods, {"additive": additive(weights)}, None).slopes
    assert (found[:, 0] / found[:, 1]).tolist() == pytest.approx([1, 1, 4, -3])


def test_a_method_by_layers_is_scored_in_every_layer(weights):
    case = held.case("deep")
    by_layer = Method("layers", "zero-pass", lambda case, layer: weights * (1 - layer / 2), by_layer=True)
    methods = [by_layer, Method("true", "zero-pass", lambda case: weights)]
    found = score(case, methods, {"additive": additive(weights)}, None)
    expected = [weights, weights / 2, 0 * weights, -weights / 2, -weights, weights]  # of five layers, and the other one
    np.testing.assert_allclose(found.maps, expected)
    gaps = Curves(found.morf, found.lerf).gap[0]
    assert gaps[:2] == pytest.approx(gaps[5]) and gaps[2] == 0 and gaps[3:5] == pytest.approx(-gaps[5])


def test_a_constant_map_scores_chance_everywhere(weights):
    covered = (np.arange(len(weights)) % 3 == 0).astype(float)
    constant = {"constant": np.full(len(weights), 0.7)}
    found, _ = scored(weights, constant, Place(covered, covered))
    curves = Curves(found.morf, found.lerf)
    assert curves.gap[0, 0] == 0 and curves.insertion[0, 0] == curves.deletion[0, 0]
    assert found.calibration[0, 0] == 0
    assert found.pointing[0] == pytest.approx(covered.mean()) and found.energy[0] == pytest.approx(1)
    assert [found.pointing[0], found.energy[0], found.precision[0]] == pytest.approx(list(found.chance))
    flips = [scored(weights, constant, seed=seed)[0].flips[0, 0] for seed in range(60)]
    assert abs(np.mean(flips)) < 3 * np.std(flips) / np.sqrt(len(flips))


def test_random_maps_score_chance_on_average(weights):
    rng = np.random.default_rng(7)
    maps = {str(number): rng.normal(size=len(weights)) for number in range(200)}
    found, _ = scored(weights, maps)
    for values in (Curves(found.morf, found.lerf).gap[0], found.calibration[0], found.flips[0]):
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values)) + 0.02
    assert SHARE == 1 / 8


def test_without_a_place_nothing_is_pointed_at(weights):
    found, _ = scored(weights, {"true": weights})
    assert np.isnan([found.pointing, found.energy, found.precision]).all() and np.isnan(found.chance).all()
    hidden, _ = scored(weights, {"true": weights}, Place(np.zeros(len(weights)), np.zeros(len(weights))))
    assert np.isnan(hidden.pointing).all() and np.isnan(hidden.chance).all()


def test_sets_are_taken_away_but_once():
    sets = Sets()
    assert sets.add([np.array([1, 2]), np.array([2, 1]), np.array([3])]) == [0, 0, 1]
    assert sets.add([np.array([3])]) == [1] and len(sets.unique) == 2


@pytest.mark.parametrize("sizes", [[4], [2, 2], [3, 1], [1] * 5, [7, 5, 3, 1]])
def test_random_sets_come_in_pieces_of_the_sizes_asked_for(sizes):
    rng = np.random.default_rng(2)
    sets = [apart(rng, sizes, (6, 6)) for _ in range(120)]
    assert all(pieces(some, (6, 6)) == sizes and len(set(some.tolist())) == sum(sizes) for some in sets)
    assert set(np.concatenate(sets).tolist()) == set(range(36))  # nowhere are there none


def test_pieces_that_do_not_fit_apart_are_as_many_patches_anyway():
    assert apart(np.random.default_rng(0), [2, 2], (2, 2)).tolist() == [0, 1, 2, 3]


def test_a_flip_of_a_blind_map_in_one_piece_is_chance():
    """A word that needs half of the patches of an area falls to connected removals more than to scattered ones."""
    case = held.case("deep")
    area = np.array([0, 1])

    def needs_an_area(case, sets):
        gone = [np.isin(area, some).any() for some in sets]
        lost = np.array(gone, float)
        return WordAfterRemoval(case.log_prob - lost, case.logit - lost, np.array(gone))

    flips = []
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(len(case.patches)).astype(float)
        method = Method("blind", "floor", lambda case, order=order: order)
        flips.append(score(held.case("deep", seed), [method], {"area": needs_an_area}, None).flips[0, 0])
    assert abs(np.mean(flips)) < 3 * np.std(flips) / np.sqrt(len(flips))
