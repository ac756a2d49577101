import pytest
from tests.report.scorecard.fake import OPERATORS, fake_scorecard

from lapilli.report.scorecard.agreement import agreement, between_models
from lapilli.report.scorecard.card import read_card


def test_two_models_agree_fully_with_themselves_and_not_at_all_with_their_reverse():
    told = fake_scorecard()
    back = {**told, "scores": [{**row, "value": -row["value"]} for row in told["scores"]]}
    one, again, reverse = (read_card(card, i) for i, card in enumerate((told, told, back)))
    assert between_models(one, again).found.value == pytest.approx(1)
    assert between_models(one, again).alike == "100\u202f%"
    found = between_models(one, reverse).found
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
        assert [tau.found.value for tau in row] == [said[col, name] for col in found.operators[: len(row)]]
    assert [(tau.one, tau.other) for tau in found.others] == [
        ("gap, blur", name) for name in ("pointing", "energy", "precision")
    ]
    assert found.between[0].found.value == min(value for (one, _), value in said.items() if one in OPERATORS)


def test_without_any_there_is_nothing_to_say():
    assert agreement(read_card({})) is None
    assert agreement(read_card({"agreement": [{"one": "a", "other": "b", "tau": None}]})) is None
