import xml.etree.ElementTree as ElementTree

import pytest

from lapilli.report.kit.figures import THIN
from lapilli.report.scorecard.card import read_card
from lapilli.report.scorecard.front import Size, between_models, lead_chart, pareto
from lapilli.report.scorecard.placing import width_of
from lapilli.report.scorecard.words import losses

# Where intervals of gaps go from 0 to 1 their axis goes from -0.06 to 1.06; time's starts at the lowest time / 1.7.
PLOT = Size(860, 620, 12.0, left=40, right=20, top=20, bottom=40)  # 800 wide: time's four decades have 200 each
SQUARE = Size(620, 620, 12.0, left=40, right=20, top=20, bottom=40)  # 560 wide and high: 500 for a gap of 1

TIMES = {"quick": (0.1, 0.017, 1.0), "beaten": (1.0, 0.9, 1.2), "slow": (10.0, 1.0, 100.0)}
GAPS = {"quick": (0.2, 0.1, 0.25), "beaten": (0.1, 0.05, 0.2), "slow": (0.6, 0.4, 1.0)}
OTHERS = {"quick": (0.8, 0.7, 1.0), "beaten": (0.5, 0.3, 0.6), "slow": (0.3, 0.25, 0.4)}


def ends(figure):
    return dict(zip(("value", "low", "high"), figure, strict=True))


def told(gaps, times=TIMES, **more):
    """Gaps under blur; under drop, which is the primary operator, all are another."""
    methods = [{"name": name, "family": "zero-pass", "seconds": ends(time)} for name, time in times.items()]
    scores = [{"method": name, "operator": "blur", "metric": "gap", **ends(gap)} for name, gap in gaps.items()]
    scores += [{"method": name, "operator": "drop", "metric": "gap", "value": 0.9} for name in gaps]
    return {"methods": methods, "scores": scores, "settings": {"primary": "drop"}, **more}


def parsed(svg):
    return ElementTree.fromstring(str(svg))


def lines(svg, kind):
    found = [one for one in svg.iter("line") if one.get("class") == kind]
    return [[float(one.get(key)) for key in ("x1", "y1", "x2", "y2")] for one in found]


def dots(svg):
    """Where the dots lie, by what their titles begin with."""
    marks = [one for one in svg.iter("g") if one.find("title") is not None]
    at = {one.findtext("title").split(":")[0]: next(one.iter("circle")) for one in marks}
    return {name: (float(dot.get("cx")), float(dot.get("cy"))) for name, dot in at.items()}


def corners(svg, kind):
    (found,) = [one.get("points") for one in svg.iter("polyline") if one.get("class") == kind]
    return [tuple(map(float, pair.split(","))) for pair in found.split()]


def words_at(svg, kind):
    found = [one for one in svg.iter("text") if one.get("class") == kind]
    return {one.text: (float(one.get("x")), float(one.get("y"))) for one in found}


@pytest.fixture
def plot():
    return parsed(pareto(read_card(told(GAPS, front={"blur": ["slow", "quick"]})), "blur", PLOT))


def test_a_point_lies_at_its_seconds_and_its_gap_under_the_charts_operator(plot):
    assert dots(plot) == {"quick": (240, 450), "beaten": (440, 500), "slow": (640, 250)}


def test_whiskers_span_the_intervals_of_the_gap_and_of_the_seconds(plot):
    upright = [[240, 500, 240, 425], [440, 525, 440, 450], [640, 350, 640, 50]]
    level = [[86.09, 450, 440, 450], [430.85, 500, 455.84, 500], [440, 250, 840, 250]]
    assert sorted(lines(plot, "whisker")) == sorted(upright + level)


def test_no_whisker_strikes_through_a_name():
    times = {f"method number {i}": (0.1 * 4**i, 0.03 * 4**i, 0.4 * 4**i) for i in range(4)}
    gaps = {name: (0.3 + 0.1 * i, 0.1, 0.9) for i, name in enumerate(times)}
    drawn = parsed(pareto(read_card(told(gaps, times)), "blur", PLOT))
    whiskers = lines(drawn, "whisker")
    assert len(whiskers) == 8
    for name in (one for one in drawn.iter("text") if "name" in (one.get("class") or "").split()):
        x, y, half = float(name.get("x")), float(name.get("y")), width_of(name.text, PLOT.letters) / 2
        for x1, y1, x2, y2 in whiskers:
            across = min(x2, x + half) - max(x1, x - half) > 0
            assert not (across and min(y1, y2) < y and max(y1, y2) > y - PLOT.letters), name.text


def test_the_front_goes_on_at_its_gap_until_a_slower_method_raises_it(plot):
    assert corners(plot, "front") == [(240, 450), (640, 450), (640, 250), (840, 250)]


