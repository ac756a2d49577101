import re

import pytest
from tests.report.scorecard.fake import OPERATORS, fake_scorecard

from lapilli.report.scorecard.agreement import agreement, between_models
from lapilli.report.scorecard.card import read_card
from lapilli.report.scorecard.page import render


def test_two_models_agree_fully_with_themselves_and_not_at_all_with_their_reverse():
    told = fake_scorecard()
    back = {**told, "scores": [{**row, "value": -row["value"]} for row in told["scores"]]}
    one, again, reverse = (read_card(card, i) for i, card in enumerate((told, told, back)))
    assert between_models(one, again).figure.value == pytest.approx(1)
    assert between_models(one, again).alike == "100\u202f%"
    found = between_models(one, reverse).figure
    assert (found.value, found.n) == (pytest.approx(-1), 28)
    assert found.low == pytest.approx(-1)
    assert between_models(one, read_card({"scores": told["scores"][:2]}, 1)) is None


def test_operators_form_a_triangle_and_the_rest_is_listed():
    told = fake_scorecard()
    found = agreement(read_card(told))
    assert found.operators == tuple(OPERATORS)[:-1]
    assert [len(row) for _, row in found.triangle] == [1, 2, 3]
    said = {(row["one"], row["other"]): row["tau"] for row in told["agreement"]}
    for name, row in found.triangle:
        assert [tau.figure.value for tau in row] == [said[col, name] for col in found.operators[: len(row)]]
    assert [(tau.first, tau.second) for tau in found.others] == [
        ("gap, blur", name) for name in ("pointing", "energy", "precision")
    ]
    assert found.between[0].figure.value == min(value for (one, _), value in said.items() if one in OPERATORS)


def test_without_any_there_is_nothing_to_say():
    assert agreement(read_card({})) is None
    assert agreement(read_card({"agreement": [{"one": "a", "other": "b", "tau": None}]})) is None


def taus(*rows):
    return [{"one": one, "other": other, "tau": tau, "low": low, "high": high} for one, other, tau, low, high in rows]


def test_the_least_and_the_most_agreement_are_those_between_operators():
    scores = [{"method": "a", "operator": name, "metric": "gap", "value": 0.1} for name in ("blur", "mean", "drop")]
    rows = taus(
        ("blur", "mean", 0.8, 0.7, 0.9), ("blur", "drop", 0.2, 0.1, 0.3), ("mean", "drop", -0.4, -0.5, -0.3),
        ("gap, blur", "pointing", 0.96, 0.9, 1.0), ("gap, blur", "energy", -0.9, -1.0, -0.8),
    )  # fmt: skip
    page = re.sub(r"\s+", " ", render({"scores": scores, "agreement": rows}))
    assert "Least agreement: mean and drop, 30 % of the pairs of methods in the same order." in page
    assert "Most: blur and mean, 90 %." in page


def test_a_tau_says_what_its_interval_tells_and_draws_it_from_none_in_common():
    rows = taus(("a", "b", 0.5, 0.2, 0.6), ("a", "c", 0.1, -0.1, 0.3), ("b", "c", -0.5, -0.8, -0.2))
    found = agreement(read_card({"agreement": rows})).others
    assert [tau.verdict for tau in found] == ["", "no agreement can be told", "they disagree"]
    assert [tau.alike for tau in found] == ["75\u202f%", "55\u202f%", "25\u202f%"]
    assert found[0].marks == "--l:50;--w:25.0;--a:60;--b:80;--c:50"
    assert found[2].marks == "--l:25;--w:25.0;--a:10;--b:40;--c:50"
