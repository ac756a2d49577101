import random
from itertools import combinations

import numpy as np
import pytest

from lapilli.report.scorecard.placing import Box, _meets, placed, width_of

WITHIN = Box(0, 0, 900, 520)


def overlap(one, other):
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    return max(0, width) * max(0, height)


def crowded(seed, count=28):
    """Half of the points in one narrow column, as methods of the same cost are."""
    rng = random.Random(seed)
    near = [(300 + rng.gauss(0, 12), rng.uniform(80, 440)) for _ in range(count // 2)]
    return near + [(rng.uniform(40, 860), rng.uniform(40, 480)) for _ in range(count - count // 2)]


@pytest.mark.parametrize("seed", range(4))
def test_no_name_covers_another_or_a_point(seed):
    points = crowded(seed)
    boxes = placed(points, [f"a method's name {i}" for i in range(len(points))], 12.0, WITHIN)
    assert all(overlap(one, other) == 0 for one, other in combinations(boxes, 2))
    assert not any(box.left < x < box.right and box.top < y < box.bottom for box in boxes for x, y in points)
    assert all(box.left >= 0 and box.top >= 0 and box.right <= 900 and box.bottom <= 520 for box in boxes)


def test_a_lonely_name_lies_right_beside_its_point_and_left_of_it_at_the_right_end():
    (box,) = placed([(100.0, 100.0)], ["name"], 12.0, WITHIN)
    assert box.left - 100 == pytest.approx(11)
    assert (box.top + box.bottom) / 2 == pytest.approx(100)
    (box,) = placed([(890.0, 100.0)], ["name"], 12.0, WITHIN)
    assert 890 - box.right == pytest.approx(11)


def test_a_name_keeps_off_a_line_beside_which_there_is_room():
    (box,) = placed([(100.0, 100.0)], ["name"], 12.0, WITHIN, [((100.0, 100.0), (300.0, 100.0))])
    assert not _meets(
        np.array([100.0, 100.0]), np.array([300.0, 100.0]), np.array([box.left, box.top, box.right, box.bottom])
    )


def test_the_same_points_give_the_same_places():
    points = crowded(7)
    assert placed(points, ["x"] * 28, 12.0, WITHIN) == placed(points, ["x"] * 28, 12.0, WITHIN)


@pytest.mark.parametrize(
    ("line", "meets"),
    [
        (((0, 0), (10, 10)), True), (((5, 0), (5, 10)), True), (((0, 0), (3, 3)), False), (((0, 9), (9, 9)), False),
        (((5, 5), (5.5, 5.5)), True), (((0, 6), (3, 12)), False),
    ],
)  # fmt: skip
def test_lines_through_a_box(line, meets):
    ends = np.array(line, float)
    assert bool(_meets(ends[0], ends[1], np.array([4.0, 4.0, 6.0, 6.0]))) is meets


def test_wide_letters_take_more_room():
    assert width_of("mmm", 10) > width_of("nnn", 10) > width_of("iii", 10)
