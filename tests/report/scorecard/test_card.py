from tests.report.scorecard.fake import METHODS, OPERATORS, fake_scorecard

from lapilli.report.scorecard.card import Figure, figure, read_card


def test_what_is_not_finite_is_missing():
    rows = [{"method": "a", "operator": "blur", "metric": "gap", "value": value} for value in (float("nan"), None)]
    assert read_card({"scores": rows}).scores == {}
    assert figure({"value": 0.5, "low": None, "high": float("inf"), "n": 3}) == Figure(
        0.5, 0.5, 0.5, 3, has_interval=False
    )
    assert figure({"value": 0.5, "low": 0.5, "high": 0.5, "n": 3}) == Figure(0.5, 0.5, 0.5, 3)


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


def test_our_best_is_the_one_that_the_scorecard_chose():
    """Under the primary operator, whatever has the larger gap in all questions."""
    scores = [
        {"method": name, "operator": operator, "metric": "gap", "value": value}
        for operator in ("blur", "drop")
        for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.4))
    ]
    methods = [{"name": name, "ours": name in "ab"} for name in "abc"]
    best = [
        {"operator": operator, "method": name, "value": 0.2, "low": 0.1, "high": 0.3, "n": 15, "chosen_on": 16}
        for operator, name in (("drop", "b"), ("blur", "a"))
    ]
    found = read_card({"methods": methods, "scores": scores, "best": best, "settings": {"primary": "blur"}}).best
    assert found is not None and (found.method.name, found.gap.value, found.gap.n) == ("a", 0.2, 15)
    assert found.chosen_on == 16
    for without in ({}, {"methods": methods, "scores": scores}, {"methods": methods[2:], "best": best}):
        assert read_card(without).best is None
