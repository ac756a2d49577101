"""Areas by counting pairs, and intervals against independent samples, known answers and chance."""

import numpy as np
import pytest
from scipy.stats import binom, bootstrap
from tests.core.statistics.pairs import auc

from lapilli.core.statistics.auc import Sides, area, difference, estimate, resampled_areas
from lapilli.core.statistics.bootstrap import draws, two_sided
from lapilli.core.statistics.multiple import holm


def made(seed, n=300, models=3, pictures=80, share=0.2):
    rng = np.random.default_rng(seed)
    sides = Sides(rng.random(n) < share, rng.integers(0, models, n), rng.integers(0, pictures, n))
    return rng.normal(size=n).round(1) + 0.8 * sides.positive, sides


def alone(sides):
    """The same, each answer of a picture of its own and all of one model."""
    return Sides(sides.positive, np.zeros(len(sides.positive), int), np.arange(len(sides.positive)))


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_counted_within_models(seed):
    scores, sides = made(seed)
    won = pairs = 0
    for i in np.flatnonzero(sides.positive):
        for j in np.flatnonzero(~sides.positive):
            if sides.model[i] == sides.model[j]:
                won += (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
                pairs += 1
    assert area(scores, sides) == pytest.approx(won / pairs, abs=1e-12)


def test_of_one_model_it_is_mann_whitneys():
    scores, sides = made(5)
    high, low = scores[sides.positive], scores[~sides.positive]
    assert area(scores, alone(sides)) == pytest.approx(auc(high, low), abs=1e-12)


def test_a_draw_is_the_area_of_the_answers_drawn():
    scores, sides = made(6, n=60, pictures=20)
    _, cluster = np.unique(sides.picture, return_inverse=True)
    times = (draws(sides.pictures, 3).weights * sides.pictures).round().astype(int)  # by repeating answers
    drawn_areas = resampled_areas(scores, sides, seed=3)
    for number in range(5):
        again = np.repeat(np.arange(60), times[number][cluster])
        drawn = Sides(sides.positive[again], sides.model[again], sides.picture[again])
        assert drawn_areas[number] == pytest.approx(area(scores[again], drawn), abs=1e-12)


def test_of_independent_answers_the_interval_is_that_of_drawing_them_apart():
    scores, sides = made(7, n=800)
    ours = estimate(scores, alone(sides), resampled_areas(scores, alone(sides)))
    apart = (scores[sides.positive], scores[~sides.positive])
    drawn = bootstrap(apart, auc, n_resamples=2000, method="percentile", vectorized=False, rng=0)
    theirs = drawn.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert ours.value == pytest.approx(auc(*apart), abs=1e-12) and ours.n == len(scores)


def test_answers_that_are_copies_of_each_other_make_no_interval_narrower():
    scores, sides = made(8, n=200, models=1, pictures=200)
    four = Sides(np.tile(sides.positive, 4), np.repeat(np.arange(4), 200), np.tile(sides.picture, 4))
    once = estimate(scores, sides, resampled_areas(scores, sides))
    copied = estimate(np.tile(scores, 4), four, resampled_areas(np.tile(scores, 4), four))
    assert copied.value == pytest.approx(once.value) and copied.n == 4 * once.n
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_shuffled_sides_give_a_half_within_the_interval_as_often_as_it_says():
    held, values = 0, []
    for seed in range(120):
        scores, sides = made(seed, n=160, models=1, pictures=160)
        sides.positive[:] = np.random.default_rng(seed + 900).permutation(sides.positive)
        shuffled = alone(sides)
        found = estimate(scores, shuffled, resampled_areas(scores, shuffled, seed, count=500))
        held += found.low <= 0.5 <= found.high
        values.append(found.value)
    assert held >= 105  # of 120; 114 are meant, and fewer than 105 come once in a thousand
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_a_score_does_not_differ_from_itself_and_from_noise_it_does():
    scores, sides = made(9, n=600)
    noise = np.random.default_rng(1).normal(size=600)
    drawn, of_noise = resampled_areas(scores, sides), resampled_areas(noise, sides)
    same = difference(scores, scores, sides, (drawn, drawn))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    apart = difference(scores, noise, sides, (drawn, of_noise))
    assert apart.value == pytest.approx(area(scores, sides) - area(noise, sides))
    assert apart.low > 0 and apart.p == pytest.approx(two_sided(1 / 4001, sides.fewer, 0))


def test_p_is_as_often_small_as_it_says_where_two_scores_are_equally_good():
    small = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        sides = alone(Sides(rng.random(200) < 0.3, np.zeros(200, int), np.arange(200)))
        one, other = (rng.normal(size=200) + sides.positive for _ in range(2))
        drawn = tuple(resampled_areas(score, sides, seed, count=500) for score in (one, other))
        small += difference(one, other, sides, drawn).p < 0.05
    assert small <= 17  # 7.5 are meant; more than 17 come once in a thousand


def asked_of_pictures(rng, pictures, models=2):
    """Three questions a picture, of two models each: what a picture is like moves all of their answers and scores.

    Gives the sides and a maker of scores that are all equally good.
    """
    picture = np.repeat(np.arange(pictures), 3 * models)
    hard = rng.normal(size=pictures)[picture] + rng.normal(size=len(picture))
    sides = Sides(hard > np.quantile(hard, 0.7), np.tile(np.arange(models), 3 * pictures), picture)

    def score():
        return sides.positive + rng.normal(size=pictures)[picture] + 0.7 * rng.normal(size=len(picture))

    return sides, score


@pytest.mark.parametrize("pictures", [12, 40])
def test_of_clusters_p_is_as_often_small_as_it_says_where_two_scores_are_equally_good(pictures):
    """p and interval say the same, and who takes the answers for independent is wrong too often."""
    times, small, naive, apart = 200, 0, 0, 0
    for seed in range(times):
        sides, score = asked_of_pictures(np.random.default_rng(seed), pictures)
        one, other = score(), score()
        drawn = tuple(resampled_areas(some, sides, seed, count=500) for some in (one, other))
        found = difference(one, other, sides, drawn)
        single = Sides(sides.positive, sides.model, np.arange(len(one)))
        loose = tuple(resampled_areas(some, single, seed, count=500) for some in (one, other))
        small += found.p < 0.05
        apart += found.low > 0 or found.high < 0
        naive += difference(one, other, single, loose).p < 0.05
    most = binom.ppf(0.999, times, 0.05)
    assert small <= most and apart <= most + 2  # a draw more is counted to p
    assert naive > most


def test_after_holm_any_of_many_equal_scores_is_called_better_or_worse_no_more_often_than_stated():
    times, called = 60, 0
    for seed in range(times):
        sides, score = asked_of_pictures(np.random.default_rng(seed), 30)
        made = [score() for _ in range(9)]
        base, *drawn = [resampled_areas(some, sides, seed, count=500) for some in made]
        found = [difference(some, made[0], sides, (mine, base)) for some, mine in zip(made[1:], drawn, strict=True)]
        called += min(holm([one.p for one in found])) < 0.05
    assert called <= binom.ppf(0.999, times, 0.05)


def test_without_a_pair_there_is_no_area():
    sides = Sides(np.ones(5, bool), np.zeros(5, int), np.arange(5))
    found = estimate(np.arange(5.0), sides, resampled_areas(np.arange(5.0), sides))
    assert np.isnan([found.value, found.low, found.high]).all() and found.n == 5
    nothing = Sides(np.ones(0, bool), np.zeros(0, int), np.zeros(0, int))
    assert len(resampled_areas(np.zeros(0), nothing)) == 0
