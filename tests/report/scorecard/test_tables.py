import pytest
from tests.report.scorecard.fake import OPERATORS, fake_scorecard

from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import Figure, read_card
from lapilli.report.scorecard.tables import Scale, pairs, sanity, table


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
