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

import coverage_trials as trials
import numpy as np
from rich.progress import track

from lapilli.cli.console import messages
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.statistics.proportion import wilson

Random = trials.Random
Kind = Literal["coverage", "error rate"]
HELD: Kind = "coverage"
ERRS: Kind = "error rate"


@dataclass(frozen=True)
class Case:
    """One statistic of one kind of sample.

    trial   draws a sample: whether its interval held the truth, or whether its test found what is not there
    times   how often that is tried, and how often in the tests
    """

    statistic: str
    of: str
    n: int
    kind: Kind
    trial: Callable[[Random], bool]
    times: tuple[int, int]

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


def shares() -> Iterator[Case]:
    """Shares, differences of them, and sets."""
    times = 4000, 1000
    for low, high, n in ((0.05, 0.95, 20), (0.05, 0.95, 100), (0.01, 0.05, 100)):
        trial = partial(trials.share_held, n=n, low=low, high=high)
        yield Case("share (Wilson)", f"truths of {low} to {high}", n, HELD, trial, times)
    for of, paired in (("trials of their own", False), ("the same trials", True)):
        trial = partial(trials.difference_held, n=50, paired=paired)
        yield Case("difference of shares (Newcombe)", of, 50, HELD, trial, times)
    for items, k in ((20, 5), (1024, 10)):
        trial = partial(trials.sets_found_alike, items=items, k=k)
        yield Case("sets shared (hypergeometric)", f"random sets of {k}", items, ERRS, trial, times)
    for sets in (20, 60):
        yield Case(
            "rank among random sets", "one of them", sets, ERRS, partial(trials.set_found_strong, sets=sets), times
        )
    yield Case(
        "many tests (Holm)", "7 true and 3 false hypotheses", 10, ERRS, partial(trials.family_errs, tests=10), times
    )


def clusters() -> Iterator[Case]:
    """Shares and means of trials in clusters."""
    for count, share in ((20, 0.5), (100, 0.5), (100, 0.9), (100, 0.97)):
        trial = partial(trials.clustered_share_held, count=count, share=share)
        yield Case("share (clusters)", f"alike within a cluster, truth {share}", count, HELD, trial, (4000, 600))
    for count, recall, false in ((20, 0.8, 0.3), (100, 0.8, 0.3), (100, 0.95, 0.1)):
        of = f"alike within a cluster, recall {recall}, false alarms {false}"
        trial = partial(trials.clustered_f1_held, count=count, recall=recall, false=false)
        yield Case("F1 (clusters)", of, count, HELD, trial, (4000, 600))
    for count in (20, 100):
        yield Case(
            "mean (clusters)", "alike", count, HELD, partial(trials.clustered_mean_held, count=count), (2000, 400)
        )
    for count in (20, 100):
        trial = partial(trials.paired_difference_held, count=count, gap=0.3)
        yield Case("difference of scores (clusters)", "the same trials", count, HELD, trial, (2000, 300))
    for by, name in (
        ("bootstrap", "difference of scores (clusters)"),
        ("McNemar", "two sets of answers (McNemar)"),
    ):
        trial = partial(trials.files_told_apart, count=60, by=by)
        yield Case(name, "right equally often", 60, ERRS, trial, (2000, 300))


def means() -> Iterator[Case]:
    """Means and other statistics of independent samples, and paired tests."""
    for shape in ("normal", "skewed", "shares of 1 in 3"):
        for n in (10, 20, 60):
            trial = partial(trials.mean_held, n=n, shape=shape)
            yield Case("mean (bootstrap)", shape, n, HELD, trial, (2000, 1000))
    yield Case(
        "share of a gain",
        "a gain as large as its spread",
        60,
        HELD,
        partial(trials.share_of_gain_held, n=60),
        (2000, 300),
    )
    yield Case("half-recovery depth", "six layers", 60, HELD, partial(trials.half_recovery_held, n=60), (500, 50))
    for of, share in (("a mean", False), ("a share of a gain", True)):
        yield Case("at any level", of, 60, HELD, partial(trials.level_held, n=60, share=share), (2000, 300))
    for figure, words in (("mean", "a mean"), ("share", "a share of a gain"), ("level", "a share at any level")):
        for apart in (0.0, 0.3):
            trial = partial(trials.over_draws_held, n=60, of=figure, apart=apart)
            yield Case("over five random draws", f"{words}, draws {apart} apart", 60, HELD, trial, (2000, 300))
    for items in (24, 176):
        trial = partial(trials.joint_held, n=60, items=items)
        yield Case("largest of several (max-T)", f"{items} skewed means", 60, HELD, trial, (1000, 100))
    for n, lost in ((60, 0.02), (200, 0.1)):
        trial = partial(trials.change_held, n=n, lost=lost)
        yield Case("largest change of answers (exact)", f"{lost} lost, .01 won", n, HELD, trial, (4000, 1000))
    yield Case("place of the largest", "of six means", 60, HELD, partial(trials.place_held, n=60), (1000, 100))
    statistic = "any statistic (bootstrap)"
    for n in (20, 60):
        yield Case(statistic, "a slope through 0", n, HELD, partial(trials.slope_held, n=n), (1000, 100))
    yield Case(statistic, "Spearman's of pairs", 30, HELD, partial(trials.spearman_held, n=30, rho=0.5), (1000, 100))
    yield Case(statistic, "Kendall's of two rows of means", 40, HELD, partial(trials.tau_held, n=40), (500, 50))
    for n, step in ((20, 0.0), (60, 0.0), (60, 0.1)):
        of = f"heavy tails, in steps of {step}" if step else "heavy tails"
        trial = partial(trials.methods_told_apart, n=n, step=step)
        yield Case("paired gaps (Wilcoxon)", of, n, ERRS, trial, (2000, 400))


def areas() -> Iterator[Case]:
    """Areas under ROC curves, and what adds to them."""
    kinds = {"one answer a picture": (160, 1, 1, 0.3), "4 answers a picture": (60, 4, 1, 0.3)}
    few = {"3 models, 12 pictures positive": (60, 1, 3, 0.2)}
    for of, sizes in (kinds | few).items():
        n = sizes[0] * sizes[1] * sizes[2]
        yield Case("AUC (pictures drawn)", of, n, HELD, partial(trials.area_held, sizes=sizes), (1000, 100))
    for of, sizes in kinds.items():
        n = sizes[0] * sizes[1] * sizes[2]
        yield Case("difference of AUCs", of, n, ERRS, partial(trials.areas_told_apart, sizes=sizes), (1000, 100))
    yield Case(
        "what columns add (out of fold)", "3 columns of noise", 120, ERRS, partial(trials.gain_found, n=120), (100, 4)
    )


def rankings() -> Iterator[Case]:
    """Rankings and sets of the largest, of means measured with noise."""
    for alike, noise in ((0.0, 0.15), (0.6, 0.3), (0.9, 0.15), (0.9, 0.5)):
        of = f"alike by {alike}, noise {noise}"
        trial = partial(trials.ranking_held, alike=alike, noise=noise)
        yield Case("rank correlation of means", of, 40, HELD, trial, (200, 30))
        trial = partial(trials.shared_held, alike=alike, noise=noise)
        yield Case("number shared of the largest 5", of, 40, HELD, trial, (200, 30))


CASES = [*shares(), *clusters(), *means(), *areas(), *rankings()]

if __name__ == "__main__":
    main()
