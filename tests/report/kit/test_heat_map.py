"""Heat maps: every cell stands where its row and column are, in the color of its sign, with its own numbers."""

import re
from itertools import pairwise

import pytest

from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.heat_map import Labels, heat_map

HEADS = Labels("Heads", "Layers from the bottom.", "layer", "head")


def table(values, apart=0.25):
    low, high = ([[value + by for value in row] for row in values] for by in (-apart, apart))
    return {"value": values, "low": low, "high": high, "n": 7}


def squares(drawn, class_):
    """The corners and sides of the rectangles of a class: (x, y, width), in their order."""
    places = re.findall(rf'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"[^>]*class="{class_}"', drawn)
    return [tuple(map(float, place)) for place in places]


def test_cells_have_the_color_of_their_sign_and_the_framed_ones_a_frame():
    drawn = heat_map(table([[0.0, 1.0], [-2.0, 0.5]], 0.0), HEADS, 2.0, framed=[(1, 1)])
    boxes = re.findall(r'class="(raises|lowers)" fill-opacity="([\d.]+)"', drawn)
    assert boxes == [("raises", "0.000"), ("raises", "0.500"), ("lowers", "1.000"), ("raises", "0.250")]
    (frame,) = squares(drawn, "framed")
    *_, last = squares(drawn, "empty")
    assert frame == (last[0] + 1, last[1] + 1, last[2] - 2)
    assert drawn.index('class="framed"') > drawn.index("layer 1, head 1")


def test_rows_lie_one_over_the_other_from_the_bottom_and_columns_from_the_left():
    cells = squares(heat_map(table([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]), HEADS, 5.0), "empty")
    (x, y, _), side = cells[0], cells[1][0] - cells[0][0]
    expected = [(x + side * column, y - side * row) for row in (0, 1) for column in (0, 1, 2)]
    assert [cell[:2] for cell in cells] == [pytest.approx(place, abs=0.02) for place in expected]


def test_every_cell_says_its_place_in_the_labels_and_its_own_numbers():
    drawn = heat_map(table([[0.0, -1.0]]), Labels("<b>", "Patches from the left.", "question", "patch"), 1.0)
    titles = re.findall(r"<title>([^<]*)</title>", drawn)
    assert titles == [
        "&lt;b&gt;",
        "question 0, patch 0: 0.00 [−0.25, 0.25], n = 7",
        "question 0, patch 1: −1.00 [−1.25, −0.75], n = 7",
    ]
    assert 'aria-label="&lt;b&gt;. Patches from the left."' in drawn


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (2, 300), (80, 2), (48, 64)])
def test_any_number_of_cells_fits_and_their_numbers_do_not_touch(high, wide):
    drawn = heat_map(table([[1.0] * wide] * high), HEADS, 1.0)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn).groups())
    assert width <= 175 and height <= 240
    assert all(x + side <= width and y + side <= height for x, y, side in squares(drawn, "empty"))
    columns = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="[\d.]+" class="tick" text-anchor="middle"', drawn)]
    assert all(after - before > 7 for before, after in pairwise(columns))


def test_a_matrix_of_zeros_is_drawn_without_color():
    assert set(re.findall(r'fill-opacity="([\d.]+)"', heat_map(table([[0.0, 0.0]]), HEADS, 0.0))) == {"0.000"}


def test_its_style_has_all_that_is_drawn():
    sheet = style(environment("color"), "heat_map.css")
    drawn = heat_map(table([[1.0, -1.0]]), HEADS, 1.0, framed=[(0, 0)])
    assert set(re.findall(r'<rect[^>]*class="(\w+)"', drawn)) == {"empty", "raises", "lowers", "framed"}
    assert all(f".{name} {{ fill: " in sheet for name in ("empty", "raises", "lowers", "framed"))
