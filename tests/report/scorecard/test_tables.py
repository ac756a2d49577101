import re

import pytest
from tests.report.scorecard.fake import OPERATORS, fake_scorecard, small_scorecard

from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import Figure, read_card
from lapilli.report.scorecard.page import render
from lapilli.report.scorecard.tables import Cell, Scale, pairs, sanity, table


def row_of(found, method):
    return next(row for _, rows in found.families for row in rows if row.method.name == method)


def test_the_better_end_is_on_the_right():
    up, down = Scale(0.0, 2.0), Scale(0.0, 2.0, flip=True)
    assert (up.at(0.5), down.at(0.5)) == (25, 75)
    assert (up.at(-9), up.at(9)) == (0, 100)


def test_a_bar_goes_from_chance_to_the_value():
    better = Scale(0.0, 1.0, chance=0.2).marks(Figure(0.6, 0.5, 0.7))
    assert better == "--l:20;--w:40.0;--a:50;--b:70;--c:20"
    worse = Scale(0.0, 1.0, chance=0.8).marks(Figure(0.6, 0.5, 0.7))
    assert worse == "--l:60;--w:20.0;--a:50;--b:70;--c:80"
    less = Scale(0.0, 1.0, True, 0.8).marks(Figure(0.6, 0.5, 0.7))
    assert less == "--l:20;--w:20.0;--a:30;--b:50;--c:20"


def test_every_score_has_its_cell():
    told = fake_scorecard()
    found = table(read_card(told))
    cells = sum(len(row.cells) for _, rows in found.families for row in rows)
    assert cells == len(told["scores"]) + 4 * len(told["methods"])
    assert [column.name for column in found.columns[:4]] == [f"gap {name}" for name in OPERATORS]


def test_a_score_is_shown_under_its_operator():
    told = fake_scorecard()
    found = table(read_card(told))
    for score in told["scores"][::37]:
        cells = row_of(found, score["method"]).cells
        name = f"gap {score['operator']}" if score["metric"] == "gap" else score["metric"]
        under = None if score["metric"] == "gap" or not score["operator"] else list(OPERATORS).index(score["operator"])
        (cell,) = [cell for found_name, cell in cells if found_name == name and cell.under == under]
        assert cell.sort == (abs(score["value"] - 1) if name == "slope" else score["value"])
        assert cell.value == words.plain(score["value"])
        assert cell.spread == words.spread(score["low"], score["high"])


def test_a_bar_starts_at_the_chance_of_its_operator_and_a_slopes_at_1():
    found = table(read_card(fake_scorecard()))
    starts = {}
    for name, cell in row_of(found, "direct").cells:
        starts.setdefault(name, []).append(cell.marks.rpartition("--c:")[2])
    assert len(set(starts["insertion"])) == len(OPERATORS) and len(set(starts["slope"])) == 1
    columns = {column.name: column for column in found.columns}
    assert columns["insertion"].chances == ((0, "0.50"), (1, "0.52"), (2, "0.44"), (3, "0.40"))
    assert columns["deletion"].chances == ((None, "0.50"),) and columns["slope"].chances == ()
    assert columns["slope"].better == "one"


def test_a_methods_own_operator_is_marked_under_it_and_nowhere_else():
    found = table(read_card(fake_scorecard()))
    assert {name for name, cell in row_of(found, "KernelSHAP, 64").cells if cell.own and cell.under is None} == {
        "gap mean"
    }
    assert {cell.under for _, cell in row_of(found, "KernelSHAP, 64").cells if cell.own} == {None, 1}
    assert not any(cell.own for _, cell in row_of(found, "direct").cells)


def test_signs_are_those_of_the_tests_against_random():
    told = fake_scorecard()
    found = table(read_card(told))
    signs = {"up": "▲", "down": "▼", "even": "≈"}
    tests = [test for test in told["tests"] if test["other"] == "random"]
    assert {words.verdict(test) for test in tests} == set(signs)
    for test in tests:
        cell = dict(row_of(found, test["one"]).cells)[f"gap {test['operator']}"]
        assert cell.sign == signs[words.verdict(test)]


def test_pairs_hold_our_tests():
    told = fake_scorecard()
    found = pairs(read_card(told), "drop")
    assert len(found.ours) == 4 and len(found.rows) == 28
    said = {(t["one"], t["other"]): t["difference"] for t in told["tests"] if t["operator"] == "drop"}
    for other, cells in found.rows:
        for one, cell in zip(found.ours, cells, strict=True):
            assert cell.sort == said.get((one, other))


def test_sanity_puts_ours_first_and_tints_by_which_end_is_good():
    told = fake_scorecard()
    found = sanity(read_card(told))
    assert [method.ours for method, _ in found.rows[:5]] == [True] * 4 + [False]
    values = {(row["method"], row["test"]): row["value"] for row in told["sanity"]}
    for method, cells in found.rows:
        for test, cell in zip(found.tests, cells, strict=True):
            value = values[method.name, test["name"]]
            good = value < 0.5 if test["good"] == "low" else value > 0.5
            assert cell.sort == value and (cell.tint > 0) == good


