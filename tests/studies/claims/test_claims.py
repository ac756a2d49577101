"""Verdicts on results whose truth is known, and how often a figure on the border of a claim is decided."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.studies.claims.made import N, evidence
from tests.studies.flow import made as made_flow

from lapilli.core.statistics.estimate import Estimate
from lapilli.studies.claims.claim import LEVEL, _needed, decided, finding_of
from lapilli.studies.claims.study import CLAIMS

DEPTH = 24
FALLING = 0.7 ** np.arange(DEPTH) / (0.7 ** np.arange(DEPTH)).sum()
"""Shares of the layers in the gain: the shallow ones have nearly all of it."""


def verdicts(found, ids=None):
    findings = [finding_of(claim, found, LEVEL / len(CLAIMS)) for claim in CLAIMS if ids is None or claim.id in ids]
    return {finding.id: finding.verdict for finding in findings}


def test_a_gain_of_the_shallow_layers():
    found = verdicts(evidence(FALLING, local=FALLING, dimensions=(8.0, 10.0)))
    supported, refuted = ("G1", "G2", "G4", "G5", "P1", "P2", "P2b", "P7", "P8", "P10"), ("P3", "P6", "P9")
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


def test_random_draws_that_differ_leave_it_open():
    """Five draws of 3 % on average: alike, they decide; 20 % apart, they do not."""
    assert verdicts(evidence(FALLING, random=0.03), ("P8",)) == {"P8": "supported"}
    assert verdicts(evidence(FALLING, random=0.03, random_spread=0.2), ("P8",)) == {"P8": "inconclusive"}


@pytest.mark.parametrize(
    ("at_images", "verdict"), [(1.0, "supported"), (0.9, "supported"), (0.5, "refuted"), (0.0, "refuted")]
)
def test_layers_that_act_on_image_tokens(at_images, verdict):
    assert verdicts(evidence(FALLING, at_images=at_images), ("P10",)) == {"P10": verdict}


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
    shares = ("P1", "P2", "P2b", "P3", "P4", "P6", "P7", "P8", "P9", "P10")
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


@pytest.mark.parametrize(
    ("changes", "ids", "why"),
    [
        ({"local": np.zeros(DEPTH)}, ("G4",), "no layer of the language model changed"),
        ({"local": np.zeros(DEPTH)}, ("G3",), "no samples differ"),
        ({"weights": np.zeros(DEPTH), "connector": 1.0}, ("P8",), "the tuned layers bring no more themselves"),
        (
            {"weights": np.eye(DEPTH)[20]},
            ("P10",),
            "the shallow half of the tuned layers brings no more than random changes of it do",
        ),
        ({"weights": FALLING / 3, "connector": 2 / 3}, ("P6",), "bring less than half of the gain with the pictures"),
        ({"dimensions": (math.nan, 10.0)}, ("G5",), "too few distinct states"),
    ],
)
def test_what_says_nothing_is_not_tested(changes, ids, why):
    """Where nothing changed, or others have the gain, a figure of 0 is no finding."""
    made = evidence(**({"weights": FALLING} | changes))
    for claim in CLAIMS:
        if claim.id in ids:
            finding = finding_of(claim, made, LEVEL / len(CLAIMS))
            assert finding.verdict == "untested" and why in finding.why


def test_identical_models_support_nothing():
    """All claims at once: no verdict is said of a tuning that changed nothing, but for what is of one model."""
    flow = made_flow.flow(np.ones(DEPTH), gives=0.0, nats=0.0, base_nats=0.0)
    same = {"captions": (0.5, 0.3, 0.3), "gaps": (0.0,) * 4, "flow": flow}
    made = evidence(np.zeros(DEPTH), local=np.zeros(DEPTH), dimensions=(10.0, 10.0), floor=0.0, gain=0.0, **same)
    found = verdicts(made, {claim.id for claim in CLAIMS} - {"G7", "G7b", "G8"})
    assert "supported" not in found.values()
    assert "refuted" not in {found[name] for name in found if name[0] == "P"}


@pytest.mark.parametrize("depth", [1, 2])
def test_no_verdict_is_decided_by_the_number_of_layers_alone(depth):
    """Whatever was measured: of one layer the best, the middle and the shallow half are all there is."""
    found = [verdicts(evidence(np.full(depth, 1 / depth), settled=settled)) for settled in ((0.5, 1.0), (1.0, 0.5))]
    places = {"G3", "G4", "G6", "G7", "G7b", "G8", "P1", "P2", "P3", "P4", "P6", "P10"} if depth == 1 else {"G7", "G7b"}
    assert {name: one[name] for one in found for name in places} == dict.fromkeys(places, "untested")


def test_without_other_candidates_no_hybrid_is_worse():
    made = evidence(FALLING)
    made.patched["candidates"] = {"fewest": 1, "most": 1}
    assert verdicts(made, {"P5"}) == {"P5": "untested"}


def test_a_shallow_half_that_random_changes_match_says_nothing_of_image_tokens():
    """Random changes of all layers bring the whole gain, and so of half of them half: more than these layers do."""
    made = evidence(np.where(np.arange(DEPTH) < DEPTH // 2, 0.3, 1.7) / DEPTH, random=1.0, random_spread=0.05)
    (finding,) = [finding_of(claim, made, LEVEL / len(CLAIMS)) for claim in CLAIMS if claim.id == "P10"]
    assert finding.verdict == "untested" and "random changes" in finding.why


@pytest.mark.parametrize("depth", [1, 2, 5, 8, 9, 24])
def test_every_depth_has_its_windows(depth):
    assert len(verdicts(evidence(np.full(depth, 1 / depth)))) == len(CLAIMS)


def test_what_would_change_a_verdict_is_said():
    by_id = {claim.id: finding_of(claim, evidence(FALLING), 0.05) for claim in CLAIMS}
    assert by_id["P1"].needed.startswith("a figure beyond 0.9, ")
    assert by_id["P9"].needed.startswith("a figure beyond 0.3, ")


def test_samples_are_named_where_they_decide_and_only_there():
    claims = {claim.id: claim for claim in CLAIMS}
    made = Estimate(0.5, 0.3, 0.6, 200)
    assert (
        _needed(replace(claims["P4"], most=0.55), made, "inconclusive") == "about 800 samples, if the figure stays 0.5"
    )
    assert _needed(claims["P3"], made, "inconclusive") == ""
