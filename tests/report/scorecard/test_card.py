import pytest
from tests.report.scorecard.fake import METHODS, OPERATORS, fake_scorecard

from lapilli.report.scorecard.card import Figure, figure, read_card


def test_what_is_not_finite_is_missing():
    rows = [{"method": "a", "operator": "blur", "metric": "gap", "value": value} for value in (float("nan"), None)]
    assert read_card({"scores": rows}).scores == {}
    assert figure({"value": 0.5, "low": None, "high": float("inf"), "n": 3}) == Figure(0.5, 0.5, 0.5, 3)


def test_methods_are_ranked_by_the_gap_under_each_operator():
    told = fake_scorecard()
    card = read_card(told)
    for operator in (None, *OPERATORS):
        gaps = {
            row["method"]: row["value"]
            for row in told["scores"]
            if row["metric"] == "gap" and row["operator"] == (operator or "blur")
        }
        assert [method.name for method in card.ranked(operator)] == sorted(gaps, key=gaps.get, reverse=True)


def test_families_keep_every_method_once_and_the_floors_come_first():
    families = read_card(fake_scorecard()).families()
    assert [family for family, _ in families] == ["floor", "zero-pass", "one-backward", "many-pass"]
    assert sorted(m.name for _, methods in families for m in methods) == sorted(row[0] for row in METHODS)


def test_scores_alone_name_their_methods_metrics_and_operators():
    told = fake_scorecard()
    card = read_card({"scores": told["scores"]})
    assert [name for name, _ in card.operators] == list(OPERATORS)
    assert card.primary == "blur"
    assert {metric.name: metric.block for metric in card.metrics}["pointing"] == "plausibility"
    assert {method.name for method in card.methods} == {row[0] for row in METHODS}


def test_best_is_the_first_of_ours_that_was_scored():
    rows = [
        {"method": name, "operator": "blur", "metric": "gap", "value": value}
        for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.4))
    ]
    methods = [{"name": name, "ours": name in "abz"} for name in "zabc"]
    card = read_card({"methods": methods, "scores": rows})
    assert (card.best(True).name, card.best(False).name) == ("b", "c")
    assert card.score("b").value == pytest.approx(0.3)
    assert read_card({}).best(True) is None


def test_the_best_is_held_out_under_the_operator_that_it_is_judged_by():
    rows = [
        {"method": name, "operator": "drop", "metric": "gap", "value": value}
        for name, value in (("removes", 0.9), ("reads", 0.4))
    ]
    methods = [{"name": "removes", "ours": True, "operators": ["drop"]}, {"name": "reads", "ours": True}]
    assert read_card({"methods": methods, "scores": rows}).best(True).name == "reads"
    assert read_card({"methods": methods[:1], "scores": rows}).best(True) is None
