"""Logistic regression against scipy's minimum, and out-of-fold answers against leaks and chance."""

import numpy as np
import pytest
from scipy.optimize import minimize
from tests.core.statistics.pairs import auc

from lapilli.core.statistics import logistic
from lapilli.core.statistics.auc import Sides, difference, resampled_areas
from lapilli.core.statistics.logistic import FOLDS, _folds, fitted, out_of_fold


def data(seed, n=200, columns=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns))
    return x, rng.random(n) < 1 / (1 + np.exp(-(0.5 + x @ np.array([1.5, -1.0, 0.0])[:columns])))


@pytest.mark.parametrize("ridge", [0.0, 1.0, 20.0])
def test_the_weights_are_those_of_the_least_loss(ridge):
    x, y = data(0)

    def loss(weights):
        z = weights[0] + x @ weights[1:]
        return np.logaddexp(0, np.where(y, -z, z)).sum() + ridge / 2 * (weights[1:] ** 2).sum()

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    assert fitted(x, y, ridge) == pytest.approx(best.x, abs=1e-4)


def test_without_a_column_that_tells_the_constant_is_the_log_odds():
    y = np.arange(40) < 10
    assert fitted(np.zeros((40, 1)), y) == pytest.approx([np.log(10 / 30), 0], abs=1e-6)


def test_what_tells_perfectly_keeps_finite_weights():
    x = np.linspace(-1, 1, 50)[:, None]
    weights = fitted(x, x[:, 0] > 0)
    assert np.isfinite(weights).all() and weights[1] > 1


def test_it_finds_what_tells():
    x, y = data(1, n=600)
    found = out_of_fold(x, y, np.arange(600))
    truth = x @ np.array([1.5, -1.0, 0.0])
    assert auc(found[y], found[~y]) == pytest.approx(auc(truth[y], truth[~y]), abs=0.01)


def test_noise_tells_nothing_and_no_fold_is_put_below_the_others():
    areas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = np.arange(120) < 20
        found = out_of_fold(rng.normal(size=(120, 4)), y, np.arange(120), seed)
        areas.append(auc(found[y], found[~y]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)


def test_answers_of_one_picture_do_not_learn_from_each_other():
    """Columns that name the picture tell the side of its other answers, and must not be of use."""
    groups = np.repeat(np.arange(60), 4)
    y = np.repeat(np.random.default_rng(2).random(60) < 0.3, 4)
    columns = np.eye(60)[groups]
    leaked = out_of_fold(columns, y, np.arange(240))
    apart = out_of_fold(columns, y, groups)
    assert auc(leaked[y], leaked[~y]) > 0.95
    assert np.abs(apart).max() < 1e-9


def test_folds_keep_groups_whole_and_have_their_share_of_positives():
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 90, 300)
    positive = np.isin(groups, rng.choice(90, 20, replace=False))
    folds = _folds(positive, groups, rng)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    counts = [len(set(groups[positive & (folds == fold)])) for fold in range(FOLDS)]
    assert max(counts) - min(counts) <= 1 and sum(counts) == len(set(groups[positive]))


def test_columns_may_be_of_any_unit():
    x, y = data(4)
    groups = np.arange(200)
    scaled = x * np.array([1e-6, 1e6, 3.0]) + np.array([5.0, -1e6, 0.0])
    assert out_of_fold(scaled, y, groups) == pytest.approx(out_of_fold(x, y, groups), abs=1e-6)


@pytest.mark.parametrize(("tells", "least", "most"), [(0.0, 0, 3), (1.5, 15, 16)])
def test_columns_that_say_nothing_are_said_to_add_no_more_often_than_stated(tells, least, most, monkeypatch):
    """Of two questions a picture; 2.5 times in 100 are meant, and more than 3 of 16 come once in a thousand."""
    monkeypatch.setattr(logistic, "REPEATS", 1)
    adds = 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        picture = np.repeat(np.arange(70), 2)
        hard = rng.normal(size=70)[picture] + rng.normal(size=140)
        sides = Sides(hard > np.quantile(hard, 0.7), np.zeros(140, np.intp), picture)

        def column(good, rng=rng, sides=sides, picture=picture):
            return good * sides.positive + rng.normal(size=70)[picture] + rng.normal(size=140)

        known, more = (np.column_stack([column(good) for _ in range(3)]) for good in (1.0, tells))
        said = [out_of_fold(some, sides.positive, picture, seed) for some in (np.hstack([known, more]), known)]
        drawn = tuple(resampled_areas(some, sides, seed, count=300) for some in said)
        adds += difference(*said, sides, drawn).low > 0
    assert least <= adds <= most
