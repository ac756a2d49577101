"""Intervals of few samples beside others of the same figures: what each covers, and how wide it is.

    python benchmarks/intervals.py [--times 2000] [--seed 0] [--json FILE]

Means of few samples of a skewed distribution, slopes from 20 samples, and areas under ROC curves with few positive
pictures are drawn from a known truth. All intervals of a figure get the same samples, so that they can be compared:

mean   ours         bootstrap percentiles, moved outwards as for a variance with the kurtosis of Laplace's values
       as normal    the same for that of normal values
       bootstrap-t  percentiles of (mean of the draw - mean) / its standard error (Efron 1981, Can. J. Stat. 9:139)
       Johnson's t  Student's t, moved by the skewness (Johnson 1978, JASA 73:536)
slope  ours         the same as for the mean
       as normal    the same as for the mean
       bootstrap-t  the same, with the standard error of a slope through 0 (HC3; Long & Ervin 2000, Am. Stat. 54:217)
area   ours         pictures drawn, moved outwards for as many samples as there are pictures on the smaller side
       all pictures the same, for as many as there are pictures

Prints how often each holds the truth, with the interval of that count, and its mean width over that of ours.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from coverage_trials import answers, scored
from numpy.typing import NDArray
from scipy.stats import norm, skew
from scipy.stats import t as student

from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.statistics import auc, bootstrap
from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.proportion import wilson

Array = NDArray[np.float64]
Ends = tuple[float, float]
DRAWS = 2_000

SHAPES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "skewed": lambda rng, n: rng.exponential(1, n) - rng.exponential(2, n) + 1,
    "log-normal": lambda rng, n: np.exp(rng.normal(0, 1, n)) - np.exp(0.5),
}
"""Distributions whose mean is 0, as `coverage.py` has them, and one that is more skewed."""


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    rows = []
    print("| figure | of | n | interval | covers, of .95 | width |\n|---|---|---|---|---|---|")
    for figure, of, n, trial in cases():
        for row in compared(trial, options.times, options.seed):
            rows.append({"figure": figure, "of": of, "n": n, **row})
            covers = f"{row['estimate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            print(f"| {figure} | {of} | {n} | {row['interval']} | {covers} | {row['width']:.2f} |", flush=True)
    if options.json:
        write_atomically(options.json, json_text(rows, indent=1) + "\n")


Trial = Callable[[np.random.Generator], tuple[float, dict[str, Ends]]]
"""Draws samples once; the truth, and the ends of every interval."""


def cases() -> Iterator[tuple[str, str, int, Trial]]:
    """The figures, what they are of, their n, and the trial of each."""
    for shape in SHAPES:
        for n in (10, 20, 60):
            yield "mean", shape, n, lambda rng, shape=shape, n=n: (0.0, of_mean(SHAPES[shape](rng, n)))
    for n in (20, 60):
        yield "slope", "through 0", n, lambda rng, n=n: (1.0, of_slope(*scattered(rng, n)))
    yield "AUC", "4 answers a picture, 18 of 60 positive", 240, of_area


def compared(trial: Trial, times: int, seed: int) -> list[dict[str, Any]]:
    """How often each interval holds the truth of so many trials, and how wide it is beside the first."""
    rng = np.random.default_rng(seed)
    trials = [trial(rng) for _ in range(times)]
    rows = []
    for name in trials[0][1]:
        ends = [(truth, *found[name]) for truth, found in trials]
        share = wilson(sum(low <= truth <= high for truth, low, high in ends), times)
        width = float(np.mean([high - low for _, low, high in ends]))
        rows.append({"interval": name, "estimate": share.estimate, "low": share.low, "high": share.high, "w": width})
    return [{**row, "width": row.pop("w") / width} for width in [rows[0]["w"]] for row in rows]


def of_mean(values: Array) -> dict[str, Ends]:
    """The intervals of a mean."""
    n, mean = len(values), float(values.mean())
    error = float(values.std(ddof=1)) / np.sqrt(n)
    weights = draws(n, 0, DRAWS).weights
    means = weights @ values
    errors = np.sqrt((weights @ values**2 - means**2) / (n - 1))
    reach = student.ppf(0.975, n - 1)
    moved = mean + skew(values) * error / (6 * np.sqrt(n)) * (1 + 2 * reach**2)
    return {
        **moved_outwards(mean, means, n),
        "bootstrap-t": studentized(mean, error, means, errors),
        "Johnson's t": (moved - reach * error, moved + reach * error),
    }


def moved_outwards(value: float, replicates: Array, n: int) -> dict[str, Ends]:
    """Percentiles of replicates, moved outwards by two kurtoses."""
    kinds = {"ours": bootstrap.EXCESS, "as normal": 0.0}
    figures = {name: interval(value, replicates, n, excess=excess) for name, excess in kinds.items()}
    return {name: (figure.low, figure.high) for name, figure in figures.items()}


def scattered(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """What is predicted, and measured with noise that grows with it; the slope is 1."""
    predicted = rng.normal(0, 1, n)
    return predicted, predicted + rng.normal(0, 0.5, n) * (1 + np.abs(predicted))


def of_slope(predicted: Array, measured: Array) -> dict[str, Ends]:
    """The intervals of a slope through 0."""
    n = len(predicted)
    at = np.random.default_rng(0).integers(0, n, (DRAWS, n))
    slope, error = fitted(predicted[None], measured[None])
    slopes, errors = fitted(predicted[at], measured[at])
    return {
        **moved_outwards(float(slope[0]), slopes, n),
        "bootstrap-t": studentized(float(slope[0]), float(error[0]), slopes, errors),
    }


def fitted(predicted: Array, measured: Array) -> tuple[Array, Array]:
    """The slopes through 0 of (draw, sample), and their standard errors, (draw,) each."""
    squares = (predicted**2).sum(1, keepdims=True)
    slope = (predicted * measured).sum(1, keepdims=True) / squares
    left = (measured - slope * predicted) / (1 - predicted**2 / squares)
    return slope[:, 0], np.sqrt(((predicted * left) ** 2).sum(1)) / squares[:, 0]


def studentized(value: float, error: float, values: Array, errors: Array) -> Ends:
    """The bootstrap-t interval of a value, from the values and standard errors of its draws."""
    some = errors > 0
    low, high = np.quantile((values[some] - value) / errors[some], (0.025, 0.975))
    return value - float(high) * error, value - float(low) * error


def of_area(rng: np.random.Generator) -> tuple[float, dict[str, Ends]]:
    """The area of scores one standard deviation apart, and its intervals."""
    sides = answers((60, 4, 1, 0.3))
    scores = scored(rng, sides, 1.0)
    areas = auc.resampled_areas(scores, sides, count=DRAWS)
    counts = {"ours": sides.fewer, "all pictures": sides.pictures}
    quantiles = {name: np.quantile(areas, bootstrap.ends(count, excess=0)) for name, count in counts.items()}
    return float(norm.cdf(1 / np.sqrt(2))), {name: (float(low), float(high)) for name, (low, high) in quantiles.items()}


if __name__ == "__main__":
    main()