def test_what_was_not_measured_has_no_table():
    assert sanity(read_card({})) is None
    assert pairs(read_card({}), "blur") is None
    assert table(read_card({})).columns == ()


@pytest.mark.parametrize("seconds", [None, {"value": 0.0, "low": 0.0, "high": 0.0}])
def test_a_time_of_nothing_can_be_drawn(seconds):
    found = table(read_card({"methods": [{"name": "a", "seconds": seconds, "forwards": 1}]}))
    assert dict(row_of(found, "a").cells)["forwards"].value == "1"


def test_a_bar_reaches_further_right_where_less_is_better_and_the_figure_is_less():
    figures = {"good": {"value": 0.2, "low": 0.0, "high": 0.4}, "bad": {"value": 0.9, "low": 0.6, "high": 1.0}}
    scores = [{"method": name, "operator": "blur", "metric": "deletion", **found} for name, found in figures.items()]
    metrics = [{"name": "deletion", "better": "down", "chance": 0.5, "block": "faithfulness"}]
    found = table(read_card({"scores": scores, "metrics": metrics}))
    good, bad = (dict(row_of(found, name).cells)["deletion"].marks for name in figures)
    assert good == "--l:50;--w:30.0;--a:60;--b:100;--c:50"
    assert bad == "--l:10;--w:40.0;--a:0;--b:40;--c:50"


def test_a_bar_of_time_reaches_further_right_the_faster_the_method_is():
    times = {"fast": {"value": 0.01, "low": 0.001, "high": 0.1}, "slow": {"value": 10.0, "low": 1.0, "high": 10.0}}
    methods = [{"name": name, "seconds": seconds} for name, seconds in times.items()]
    found = table(read_card({"methods": methods}))  # four decades from a millisecond on, 25 % each
    fast, slow = (dict(row_of(found, name).cells)["seconds"] for name in times)
    assert fast == Cell("10\u202fms", "1.0\u202fms to 100\u202fms", "--l:0;--w:75.0;--a:50;--b:100;--c:0", 0.01)
    assert slow == Cell("10\u202fs", "1.0\u202fs to 10\u202fs", "--l:0;--w:0.0;--a:0;--b:25;--c:0", 10.0)


def test_a_pair_is_told_of_ours_less_the_other_with_the_share_that_ours_wins():
    methods = [{"name": "ours", "ours": True}, {"name": "other"}]
    test = {
        "operator": "blur", "metric": "gap", "one": "ours", "other": "other", "difference": -0.2, "low": -0.3,
        "high": -0.05, "holm": 0.01, "wins": 0.25,
    }  # fmt: skip
    found = pairs(read_card({"methods": methods, "tests": [test]}), "blur")
    assert found.rows == (("other", (Cell("−0.20", "−0.30 to −0.05", "", -0.2, "▼", note="wins 25\u202f%"),)),)


def test_a_bar_of_a_check_reaches_further_right_towards_the_end_that_is_good():
    tests = [{"name": "weights", "good": "low"}, {"name": "again", "good": "high"}]
    rows = [{"method": "a", "test": test["name"], "value": 0.2, "low": 0.1, "high": 0.4, "n": 20} for test in tests]
    found = sanity(read_card({"methods": [{"name": "a"}], "sanity": rows, "sanity_tests": tests}))
    ((_, (low, high)),) = found.rows
    assert (low.marks, low.tint) == ("--l:0;--w:80.0;--a:60;--b:90;--c:0", pytest.approx(0.6))
    assert (high.marks, high.tint) == ("--l:0;--w:20.0;--a:10;--b:40;--c:0", pytest.approx(-0.6))


def test_the_questions_of_a_model_are_those_kept():
    told = small_scorecard() | {"counts": {"given": 900, "asked": 600, "right": 552, "kept": 296}}
    left_out = {"overall_color": 7, "most_pictures": 2, "no_picture": 0}
    fewer = told | {"counts": {"asked": 90, "right": 79, "kept": 70, **left_out}}
    page = render([told, fewer])
    assert '<th scope="row">Questions</th><td>296</td><td>70</td>' in page
    funnels = re.findall(r'<ol class="funnel">(.*?)</ol>', page, re.S)
    assert [re.findall(r"<b>(\d+)</b> (\w+ ?\w*)", one) for one in funnels] == [
        [("900", "questions given"), ("600", "asked"), ("552", "answered right"), ("296", "kept")],
        [("90", "asked"), ("79", "answered right"), ("70", "kept"), *((n, "left out") for n in ("7", "2", "0"))],
    ]
