import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from lapilli.report.kit.curves import upright_axis
from lapilli.report.kit.svg import Axis, element, legend, line, shape
from lapilli.report.quickstart import charts
from lapilli.report.quickstart.charts import Mark, Row


def parsed(svg):
    return ElementTree.fromstring(str(svg))


def metrics(losses, every=10):
    return [{"step": every * (i + 1), "loss": loss, "learning_rate": 1e-3} for i, loss in enumerate(losses)]


def test_an_accuracy_of_one_half_lies_in_the_middle_of_its_axis():
    row = Row("color", (Mark("instruct", 0.5, 0.25, 0.75, "after"),), constant=0.0)
    svg = parsed(charts.dot_chart([row], "Title", "Summary", left=96.0))
    grid = [float(line.get("x1")) for line in svg.iter("line") if line.get("class") == "grid"]
    dot = next(circle for circle in svg.iter("circle"))
    assert (min(grid), max(grid)) == (charts.share_axis(96.0).start, charts.share_axis(96.0).end)
    assert float(dot.get("cx")) == pytest.approx((min(grid) + max(grid)) / 2)


def test_whiskers_reach_from_the_low_to_the_high_end_at_the_height_of_their_dot():
    row = Row("color", (Mark("instruct", 0.5, 0.25, 0.75, "after"),))
    svg = parsed(charts.dot_chart([row], "Title", "Summary", left=0.0))
    axis, whisker = charts.share_axis(0.0), next(line for line in svg.iter("line") if line.get("class") == "whisker")
    assert float(whisker.get("x1")) == pytest.approx(axis.at(0.25), abs=0.01)
    assert float(whisker.get("x2")) == pytest.approx(axis.at(0.75), abs=0.01)
    assert whisker.get("y1") == whisker.get("y2") == next(svg.iter("circle")).get("cy")


def test_every_kind_of_mark_has_its_own_lane_and_its_own_shape():
    marks = tuple(Mark(kind, 0.5, 0.4, 0.6, kind) for kind in charts.MARKS)
    svg = parsed(charts.dot_chart([Row("all", marks)], "Title", "Summary"))
    heights = {line.get("y1") for line in svg.iter("line") if line.get("class") == "whisker"}
    assert len(heights) == len(charts.MARKS)
    assert len({re.sub(r"[\d.]+", "0", str(charts.glyph(kind, 0, 0))) + kind for kind in charts.MARKS}) == 5
    corners = [charts.glyph(kind, 0, 0) for kind in ("swapped", "blank", "language_only")]
    assert len(set(corners)) == 3


def test_the_constant_answer_stands_upright_at_its_share():
    svg = parsed(charts.dot_chart([Row("existence", (), 0.25)], "Title", "Summary", left=0.0))
    stick = next(line for line in svg.iter("line") if line.get("class") == "stick")
    assert float(stick.get("x1")) == float(stick.get("x2")) == pytest.approx(charts.share_axis(0.0).at(0.25), abs=0.01)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 1, 0, 100), [0, 0.25, 0.5, 0.75, 1]),
        (Axis(0, 420, 0, 100), [0, 100, 200, 300, 400]),
        (Axis(0, 900, 0, 100), [0, 250, 500, 750]),
        (Axis(0.08, 2.0, 0, 100, log=True), [0.1, 0.2, 0.5, 1, 2]),
        (Axis(1e-4, 50, 0, 100, log=True), [0.0001, 0.001, 0.01, 0.1, 1, 10]),
    ],
)
def test_ticks_are_round_values_on_the_axis(axis, ticks):
    assert axis.ticks(4) == pytest.approx(ticks)


def test_a_logarithmic_axis_gives_equal_factors_equal_lengths():
    axis = Axis(0.01, 1.0, 200, 0, log=True)
    assert [axis.at(value) for value in (0.01, 0.1, 1.0)] == pytest.approx([200, 100, 0])


def test_an_axis_without_extent_does_not_divide_by_nothing():
    assert Axis(0, 0, 10, 20).at(0) == 10


def test_the_loss_curve_ends_at_the_last_step_with_its_value():
    svg = parsed(charts.loss_chart(metrics([2.0] * 50), "Loss"))
    end = next(circle for circle in svg.iter("circle") if circle.get("class") == "end")
    axis = upright_axis([2.0], 200.0, 12.0)
    assert float(end.get("cx")) == charts.WIDTH - 52
    assert float(end.get("cy")) == pytest.approx(axis.at(2.0), abs=0.01)
    assert "2" in [text.text for text in svg.iter("text") if text.get("class") == "value learns"]


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_cross_and_is_said(bad):
    svg = parsed(charts.loss_chart(metrics([2.0, bad, 1.0]), "Loss"))
    assert [path.get("class") for path in svg.iter("path")] == ["cross"]
    assert "1 losses were not finite" in svg.findtext("desc")
    assert "nan" not in ElementTree.tostring(svg, "unicode")


@pytest.mark.parametrize("losses", [[1.0], [None], [0.0, 0.0], [1.0, 1.0]])
def test_short_and_flat_curves_are_drawn(losses):
    parsed(charts.loss_chart(metrics(losses), "Loss"))


def test_an_element_escapes_text_and_attributes():
    svg = element("text", "<script>&", title='"><script>')
    assert svg == '<text title="&#34;&gt;&lt;script&gt;">&lt;script&gt;&amp;</text>'


def test_a_shape_stands_around_its_point_and_a_legend_around_its_mark():
    assert shape(10, 20, ((0, -5), (4, 3), (-2, 3)), "dot") == (
        '<polygon points="10.00,15.00 14.00,23.00 8.00,23.00" class="dot"></polygon>'
    )
    drawn = legend(18, line(1, 2, 3, 4, "stick"))
    assert 'viewBox="0 0 18 18"' in drawn and 'aria-hidden="true"' in drawn and 'class="stick"' in drawn
