"""Verdicts on the layers in which pictures are read, of models whose truth is known."""

import numpy as np
import pytest
from tests.studies.flow.made import N, flow

from lapilli.studies.claims.claim import LEVEL, finding_of
from lapilli.studies.claims.evidence import Evidence
from lapilli.studies.claims.flow import CLAIMS, _hidden, _quarters
from lapilli.studies.claims.study import CLAIMS as ALL
from lapilli.studies.flow.figures import variants
from lapilli.studies.flow.plan import Plan

DEPTH = 16
EVEN = np.ones(DEPTH)
SHALLOW, DEEP = (np.arange(DEPTH) < 8).astype(float), (np.arange(DEPTH) >= 8).astype(float)
MIDDLE = np.where(abs(np.arange(DEPTH) - 7.5) < 2, 4.0, 0.2)
"""Four layers with .87 of what all read, and 12 others."""


def made_of(flow_of):
    return Evidence({}, {}, {"depth": flow_of[0]["depth"]}, {}, 0, *flow_of)


def findings(*reads, **more):
    made = made_of(flow(*reads, **more))
    return {claim.id: finding_of(claim, made, LEVEL / len(ALL)) for claim in CLAIMS}


def verdict(claim, *reads, **more):
    return findings(*reads, **more)[claim].verdict


def test_pictures_that_are_read_in_the_shallow_half_are_not_needed_in_the_deep_one():
    shallow, deep = findings(SHALLOW)["F1"], findings(DEEP)["F1"]
    assert (shallow.verdict, shallow.value, shallow.n) == ("supported", 0, N)
    assert (deep.verdict, deep.value) == ("refuted", pytest.approx(0.5))
    assert verdict("F1", np.where(SHALLOW, 1.0, 0.02)) == "inconclusive"  # 1 point, of 50 that the picture gives


def test_pictures_may_enter_late_where_little_is_lost_by_it():
    assert verdict("F2", EVEN, late=0.0) == verdict("F2", EVEN, late=0.005) == "supported"
    assert verdict("F2", EVEN, late=0.02) == "inconclusive"
    assert verdict("F2", EVEN, late=0.1) == "refuted"


def test_the_middle_quarter_counts_where_it_costs_a_tenth_more_than_every_other():
    middle = findings(MIDDLE)["F3"]
    parts = MIDDLE / MIDDLE.sum()
    assert middle.verdict == "supported" and middle.value == pytest.approx(parts[6:10].sum() - 4 * parts[0], abs=0.02)
    assert verdict("F3", EVEN) == verdict("F3", MIDDLE[::-1].cumsum()) == verdict("F3", np.eye(DEPTH)[1]) == "refuted"
    border = np.where(abs(np.arange(DEPTH) - 7.5) < 2, 0.325, 0.225)
    assert verdict("F3", border) == "inconclusive"  # .325 and .225 of the four quarters


def test_one_strong_quarter_elsewhere_refutes_the_middle_whatever_the_others_cost():
    """The figure is the least of the middle's leads: of many, the smallest counts."""
    first = np.where(np.arange(DEPTH) < 4, 5.0, MIDDLE)
    assert findings(first)["F3"].value < 0 and verdict("F3", first) == "refuted"


def test_tuning_sharpens_where_the_base_reads_evenly():
    assert verdict("F3b", MIDDLE, EVEN) == "supported"
    assert verdict("F3b", MIDDLE, MIDDLE) == verdict("F3b", EVEN, MIDDLE) == "refuted"
    parts = MIDDLE / MIDDLE.sum()
    assert findings(MIDDLE, EVEN)["F3b"].value == pytest.approx(parts[6:10].sum() - 0.25, abs=0.02)


def test_what_the_base_gains_of_pictures_does_not_enter_what_is_claimed_of_the_tuned_model():
    alone, beside = findings(MIDDLE), findings(MIDDLE, DEEP, base_nats=0.5)
    for claim in ("F1", "F2", "F3"):
        assert (alone[claim].verdict, alone[claim].value) == (beside[claim].verdict, pytest.approx(beside[claim].value))


@pytest.mark.parametrize(
    ("more", "untested", "why"),
    [
        ({"gives": 0.0}, ("F1", "F2"), "pictures give the tuned model no more than 0.01 of the answers"),
        ({"gives": 0.015}, ("F1", "F2"), "there is little to lose"),
        ({"nats": 0.0}, ("F3", "F3b"), "makes the tuned model no surer of right answers"),
        ({"nats": -1.0}, ("F3", "F3b"), "makes the tuned model no surer of right answers"),
        ({"base_nats": 0.0}, ("F3b",), "makes the base model no surer of right answers"),
    ],
)
def test_without_a_picture_that_gives_anything_nothing_is_said(more, untested, why):
    made = findings(MIDDLE, **more)
    assert {claim for claim, finding in made.items() if finding.verdict == "untested"} == set(untested)
    assert why in made[untested[0]].why


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_of_four_layers_or_fewer_none_is_the_middle_quarter(depth):
    made = findings(np.ones(depth))
    assert {finding.verdict for finding in made.values()} == {"untested"}
    assert {finding.why for finding in made.values()} == {f"{depth} layers are too few; it takes 5"}


def test_models_that_read_alike_to_the_bit_say_nothing_of_what_tuning_sharpens():
    of_variants, arrays = flow(MIDDLE)
    same = {name: arrays[name.replace("base", "tuned")] for name in arrays}
    claim = next(claim for claim in CLAIMS if claim.id == "F3b")
    assert finding_of(claim, made_of((of_variants, same)), LEVEL).verdict == "untested"


@pytest.mark.parametrize("depth", range(4, 34))
def test_the_other_quarters_are_as_wide_and_share_no_layer_with_the_middle_one(depth):
    made = made_of((variants(Plan(depth)), {}))
    middle, others = _quarters(made)
    width = middle[1] - middle[0]
    assert width == max(1, round(depth / 4)) and abs(sum(middle) - depth) <= 1
    assert {stop - start for start, stop in others} == {width}
    assert all(stop <= middle[0] or start >= middle[1] for start, stop in others)
    assert (0, width) in others and (depth - width, depth) in others
    assert all(_hidden(made, *window) for window in (middle, *others))
