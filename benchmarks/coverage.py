"""Do intervals cover the truth as often as they say, and tests err as seldom? By simulation; prints a table.

    python benchmarks/coverage.py [--share 1] [--seed 0] [--json FILE]

Every interval and every p value that the package prints is made of samples whose truth is known, many times over. A row
has how often the interval held the truth (95 in 100 are stated), or how often a test found what is not there (5 in 100
at the most), with the 95 % interval of that count. `--share 0.1` takes a tenth of the repetitions.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import norm, wilcoxon

from lapilli.cli.console import messages
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
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
Kind = Literal["coverage", "error rate"]
HELD: Kind = "coverage"
ERRS: Kind = "error rate"
DRAWS = 500  # of a bootstrap that is simulated: fewer than a result's, for time


@dataclass(frozen=True)
class Case:
    """One statistic of one kind of sample.

    trial   draws a sample: whether its interval held the truth, or whether its test found what is not there
    times   how often that is tried, and how often in the tests
    known   what simulations have shown where it is not what is stated
    """

    statistic: str
    of: str
    n: int
    kind: Kind
    trial: Callable[[Random], bool]
    times: tuple[int, int]
    known: float | None = None

    @property
    def stated(self) -> float:
        """What should come out; of an error rate, at the most."""
        return 0.95 if self.kind == HELD else 0.05


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    rows = [
        simulated(case, max(1, round(case.times[0] * options.share)), options.seed)
        for case in track(CASES, "statistics", console=messages)
    ]
    print("| statistic | of | n | kind | stated | simulated |\n|---|---|---|---|---|---|")
    for row in rows:
        simulated_ = f"{row['estimate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        print(f"| {row['statistic']} | {row['of']} | {row['n']} | {row['kind']} | {row['stated']} | {simulated_} |")
    if options.json:
        write_atomically(options.json, json_text(rows, indent=1) + "\n")


def simulated(case: Case, times: int, seed: int = 0) -> dict[str, Any]:
    """How often so many of a case's trials come true, with the interval of that count."""
    rng = np.random.default_rng(seed)
    found = asdict(wilson(sum(case.trial(rng) for _ in range(times)), times))
    about = {"statistic": case.statistic, "of": case.of, "n": case.n, "kind": case.kind, "stated": case.stated}
    return {**about, "times": found.pop("n"), **found}


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


def shares() -> Iterator[Case]:
    """Shares, differences of them, and sets."""
    times = 4000, 1000
    for low, high, n in ((0.05, 0.95, 20), (0.05, 0.95, 100), (0.01, 0.05, 100)):
        trial = partial(share_held, n=n, low=low, high=high)
        yield Case("share (Wilson)", f"truths of {low} to {high}", n, HELD, trial, times)
    for of, paired in (("trials of their own", False), ("the same trials", True)):
        trial = partial(difference_held, n=50, paired=paired)
        yield Case("difference of shares (Newcombe)", of, 50, HELD, trial, times)
    for items, k in ((20, 5), (1024, 10)):
        trial = partial(sets_found_alike, items=items, k=k)
        yield Case("sets shared (hypergeometric)", f"random sets of {k}", items, ERRS, trial, times)
    for sets in (20, 60):
        yield Case("rank among random sets", "one of them", sets, ERRS, partial(set_found_strong, sets=sets), times)
    yield Case("many tests (Holm)", "7 true and 3 false hypotheses", 10, ERRS, partial(family_errs, tests=10), times)


def clusters() -> Iterator[Case]:
    """Shares and means of trials in clusters."""
    for count, share in ((20, 0.5), (100, 0.5), (100, 0.9), (100, 0.97)):
        trial = partial(clustered_share_held, count=count, share=share)
        yield Case("share (clusters)", f"alike within a cluster, truth {share}", count, HELD, trial, (4000, 600))
    for count, recall, false in ((20, 0.8, 0.3), (100, 0.8, 0.3), (100, 0.95, 0.1)):
        of = f"alike within a cluster, recall {recall}, false alarms {false}"
        trial = partial(clustered_f1_held, count=count, recall=recall, false=false)
        yield Case("F1 (clusters)", of, count, HELD, trial, (4000, 600))
    for count in (20, 100):
        yield Case("mean (clusters)", "alike", count, HELD, partial(clustered_mean_held, count=count), (2000, 400))
    for count in (20, 100):
        trial = partial(paired_difference_held, count=count, gap=0.3)
        yield Case("difference of scores (clusters)", "the same trials", count, HELD, trial, (2000, 300))
    for by, name in (("bootstrap", "difference of scores (clusters)"), ("McNemar", "two sets of answers (McNemar)")):
        trial = partial(files_told_apart, count=60, by=by)
        yield Case(name, "right equally often", 60, ERRS, trial, (2000, 300))


