"""The trials that coverage.py repeats: each draws samples whose truth is known, and sees what is said of them.

A trial is true where an interval held the truth, or where a test found what is not there.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, wilcoxon

from lapilli.core.statistics import auc, joint, ranks
from lapilli.core.statistics.bootstrap import LEVEL, mean, resampled
from lapilli.core.statistics.clusters import clustered, clustered_f1, clustered_mean
from lapilli.core.statistics.crossed import means_over_draws
from lapilli.core.statistics.logistic import out_of_fold
from lapilli.core.statistics.multiple import holm
from lapilli.core.statistics.paired import mcnemar, paired_difference
from lapilli.core.statistics.proportion import newcombe, wilson
from lapilli.core.statistics.recovery import half_recovery_depth, shares_of_gain, shares_over_draws
from lapilli.core.statistics.sets import hypergeometric, rank_p

Random = np.random.Generator
Array = NDArray[np.float64]
Sizes = tuple[int, int, int, float]  # pictures, answers of a model about each, models, share of positive pictures
DRAWS = 500  # of a bootstrap that is simulated: fewer than a result's, for time


def share_held(rng: Random, n: int, low: float, high: float) -> bool:
    """A share, of a truth between two."""
    truth = rng.uniform(low, high)
    found = wilson(int(rng.binomial(n, truth)), n)
    return found.low <= truth <= found.high


def difference_held(rng: Random, n: int, paired: bool) -> bool:
    """A difference of two shares between .05 and .95, of trials of their own or of the same ones."""
    truths = rng.uniform(0.05, 0.95, 2)
    luck = rng.random((n, 1)) if paired else rng.random((n, 2))
    first, second = (wilson(int(right), n) for right in (luck < truths).sum(0))
    found = newcombe(first, second)
    return found.low <= truths[0] - truths[1] <= found.high


def clusters_of(rng: Random, count: int) -> NDArray[np.intp]:
    """The cluster of every trial: one to five trials each."""
    return np.repeat(np.arange(count), rng.integers(1, 6, count))


def clustered_share_held(rng: Random, count: int, share: float) -> bool:
    """A share of trials that are alike by .3 within a cluster."""
    cluster, alike = clusters_of(rng, count), 1 / 0.3 - 1
    right = rng.random(len(cluster)) < rng.beta(share * alike, (1 - share) * alike, count)[cluster]
    found = clustered(right.tolist(), cluster.tolist())
    return found.low <= share <= found.high


def clustered_mean_held(rng: Random, count: int) -> bool:
    """A mean of 0, of which most of the variance is the cluster's."""
    cluster = clusters_of(rng, count)
    found = clustered_mean(rng.normal(0, 1, count)[cluster] + rng.normal(0, 0.5, len(cluster)), cluster.tolist())
    return found.low <= 0 <= found.high


def paired_difference_held(rng: Random, count: int, gap: float) -> bool:
    """A difference of scores of the same trials, which are alike within a cluster."""
    cluster = clusters_of(rng, count)
    alike = rng.normal(0, 1, count)[cluster]
    first, second = (alike + rng.normal(0, 0.4, count)[cluster] + rng.normal(0, 0.5, len(cluster)) for _ in range(2))
    result = paired_difference(first + gap, second, cluster.tolist())
    return result.low <= gap <= result.high


def files_told_apart(rng: Random, count: int, by: str) -> bool:
    """Two sets of answers that are right equally often, told apart at .05."""
    cluster = clusters_of(rng, count) if by == "bootstrap" else np.arange(count)
    hard = rng.beta(2, 2, count)[cluster]
    first, second = (rng.random(len(cluster)) < hard for _ in range(2))
    if by == "bootstrap":
        return bool(paired_difference(first, second, cluster.tolist()).p < 0.05)
    return mcnemar(first.tolist(), second.tolist()).p < 0.05


def clustered_f1_held(rng: Random, count: int, recall: float, false: float) -> bool:
    """F1 of trials of which half are actual; of one cluster, the predictions of each half are alike by .3."""
    cluster, alike = clusters_of(rng, count), 1 / 0.3 - 1
    actual = rng.random(len(cluster)) < 0.5
    rates = np.where(actual, *(rng.beta(p * alike, (1 - p) * alike, count)[cluster] for p in (recall, false)))
    found = clustered_f1((rng.random(len(cluster)) < rates).tolist(), actual.tolist(), cluster.tolist())
    return found.low <= 2 * recall / (1 + recall + false) <= found.high


def mean_held(rng: Random, n: int, shape: str) -> bool:
    """A mean of 0."""
    made: Array = {
        "normal": lambda: rng.normal(0, 1, n),
        "skewed": lambda: rng.exponential(1, n) - rng.exponential(2, n) + 1,
        "shares of 1 in 3": lambda: (rng.random(n) < 1 / 3) - 1 / 3,
    }[shape]()
    found = mean(made)
    return found.low <= 1e-12 and found.high >= -1e-12


