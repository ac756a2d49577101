"""Verdicts on results whose truth is known, and how often a figure on the border of a claim is decided."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.studies.claims.made import N, evidence

from lapilli.core.statistics.estimate import Estimate
from lapilli.studies.claims.claim import LEVEL, decided, finding_of
from lapilli.studies.claims.figures import largest_of, mean_of, place_of_largest, share_of
from lapilli.studies.claims.study import CLAIMS

DEPTH = 24
FALLING = 0.7 ** np.arange(DEPTH) / (0.7 ** np.arange(DEPTH)).sum()
"""Shares of the layers in the gain: the shallow ones have nearly all of it."""


def verdicts(found, ids=None):
    findings = [finding_of(claim, found, LEVEL / len(CLAIMS)) for claim in CLAIMS if ids is None or claim.id in ids]
    return {finding.id: finding.verdict for finding in findings}


def test_a_gain_of_the_shallow_layers():
    found = verdicts(evidence(FALLING, local=FALLING, dimensions=(8.0, 10.0)))
    supported, refuted = ("G1", "G2", "G4", "G5", "P1", "P2", "P2b", "P7", "P8"), ("P3", "P5", "P6", "P9")
    assert {name: found[name] for name in supported} == dict.fromkeys(supported, "supported")
    assert {name: found[name] for name in refuted} == dict.fromkeys(refuted, "refuted")
    assert "untested" not in found.values()


def test_a_gain_of_the_deep_layers():
    found = verdicts(evidence(FALLING[::-1], local=FALLING[::-1], dimensions=(12.0, 10.0)))
    assert found["P1"] == found["P2"] == found["P3"] == found["G4"] == found["G5"] == "refuted"


def test_one_layer_with_all_of_it():
    weights = np.eye(DEPTH)[10]
    found = verdicts(evidence(weights), ("P1", "P3", "P4"))
    assert found == {"P1": "supported", "P3": "supported", "P4": "refuted"}


def test_random_changes_and_format():
    assert verdicts(evidence(FALLING, random=0.5, form=4.0), ("P8", "P9")) == {"P8": "refuted", "P9": "supported"}
    assert verdicts(evidence(FALLING), ("P8", "P9")) == {"P8": "supported", "P9": "refuted"}


def test_text_that_comes_back_deeper():
    assert verdicts(evidence(FALLING, text=FALLING[::-1]), ("P6",)) == {"P6": "supported"}


def test_changes_elsewhere_than_the_gain_predict_nothing():
    assert verdicts(evidence(FALLING, local=FALLING[::-1]), ("P7",)) == {"P7": "refuted"}
    rng = np.random.default_rng(3)
    assert verdicts(evidence(FALLING, local=rng.random(DEPTH)), ("P7",))["P7"] != "supported"


def test_a_floor_as_large_as_the_change():
    assert verdicts(evidence(FALLING, floor=3.0), ("G1",)) == {"G1": "refuted"}


def test_without_a_second_tuning_its_claim_is_not_tested():
    found = evidence(FALLING)
    found = replace(found, compared=found.compared | {"pairs": {"change": ("base", "tuned")}})
    (finding,) = [finding_of(claim, found, 0.01) for claim in CLAIMS if claim.id == "G1"]
    assert (finding.verdict, finding.why) == ("untested", "needs a second tuning: --floor")
    assert finding.value is None


def test_without_a_gain_no_share_is_claimed():
    found = evidence(FALLING)
    rng = np.random.default_rng(0)
    nothing = {name: 0.1 * rng.standard_normal(values.shape) for name, values in found.answers.items()}
    found = replace(found, answers=nothing)
    shares = ("P1", "P2", "P2b", "P3", "P4", "P6", "P7", "P8", "P9")
    assert set(verdicts(found, shares).values()) == {"untested"}


def test_few_layers_say_nothing_of_a_correlation_over_layers():
    (finding,) = [finding_of(claim, evidence(np.full(5, 0.2)), 0.01) for claim in CLAIMS if claim.id == "P7"]
    assert finding.verdict == "untested"
    assert finding.why == "5 layers can be shifted so few ways that no p is below 0.2; it takes 20 layers"


@pytest.mark.parametrize(
    ("low", "high", "least", "most", "verdict"),
    [
        (0.91, 0.99, 0.9, math.inf, "supported"),
        (0.85, 0.99, 0.9, math.inf, "inconclusive"),
        (0.5, 0.89, 0.9, math.inf, "refuted"),
        (0.2, 0.5, 0.15, 0.55, "supported"),
        (0.1, 0.5, 0.15, 0.55, "inconclusive"),
        (0.6, 0.7, 0.15, 0.55, "refuted"),
        (-0.2, 0.01, -math.inf, 0.05, "supported"),
        (0.06, 0.4, -math.inf, 0.05, "refuted"),
    ],
)
def test_the_whole_interval_decides(low, high, least, most, verdict):
    assert decided(Estimate((low + high) / 2, low, high, N), least, most) == verdict


def _rate(figure, truth, runs=300):
    """How often an interval misses the truth."""
    missed = 0
    for run in range(runs):
        one = figure(np.random.default_rng(run))
        missed += not one.low <= truth <= one.high
    return missed / runs


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_intervals_miss_the_truth_as_often_as_they_may(level):
    spare = 3 * math.sqrt(level * (1 - level) / 300)
    mean = _rate(lambda rng: mean_of(rng.standard_normal(N), 0, level), 0.0)
    assert level - spare < mean < level + spare
    share = _rate(
        lambda rng: share_of(0.5 + rng.standard_normal(N) * 0.3, 1 + rng.standard_normal(N) * 0.3, 0, level), 0.5
    )
    assert level - spare < share < level + spare
    several = _rate(lambda rng: largest_of([mean_of(rng.standard_normal(N), 0, level / 6) for _ in range(6)]), 0.0)
    assert several < level + spare


def test_the_place_of_the_largest_is_in_its_interval():
    values = np.array([0.0, 1.0, 0.9, 0.0])[:, None] + 0.5 * np.random.default_rng(0).standard_normal((4, N))
    one = place_of_largest(values, np.array([0.0, 0.25, 0.5, 0.75]), 0, 0.05)
    assert (one.low, one.high) == (0.25, 0.5)


def test_what_would_change_a_verdict_is_said():
    by_id = {claim.id: finding_of(claim, evidence(FALLING), 0.05) for claim in CLAIMS}
    assert by_id["P1"].needed.startswith("a figure beyond 0.9, ")
    assert by_id["P9"].needed.startswith("a figure beyond 0.3, ")
