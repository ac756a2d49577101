"""Intervals of figures that are no mean: by picture, and in little memory where there are many."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import spearmanr

from lapilli.core.statistics.bootstrap import DRAWS, draws
from lapilli.evaluation.published import resampling
from lapilli.evaluation.published.protocol import Judged
from lapilli.evaluation.published.resampling import interval_of
from lapilli.evaluation.published.results import agreement


def judged(at, picture, score, other):
    return Judged(str(at), "", picture, "", "", "", score, beside={"other": other})


def answers(count, copies=1, seed=1):
    """Answers with soft scores by two rules that are alike, every one `copies` times about its picture."""
    rng = np.random.default_rng(seed)
    scores = rng.choice([0, 0.3, 0.6, 0.9, 1], count)
    others = np.where(rng.random(count) < 0.7, scores, rng.choice([0, 0.3, 1], count))
    pairs = [pair for pair in enumerate(zip(scores, others, strict=True)) for _ in range(copies)]
    return [judged(at, picture, *pair) for at, (picture, pair) in enumerate(pairs)]


def first_weight(weights, _):
    return weights[:, 0].copy()  # a view would keep them all


def test_rules_agree_as_scipy_has_it():
    rows = answers(60)
    expected = spearmanr([row.score for row in rows], [row.beside["other"] for row in rows]).statistic
    made = agreement(rows)["other"]
    assert made["spearman"] == pytest.approx(expected, abs=1e-12)
    assert made["spearman_interval"][0] < expected < made["spearman_interval"][1] <= 1


@pytest.mark.parametrize("copies", [2, 5, 9])
def test_copies_of_a_picture_s_answers_say_nothing_new_of_agreement(copies):
    alone, copied = (agreement(answers(40, times))["other"] for times in (1, copies))
    assert copied["spearman"] == pytest.approx(alone["spearman"])
    assert copied["spearman_interval"] == pytest.approx(alone["spearman_interval"], abs=1e-9)


def test_a_rule_that_always_says_the_same_agrees_with_none():
    made = agreement([judged(at, at, at % 3 / 3, 0.5) for at in range(20)])["other"]
    assert np.isnan(made["spearman"]) and np.isnan(made["spearman_interval"]).all()


@pytest.mark.parametrize(("pictures", "copies"), [(7, 1), (300, 30), (1_000, 1)])
def test_many_pictures_are_drawn_as_few_are(monkeypatch, pictures, copies):
    """A part at a time, and the same ones."""
    rows = [judged(at, at // copies, 1.0, 1.0) for at in range(pictures * copies)]
    together = interval_of(rows, first_weight)
    monkeypatch.setattr(resampling, "MANY", 2)
    assert interval_of(rows, first_weight) == together
    parts = np.concatenate(list(resampling._weights(pictures, DRAWS, 37)))
    assert np.array_equal(parts, draws(pictures, 0).weights)


def test_the_draws_of_many_pictures_do_not_fill_the_memory():
    rows = [judged(at, at, 1.0, 1.0) for at in range(resampling.MANY + 1)]
    tracemalloc.start()
    interval_of(rows, first_weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * DRAWS * len(rows) / 2
