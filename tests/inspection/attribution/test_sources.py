import numpy as np
import pytest

from lapilli.core.layout import OFF, Role, TokenLayout
from lapilli.inspection.attribution.direct import Direct
from lapilli.inspection.attribution.sources import (
    DIRECT,
    READ,
    condition_number,
    direct_sources,
    groups,
    summed,
)

ROLES = [
    Role.TEMPLATE, Role.SYSTEM, Role.TEMPLATE, Role.IMAGE, Role.IMAGE, Role.QUESTION, Role.TEMPLATE, Role.ANSWER,
    Role.STOP, Role.TEMPLATE, Role.QUESTION, Role.TEMPLATE, Role.ANSWER,
]  # fmt: skip
TURNS = [OFF, OFF, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
BOS = 1


def layout():
    image = np.where(np.array(ROLES) == Role.IMAGE, 0, OFF)
    column = np.array([OFF] * 3 + [0, 1] + [OFF] * 8)
    return TokenLayout(np.array(ROLES), np.array(TURNS), image, image, column)


def test_every_position_is_in_one_group():
    found = groups(np.array([BOS, *range(10, 22)]), layout(), BOS)
    assert tuple(found) == READ
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(13))
    assert {name: positions.tolist() for name, positions in found.items()} == {
        "image": [3, 4],
        "question": [5, 10],
        "system": [1],
        "template": [2, 6, 9, 11],
        "answer so far": [7, 8, 12],
        "begin token": [0],
    }


def test_without_a_begin_token_the_first_position_is_like_any_other():
    for bos in (None, 99):
        found = groups(np.array([BOS, *range(10, 22)]), layout(), bos)
        assert found["begin token"].size == 0 and found["template"].tolist() == [0, 2, 6, 9, 11]


def test_sources_are_sums_over_their_positions():
    rng = np.random.default_rng(0)
    positions, mlps, biases = rng.normal(size=(2, 13)), rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    embedding = rng.normal(size=2)
    value = positions.sum(1) + embedding + mlps.sum(1) + biases.sum(1)
    direct = Direct(value, positions, np.zeros((2, 4, 3)), np.zeros((2, 4, 3)), mlps, embedding, biases)
    within = groups(np.array([BOS, *range(10, 22)]), layout(), BOS)
    found = direct_sources(direct, within)
    assert found.shape == (2, len(DIRECT)) and np.allclose(found.sum(1), value) and direct.error.max() < 1e-15
    assert np.allclose(found[:, DIRECT.index("image")], positions[:, [3, 4]].sum(1))
    assert np.allclose(summed(positions, within).sum(1), positions.sum(1))


@pytest.mark.parametrize(
    ("parts", "number"),
    [([1.0, 2.0, 3.0], 1.0), ([-1.0, -2.0], 1.0), ([3.0, -2.0], 5.0), ([1.0, -1.0, 0.5], 5.0), ([2.0, -2.0], np.inf)],
)
def test_the_condition_number_says_how_much_cancels(parts, number):
    assert condition_number(np.array(parts)) == pytest.approx(number)
    assert condition_number(np.array([parts, parts], np.float32)) == pytest.approx([number, number])


def test_an_error_of_each_part_may_grow_by_the_condition_number_and_by_no_more():
    rng = np.random.default_rng(0)
    for parts in rng.normal(size=(50, 9)):
        off = np.abs((parts * (1 + 1e-3 * rng.choice([-1, 1], (500, 9)))).sum(1) / parts.sum() - 1) / 1e-3
        assert condition_number(parts) / 2 < off.max() <= condition_number(parts) * (1 + 1e-9)
