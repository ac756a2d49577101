"""Every interval and every test by simulation, as benchmarks/coverage.py has them, with fewer repetitions."""

import importlib.util
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

from lapilli.core.statistics import (
    auc,
    bootstrap,
    clusters,
    crossed,
    joint,
    multiple,
    paired,
    proportion,
    ranks,
    recovery,
    sets,
)

MADE_OF = ("interval", "score_interval", "largest_at", "spread_only")  # what the others use
SCRIPT = Path(__file__).parents[3] / "benchmarks/coverage.py"
sys.path.insert(0, str(SCRIPT.parent))  # as for the script that lies there
SPEC = importlib.util.spec_from_file_location("coverage_by_simulation", SCRIPT)
coverage = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(coverage)


def within(case):
    """What a simulated share must lie between, three standard errors of Monte Carlo on both sides.

    Too many held is no fault of an interval, nor too few errors one of a test; but an interval that always holds the
    truth, where nothing says that it should, would say nothing.
    """
    error = 3 * np.sqrt(case.stated * (1 - case.stated) / case.times[1])
    return (case.stated - error, 1.0) if case.kind == "coverage" else (0.0, case.stated + error)


@pytest.mark.parametrize("case", coverage.CASES, ids=lambda case: f"{case.statistic}, {case.of}, {case.n}")
def test_what_is_stated_holds(case):
    low, high = within(case)
    assert low <= coverage.simulated(case, case.times[1])["estimate"] <= high


def test_every_statistic_with_an_interval_or_an_error_rate_is_simulated():
    """A new one brings its simulation."""
    source = SCRIPT.with_stem("coverage_trials").read_text(encoding="utf-8")
    for module in (auc, bootstrap, clusters, crossed, joint, multiple, paired, proportion, ranks, recovery, sets):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            returned = str(inspect.signature(function).return_annotation)
            if function.__module__ == module.__name__ and any(
                kind in returned for kind in ("Estimate", "Tested", "Proportion", "Difference")
            ):
                assert f"{name}(" in source or name in MADE_OF, name
    assert "holm(" in source and "hypergeometric(" in source


@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_interval_is_noticed(seed):
    """The control: the plain percentile interval of ten samples fails by the same rule."""
    case = next(
        case for case in coverage.CASES if (case.statistic, case.of, case.n) == ("mean (bootstrap)", "normal", 10)
    )
    rng, weights = np.random.default_rng(seed), bootstrap.draws(10, 0, 500).weights
    low, high = np.quantile(rng.normal(0, 1, (case.times[1], 10)) @ weights.T, (0.025, 0.975), axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < within(case)[0]
