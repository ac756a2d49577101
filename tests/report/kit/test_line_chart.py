"""Charts of curves: where a value lies, what of it is written, and that nothing lies upon another thing."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from lapilli.report.kit.figures import percent
from lapilli.report.kit.line_chart import COLORS, Curve, key, line_chart


def plain(value):
    return f"{value:g}"


def parsed(svg):
    return ElementTree.fromstring(str(svg))


def having(svg, name, class_):
    return [one for one in svg.iter(name) if one.get("class") == class_]


def test_points_lie_at_their_step_and_value_on_the_axes_of_all_curves():
    one = Curve("one", 0, [(0.0, 0.0), (10.0, 1.0)])
    two = Curve("two", 1, [(5.0, 4.0), (20.0, 2.0)])
    svg = parsed(line_chart([one, two], "Title", plain))
    first, second = (
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in having(svg, "polyline", "curve")
    )
    (left, floor), (middle, low) = first
    (quarter, top), (right, high) = second
    assert (middle - left) / (right - left) == pytest.approx(0.5, abs=0.01)
    assert (quarter - left) / (right - left) == pytest.approx(0.25, abs=0.01)
    assert (floor - low) / (floor - top) == pytest.approx(0.25, abs=0.01)
    assert (floor - high) / (floor - top) == pytest.approx(0.5, abs=0.01)


def test_intervals_are_whiskers_of_few_points_and_a_band_of_many():
    few = Curve("few", 0, [(1.0, 0.5), (2.0, 0.6)], [(0.4, 0.6), (0.5, 0.7)])
    svg = parsed(line_chart([few], "Title", percent, top=1.0))
    (axis,) = having(svg, "line", "base")
    whiskers = having(svg, "line", "whisker")
    share = [(float(axis.get("y1")) - float(line.get("y1"))) / (float(axis.get("y1")) - 12.0) for line in whiskers]
    assert share == pytest.approx([0.4, 0.5], abs=0.001)
    titles = [circle.find("title").text for circle in having(svg, "circle", "point")]
    assert titles[0] == "few, step 1: 50.0 % [40.0 %, 60.0 %]".replace(" %", "\u202f%")
    many = Curve("many", 0, [(float(n), 0.5) for n in range(100)], [(0.4, 0.6)] * 100)
    svg = parsed(line_chart([many], "Title", percent, top=1.0))
    assert len(having(svg, "polygon", "span")) == 1 and not having(svg, "line", "whisker")
    assert not having(svg, "circle", "point")


def test_a_noisy_curve_has_its_points_behind_the_smoothed_mean():
    noisy = Curve("noisy", 0, [(float(n), float(n % 2)) for n in range(400)], noisy=True)
    svg = parsed(line_chart([noisy], "Title", plain))
    assert len(having(svg, "circle", "raw")) == 400
    (label,) = having(svg, "text", "value")
    assert float(label.text) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("values", [[1.0] * COLORS, [0.0] * COLORS, [1.0, 1.01, 0.0, 0.01, 0.5, 1.0, 0.0, 1.0]])
def test_last_values_never_lie_upon_each_other(values):
    curves = [Curve(f"{n}", n, [(0.0, 1.0), (9.0, value)]) for n, value in enumerate(values)]
    svg = parsed(line_chart(curves, "Title", plain))
    heights = sorted(float(label.get("y")) for label in having(svg, "text", "value"))
    assert len(heights) == COLORS
    assert all(above + 12 < below for above, below in pairwise(heights))
    assert heights[0] > 0 and heights[-1] <= 206


def test_one_step_negative_values_and_no_points_at_all_are_drawn():
    for points in ([(5.0, 2.0)], [(0.0, -3.0)], [(1.0, -3.0), (2.0, 4.0)], [(0.0, 0.0)]):
        svg = parsed(line_chart([Curve("one", 0, points), Curve("none", 1, [])], "Title", plain))
        (line,) = having(svg, "polyline", "curve")
        assert all(12 <= float(pair.split(",")[1]) <= 200 for pair in line.get("points").split())
    assert "Nothing was logged." in str(line_chart([], "Title", plain))


def test_names_are_escaped_and_the_key_has_the_color_of_its_curve():
    drawn = str(line_chart([Curve("<b>", 3, [(1.0, 2.0)], dashed=True)], "<i>", plain))
    assert "<b>" not in drawn and "<i>" not in drawn and "&lt;b&gt;" in drawn
    assert 'class="series c3 dashed"' in drawn
    assert 'class="series c3 dashed"' in str(key(3, dashed=True))
