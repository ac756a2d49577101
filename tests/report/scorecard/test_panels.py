import re

import pytest
from tests.report.scorecard.fake import small_scorecard

from lapilli.report.scorecard.card import read_card
from lapilli.report.scorecard.page import render
from lapilli.report.scorecard.panels import panels

CURVES = {
    "random": {"morf": [1, 0.4, 0], "lerf": [1, 0.6, 0]},
    "right": {"morf": [1, 0.25, 0], "lerf": [1, 0.75, 0]},
    "wrong": {"morf": [1, 0.75, 0], "lerf": [1, 0.25, 0]},
    "torn": {"morf": [1, 0.25, 0.5, 0], "lerf": [1, 0.75, 0.25, 0]},
}
GAPS = {"random": 0.1, "right": 0.25, "wrong": -0.25, "torn": 0.08}
# All cells are left at x = 15 and none at 144; all of the answer is left at y = 6 and nothing at 88.
HALF, THIRD, TWO_THIRDS, ALL, QUARTER, MIDDLE, MOST, NOTHING = 79.5, 58, 101, 6, 67.5, 47, 26.5, 88


@pytest.fixture
def drawn():
    """The lines and areas of every method's panel: by name, their corners by kind."""
    methods = [{"name": name, "family": "zero-pass"} for name in CURVES]
    scores = [{"method": n, "operator": "blur", "metric": "gap", "value": gap} for n, gap in GAPS.items()]
    ((_, found),) = panels(read_card({"methods": methods, "scores": scores, "curves": {"blur": CURVES}}), "blur")
    return {panel.method.name: shapes(panel.chart) for panel in found}


def shapes(svg):
    found = re.findall(r'<polyline points="([^"]+)" class="(\w+)"', svg)
    return {kind: [tuple(map(float, pair.split(","))) for pair in points.split()] for points, kind in found}


def test_a_curve_is_drawn_as_that_of_its_own_order(drawn):
    assert drawn["right"]["morf"] == [(15, ALL), (HALF, QUARTER), (144, NOTHING)]
    assert drawn["right"]["lerf"] == [(15, ALL), (HALF, MOST), (144, NOTHING)]
    assert drawn["wrong"]["morf"] == drawn["right"]["lerf"] and drawn["wrong"]["lerf"] == drawn["right"]["morf"]


def test_chance_is_the_mean_of_both_orders_of_the_random_map(drawn):
    assert all(one["chance"] == [(15, ALL), (HALF, MIDDLE), (144, NOTHING)] for one in drawn.values())


def test_where_the_most_important_cells_cost_more_the_area_is_a_gain_and_else_a_fault(drawn):
    area = [(15, ALL), (HALF, MOST), (144, NOTHING), (144, NOTHING), (HALF, QUARTER), (15, ALL)]
    assert drawn["right"]["gain"] == area and "fault" not in drawn["right"]
    assert drawn["wrong"]["fault"] == area and "gain" not in drawn["wrong"]


def test_a_map_that_is_right_at_first_and_wrong_later_has_both_areas(drawn):
    start, end = (15, ALL), (144, NOTHING)
    order = [start, (THIRD, QUARTER), (TWO_THIRDS, MIDDLE), end]
    assert drawn["torn"]["gain"] == [start, (THIRD, MOST), (TWO_THIRDS, MIDDLE), end, *reversed(order)]
    assert drawn["torn"]["fault"] == [*order, end, (TWO_THIRDS, QUARTER), (THIRD, QUARTER), start]


def test_a_panel_says_its_gap_and_what_is_left_with_half_of_the_cells():
    score = {"method": "right", "operator": "blur", "metric": "gap", "value": 0.25, "low": 0.2, "high": 0.3}
    card = read_card({"scores": [score], "curves": {"blur": CURVES}, "settings": {"grid": [6, 4]}})
    ((_, (panel,)),) = panels(card, "blur")
    assert panel.gap == "0.25" and "<title>right: gap 0.25 (0.20 to 0.30)</title>" in panel.chart
    assert ": 0.25 of the answer is left in the map&#39;s order, 0.75 in the reverse</desc>" in panel.chart
    assert ">24 cells</text>" in panel.chart


def test_the_legend_names_the_lines_as_they_are_drawn():
    page = render(small_scorecard())
    legend = page[page.index("What is left as cells go") :].split("</ul>")[0]
    assert dict(re.findall(r'class="(\w+)" [^>]*/></svg>([^<]+)</li>', legend)) == {
        "lerf": "least important first", "morf": "most important first",
        "chance": "random order", "fault": "the wrong way round",
    }  # fmt: skip


def test_a_fault_is_orange_and_a_gain_of_ours_blue(show):
    page = show("one", color_scheme="light")
    areas = (page.locator(f".panels {kind}").first for kind in (".fault", ".ours .gain"))
    fault, gain = (area.evaluate("one => getComputedStyle(one).fill.match(/\\d+/g).map(Number)") for area in areas)
    assert fault[0] > fault[2] and gain[2] > gain[0]  # red against blue