def test_the_axes_say_what_they_measure_where_it_is(plot):
    ticks = words_at(plot, "tick")
    assert [ticks[said][0] for said in (f"10{THIN}ms", f"1{THIN}s", f"100{THIN}s")] == [40, 440, 840]
    assert [ticks[said][1] - 4 for said in ("0.00", "0.20", "1.00")] == [550, 450, 50]
    assert words_at(plot, "axis") == {"↑ gap: more faithful": (4, 12), "seconds per map, log →": (840, 617)}


def test_a_mark_and_the_summary_say_the_figures_that_they_show(plot):
    said = [one.findtext("title") for one in plot.iter("g") if one.find("title") is not None]
    assert said[0] == f"quick: gap 0.20 (0.10 to 0.25), 100{THIN}ms per map"
    quick, slow = f"quick: 0.20 (0.10 to 0.25) in 100{THIN}ms", f"slow: 0.60 (0.40 to 1.00) in 10{THIN}s"
    assert plot.findtext("desc") == f"On the front, fastest first: {quick}; {slow}."


def test_what_is_faster_than_a_millisecond_is_drawn_at_one_and_said_to_be(plot):
    times = {"quick": (2e-5, 1e-5, 3e-5), "beaten": (1e-3, 1e-3, 1e-3), "slow": (1.0, 1.0, 1.0)}
    drawn = parsed(pareto(read_card(told(GAPS, times)), "blur", PLOT))
    at = dots(drawn)
    assert at["quick"][0] == at["beaten"][0] == words_at(drawn, "tick")[f"1{THIN}ms"][0] < at["slow"][0]
    assert f"seconds per map, log; below 1{THIN}ms at the edge →" in words_at(drawn, "axis")


@pytest.fixture
def lead():
    """Of ours less the other: the chart's axis goes from -0.03 to 1.05 * 0.4 on the 180 from 152 on, 400 for 1."""
    near = {"other": "near", "difference": -0.1, "low": -0.25, "high": -0.05, "holm": 0.01}
    far = {"other": "far", "difference": -0.2, "low": -0.4, "high": 0.03, "holm": 0.5}
    lost = [{"operator": "blur", "ours": "ours", **test} for test in (near, far)]
    methods = [{"name": "near", "family": "zero-pass"}, {"name": "far", "family": "zero-pass", "operators": ["blur"]}]
    card = read_card({"methods": methods, "losses": lost, "best": []})
    return parsed(lead_chart(card, losses(card)))


def test_a_dot_lies_at_how_far_another_is_ahead_within_its_interval(lead):
    far, near = dots(lead)["far"], dots(lead)["near"]
    assert (far[0], near[0]) == (244, 204) and far[1] < near[1]
    assert lines(lead, "whisker") == [[152, far[1], 324, far[1]], [184, near[1], 264, near[1]]]
    assert words_at(lead, "tick")["+0.20"][0] == far[0]


def test_beside_a_dot_stand_the_others_name_with_its_marks_and_its_lead(lead):
    far, near = (y + 4.5 for _, y in (dots(lead)["far"], dots(lead)["near"]))
    assert words_at(lead, "label") == {"far † ‡": (0, far), "near": (0, near)}
    assert {said: y for said, (_, y) in words_at(lead, "value").items()} == {"+0.20": far, "+0.10": near}
    assert lead.findtext("desc") == "far under blur: 0.20 (−0.03 to 0.40); near under blur: 0.10 (0.05 to 0.25)"


@pytest.fixture
def both():
    """The gaps under blur on one model against those on another."""
    mine, yours = (told(gaps, settings={"primary": "blur"}) for gaps in (GAPS, OTHERS))
    return parsed(between_models(read_card(mine | {"model": "mine"}), read_card(yours | {"model": "yours"}, 1), SQUARE))


def test_between_models_the_first_ones_gap_goes_across_and_the_second_ones_up(both):
    assert dots(both) == {"quick": (170, 150), "beaten": (120, 300), "slow": (370, 400)}
    said = next(one.findtext("title") for one in both.iter("g") if one.find("title") is not None)
    assert said == "quick: 0.20 (0.10 to 0.25) on the first, 0.80 (0.70 to 1.00) on the second"


def test_between_models_each_axis_names_its_own_model(both):
    assert words_at(both, "axis") == {"↑ gap on yours": (4, 12), "gap on mine →": (600, 617)}
    assert both.findtext("title") == "Gap on yours against gap on mine"


def test_between_models_under_two_operators_no_line_says_the_same():
    cards = [read_card(one | {"settings": {"primary": one_operator}}) for one, one_operator in _under_two_operators()]
    assert "diagonal" not in between_models(*cards, SQUARE) and "dot" in between_models(*cards, SQUARE)


def _under_two_operators():
    for operator in ("blur", "drop"):
        scores = [
            {"method": name, "operator": operator, "metric": "gap", "value": value}
            for name, value in (("a", 0.1), ("b", 0.2))
        ]
        yield {"scores": scores}, operator


def test_between_models_the_dashed_line_is_where_both_gaps_are_the_same(both):
    assert lines(both, "diagonal") == [[40, 580, 600, 20]]