def means() -> Iterator[Case]:
    """Means and other statistics of independent samples, and paired tests."""
    fewer = {("skewed", 10): 0.92, ("skewed", 20): 0.94}
    for shape in ("normal", "skewed", "shares of 1 in 3"):
        for n in (10, 20, 60):
            trial = partial(mean_held, n=n, shape=shape)
            yield Case("mean (bootstrap)", shape, n, HELD, trial, (2000, 1000), fewer.get((shape, n)))
    yield Case(
        "share of a gain", "a gain as large as its spread", 60, HELD, partial(share_of_gain_held, n=60), (2000, 300)
    )
    yield Case("half-recovery depth", "six layers", 60, HELD, partial(half_recovery_held, n=60), (500, 50))
    for of, share in (("a mean", False), ("a share of a gain", True)):
        yield Case("at any level", of, 60, HELD, partial(level_held, n=60, share=share), (2000, 300))
    for figure, words in (("mean", "a mean"), ("share", "a share of a gain"), ("level", "a share at any level")):
        for apart in (0.0, 0.3):
            trial = partial(over_draws_held, n=60, of=figure, apart=apart)
            yield Case("over five random draws", f"{words}, draws {apart} apart", 60, HELD, trial, (2000, 300))
    for items in (24, 176):
        trial = partial(joint_held, n=60, items=items)
        yield Case("largest of several (max-T)", f"{items} skewed means", 60, HELD, trial, (1000, 100))
    yield Case("place of the largest", "of six means", 60, HELD, partial(place_held, n=60), (1000, 100))
    statistic = "any statistic (bootstrap)"
    for n in (20, 60):
        yield Case(statistic, "a slope through 0", n, HELD, partial(slope_held, n=n), (1000, 100))
    yield Case(statistic, "Spearman's of pairs", 30, HELD, partial(spearman_held, n=30, rho=0.5), (1000, 100))
    yield Case(statistic, "Kendall's of two rows of means", 40, HELD, partial(tau_held, n=40), (500, 50))
    for n, step in ((20, 0.0), (60, 0.0), (60, 0.1)):
        of = f"heavy tails, in steps of {step}" if step else "heavy tails"
        trial = partial(methods_told_apart, n=n, step=step)
        yield Case("paired gaps (Wilcoxon)", of, n, ERRS, trial, (2000, 400))


def areas() -> Iterator[Case]:
    """Areas under ROC curves, and what adds to them."""
    kinds = {"one answer a picture": (160, 1, 1, 0.3), "4 answers a picture": (60, 4, 1, 0.3)}
    few = {"3 models, 12 pictures positive": (60, 1, 3, 0.2)}
    for of, sizes in (kinds | few).items():
        n = sizes[0] * sizes[1] * sizes[2]
        yield Case("AUC (pictures drawn)", of, n, HELD, partial(area_held, sizes=sizes), (1000, 100))
    for of, sizes in kinds.items():
        n = sizes[0] * sizes[1] * sizes[2]
        yield Case("difference of AUCs", of, n, ERRS, partial(areas_told_apart, sizes=sizes), (1000, 100))
    yield Case("what columns add (out of fold)", "3 columns of noise", 120, ERRS, partial(gain_found, n=120), (100, 4))


def rankings() -> Iterator[Case]:
    """Rankings and sets of the largest, of means measured with noise."""
    for alike, noise in ((0.0, 0.15), (0.6, 0.3), (0.9, 0.15), (0.9, 0.5)):
        of = f"alike by {alike}, noise {noise}"
        trial = partial(ranking_held, alike=alike, noise=noise)
        yield Case("rank correlation of means", of, 40, HELD, trial, (200, 30))
        trial = partial(shared_held, alike=alike, noise=noise)
        yield Case("number shared of the largest 5", of, 40, HELD, trial, (200, 30))


CASES = [*shares(), *clusters(), *means(), *areas(), *rankings()]

if __name__ == "__main__":
    main()