def share_of_gain_held(rng: Random, n: int) -> bool:
    """A share of a half of a mean gain, of a change that follows the gain with noise."""
    gains = rng.normal(1, 1, n)
    (found,) = shares_of_gain((0.5 * gains + rng.normal(0, 0.5, n))[None], gains)
    return found.low <= 0.5 <= found.high


def over_draws_held(rng: Random, n: int, of: str, apart: float) -> bool:
    """Five random draws, of the same samples: their spread is `apart`, and a sample differs from draw to draw."""
    gains = rng.normal(1, 1, n)
    changes = 0.2 + apart * rng.standard_normal((5, 1)) + 0.5 * rng.standard_normal(n) + rng.standard_normal((5, n))
    figures = {
        "mean": lambda: means_over_draws(changes[:, None], 0)[0],
        "share": lambda: shares_over_draws(changes[:, None], gains, 0)[0],
        "level": lambda: joint.share_over_draws_at(changes, gains, 0, LEVEL),
    }
    held = figures[of]()
    return held.low <= 0.2 <= held.high


def joint_held(rng: Random, n: int, items: int) -> bool:
    """The largest of the means of skewed samples whose truths are equal in fours."""
    truths = np.repeat(rng.normal(0, 0.3, items // 4), 4)
    found = joint.largest_mean_at(truths[:, None] + rng.exponential(1, (items, n)) - 1, 0, LEVEL)
    return found.low <= float(truths.max()) <= found.high


def change_held(rng: Random, n: int, lost: float) -> bool:
    """The largest of three mean changes of answers, of which shares are lost and a hundredth won in each."""
    truths = np.array([lost, lost / 2, 0.0])[:, None]
    drawn = rng.random((3, n))
    changes = np.where(drawn < truths, 1.0, np.where(drawn > 0.99, -1.0, 0.0))
    found = joint.largest_change_at(changes, LEVEL)
    return bool(found.low <= lost - 0.01 <= found.high)


def place_held(rng: Random, n: int) -> bool:
    """Where the largest of six means lies, the next a fifth of a sample's spread away."""
    values = np.array([0.0, 0.5, 1.0, 0.8, 0.4, 0.0])[:, None] + rng.normal(0, 1, (6, n))
    found = joint.place_of_largest_at(values, np.arange(6.0), 0, LEVEL)
    return found.low <= 2 <= found.high


def level_held(rng: Random, n: int, share: bool) -> bool:
    """A mean, or its share in another, at a level that is given."""
    gains = rng.normal(1, 1, n)
    changes = 0.5 * gains + rng.normal(0, 0.5, n)
    found = joint.share_at(changes, gains, 0, LEVEL) if share else joint.mean_at(changes, 0, LEVEL)
    return found.low <= 0.5 <= found.high


def half_recovery_held(rng: Random, n: int) -> bool:
    """The layer from which on half of a gain is there, of six whose shares grow, the nearest by a twentieth away."""
    gains = rng.normal(1, 1, n)
    shares = np.array([0.1, 0.3, 0.45, 0.6, 0.8, 1.0])
    found = half_recovery_depth(shares[:, None] * gains + rng.normal(0, 0.5, (6, n)), gains)
    return found.low <= 3 <= found.high


def slope_held(rng: Random, n: int) -> bool:
    """A slope through 0 of 1, measured with noise that grows with what is predicted."""
    predicted = rng.normal(0, 1, n)
    measured = predicted + rng.normal(0, 0.5, n) * (1 + np.abs(predicted))
    products, squares = predicted * measured, predicted**2
    found = resampled(lambda at: float(products[at].sum() / squares[at].sum()), n, count=DRAWS)
    return found.low <= 1 <= found.high


def spearman_held(rng: Random, n: int, rho: float) -> bool:
    """Spearman's correlation of pairs, whose truth is known where they are normal."""
    first, other = rng.normal(size=(2, n))
    second = rho * first + np.sqrt(1 - rho**2) * other
    found = resampled(lambda at: spearman(first[at], second[at]), n, count=DRAWS)
    return found.low <= 6 / np.pi * np.arcsin(rho / 2) <= found.high


def spearman(one: Array, other: Array) -> float:
    """As scipy has it where no values are equal; where a draw repeats a pair, its copies are ranked in their order."""
    return float(ranks.spearman(one[None], other[None])[0])


def kendall(one: Array, other: Array) -> float:
    """As scipy has it where no values are equal."""
    upper = np.triu_indices(len(one), 1)
    signs = [np.sign(np.subtract.outer(values, values)[upper]) for values in (one, other)]
    return float((signs[0] * signs[1]).mean())


def tau_held(rng: Random, n: int) -> bool:
    """Kendall's correlation of twelve methods' means under two operators, of the same cases."""
    true = rng.normal(0, 0.1, (2, 12)) + rng.normal(0, 0.1, 12)
    first, second = true[:, None] + rng.normal(0, 0.3, (2, n, 12))
    found = resampled(lambda at: kendall(first[at].mean(0), second[at].mean(0)), n, count=DRAWS)
    return found.low <= kendall(*true) <= found.high


def answers(sizes: Sizes) -> auc.Sides:
    """Answers about pictures, so many of every model about each, all of a picture on one side."""
    pictures, each, models, share = sizes
    side = np.zeros(pictures, np.bool_)
    side[: max(2, round(share * pictures))] = True
    picture = np.repeat(np.arange(pictures), each * models)
    return auc.Sides(side[picture], np.tile(np.arange(models), pictures * each), picture)


def scored(rng: Random, sides: auc.Sides, apart: float) -> Array:
    """Scores whose area is that of two normal distributions `apart`: half of their variance is the picture's."""
    own = rng.normal(0, np.sqrt(0.5), len(sides.picture))
    shared = rng.normal(0, np.sqrt(0.5), sides.pictures)[sides.picture]
    found: Array = own + shared + apart * sides.positive + 3.0 * sides.model
    return found


def area_held(rng: Random, sizes: Sizes) -> bool:
    """An area, of scores one standard deviation apart."""
    sides = answers(sizes)
    scores = scored(rng, sides, 1.0)
    found = auc.estimate(scores, sides, auc.resampled_areas(scores, sides, count=DRAWS))
    return bool(found.low <= norm.cdf(1 / np.sqrt(2)) <= found.high)


def areas_told_apart(rng: Random, sizes: Sizes) -> bool:
    """Two scores that are equally good."""
    sides = answers(sizes)
    first, second = scored(rng, sides, 1.0), scored(rng, sides, 1.0)
    drawn = tuple(auc.resampled_areas(one, sides, count=DRAWS) for one in (first, second))
    return auc.difference(first, second, sides, (drawn[0], drawn[1])).p <= 0.05


def gain_found(rng: Random, n: int) -> bool:
    """What three columns of noise add to a score, out of fold."""
    positive, groups = np.arange(n) < n // 5, np.arange(n)
    score = rng.normal(size=(n, 1)) + positive[:, None]
    sides = auc.Sides(positive, np.zeros(n, np.intp), groups)
    with_noise = np.column_stack([score, rng.normal(size=(n, 3))])
    more, less = (out_of_fold(columns, positive, groups) for columns in (with_noise, score))
    drawn = tuple(auc.resampled_areas(one, sides, count=DRAWS) for one in (more, less))
    found = auc.difference(more, less, sides, (drawn[0], drawn[1]))
    return found.p <= 0.05 and found.value > 0


def tables(rng: Random, alike: float, noise: float, n: int = 40, items: int = 20) -> tuple[Array, Array, Array]:
    """True means (2, item) whose correlation is `alike`, and two tables (sample, item) that measure them.

    `noise` is that of their means, over the spread between items; samples are the same, so their errors are alike.
    """
    first, second = rng.standard_normal((2, items))
    true = np.stack([first, alike * first + np.sqrt(1 - alike**2) * second])
    errors = rng.standard_normal((3, n, items))
    paired = 0.5 * errors[0] + np.sqrt(0.75) * errors[1:]
    measured = true[:, None] + noise * true.std() * np.sqrt(n) * paired
    return true, measured[0], measured[1]


def ranking_held(rng: Random, alike: float, noise: float) -> bool:
    """The rank correlation of the true means."""
    true, first, second = tables(rng, alike, noise)
    found = ranks.rank_correlation(first, second)
    return bool(found.low - 1e-9 <= spearman(*true) <= found.high + 1e-9)


def shared_held(rng: Random, alike: float, noise: float) -> bool:
    """How many of the five largest true means are of the same items."""
    true, first, second = tables(rng, alike, noise)
    found = ranks.shared_largest(first, second, 5)
    one, other = (set(np.argsort(-means)[:5].tolist()) for means in true)
    return found.low <= len(one & other) <= found.high


def family_errs(rng: Random, tests: int) -> bool:
    """One of many true hypotheses is rejected; three more are false."""
    p = rng.random(tests)
    p[:3] *= 1e-3
    return min(holm(p.tolist())[3:]) <= 0.05


def sets_found_alike(rng: Random, items: int, k: int) -> bool:
    """Two random sets are found to share more than by chance."""
    first, second = (set(rng.permutation(items)[:k].tolist()) for _ in range(2))
    return bool(hypergeometric(items, k, k)[len(first & second) :].sum() <= 0.05)


def set_found_strong(rng: Random, sets: int) -> bool:
    """One random set of heads is found stronger than the others, by its rank among them."""
    named, *others = rng.normal(size=sets + 1)
    return rank_p(named, np.array(others)) <= 0.05


def methods_told_apart(rng: Random, n: int, step: float) -> bool:
    """Two methods whose gaps differ by what is symmetric about 0, rounded to steps: ties, and zeros."""
    differences = rng.standard_t(3, n) * 0.2
    differences = np.round(differences / step) * step if step else differences
    return bool(differences.any() and wilcoxon(differences).pvalue <= 0.05)
