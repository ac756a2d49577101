"""Layers chosen on one half of the cases and measured on the other."""

import numpy as np
from tests.studies.scorecard.test_table import METHODS as OTHERS

from lapilli.core.run import RunDir
from lapilli.studies.scorecard import table
from lapilli.studies.scorecard.halves import crossed, halves, used
from lapilli.studies.scorecard.method import Method

LAYERS = Method("layers", "zero-pass", np.zeros_like, by_layer=True)


def test_halves_are_every_second_case():
    assert [half.tolist() for half in halves(5)] == [[0, 2, 4], [1, 3]]


def test_each_half_gets_the_column_that_is_best_in_the_other():
    gaps = np.zeros((6, 3))
    gaps[::2, 0], gaps[1::2, 2] = 1, 1
    assert crossed(gaps) == (2, 0)


def test_a_layer_is_not_chosen_by_the_cases_it_counts_in():
    """Layer 1 is best in the first half, layer 2 in the second; the others have a map each, before and behind."""
    gaps = np.zeros((4, 5))
    gaps[::2, 1 + 1], gaps[1::2, 1 + 2] = 1, 1
    found = used([OTHERS[0], LAYERS, OTHERS[1]], gaps)
    assert found.chosen.tolist() == [[0, 2, 0], [0, 1, 0]] * 2
    assert found.maps.tolist() == [[0, 3, 4], [0, 2, 4]] * 2


def test_without_layers_every_map_is_its_methods():
    assert used(OTHERS, np.zeros((4, 5))).maps.tolist() == [[0, 1, 2, 3, 4]] * 4


def test_all_of_a_methods_numbers_are_of_the_layer_that_was_chosen(tmp_path):
    """Cases of two operators: what is saved says in every number which map it is of."""
    run = RunDir.create(tmp_path / "run", {}, 0)
    rng = np.random.default_rng(0)
    for case in range(4):
        best = 1 + (1 if case % 2 == 0 else 2)
        falling = np.linspace(0, -1, 25)
        morf, lerf = np.tile(falling, (2, 4, 1)), np.tile(falling, (2, 4, 1))
        lerf[0, best] = np.where(np.arange(25) < 24, 0, -1)  # under the first operator
        marks = np.arange(4.0) + np.zeros((2, 1))
        saved = {"maps": np.arange(4.0)[:, None] + np.zeros(9), "morf": morf, "lerf": lerf, "flips": marks,
                 "calibration": marks, "slopes": np.stack([marks, marks], -1), "chance": rng.random(3)}  # fmt: skip
        run.save_arrays(f"case-{case:04d}", saved | dict.fromkeys(("pointing", "energy", "precision"), np.arange(4.0)))
    numbers = table.read(run, (OTHERS[0], LAYERS), ("blur", "drop"), 4)
    expected = [[0, 3], [0, 2]] * 2
    for values in (numbers.metrics["flip"][1], numbers.metrics["calibration"][0], numbers.plausible["energy"]):
        assert values.tolist() == expected
    assert numbers.slopes[1, :, :, 0].tolist() == expected
    assert [one[:, 0].tolist() for one in numbers.maps] == expected
    assert numbers.metrics["gap"][0, :, 1].tolist() == [0.0] * 4  # what is best in one half is not in the other
    assert table.layers(numbers, LAYERS) == {"layers": [2, 1]} and table.layers(numbers, OTHERS[0]) == {}
