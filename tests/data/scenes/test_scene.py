"""What a sampled scene may hold, and where."""

import math

import pytest

from lapilli.data.scenes.scene import RADII, Thing, sample_scene
from lapilli.data.scenes.vocabulary import COLORS, PLACES, SHAPES, is_withheld

COUNT = 1_000


@pytest.fixture(scope="module")
def ordinary():
    return [sample_scene(f"ordinary-{index}") for index in range(COUNT)]


@pytest.fixture(scope="module")
def compositional():
    return [sample_scene(f"compositional-{index}", compositional=True) for index in range(COUNT)]


def things(scenes):
    return [thing for scene in scenes for thing in scene.things]


def combinations(scenes):
    return {(thing.color, thing.shape, thing.cell) for thing in things(scenes)}


def test_a_seed_is_a_scene_and_another_seed_another_one(ordinary):
    assert [sample_scene(f"ordinary-{index}") for index in range(50)] == ordinary[:50]
    assert len({scene.things for scene in ordinary}) == COUNT


def test_a_known_scene():
    """Guards the stream of random draws: trained models and stored results refer to scenes by their seed."""
    scene = sample_scene("lapilli")
    assert [(t.size, t.texture, t.color, t.shape, t.place, round(t.x, 6)) for t in scene.things] == [
        ("large", "striped", "blue", "cross", "center", 37.062942),
        ("large", "plain", "pink", "star", "top-right", 77.765599),
        ("small", "dotted", "purple", "cross", "bottom", 49.674382),
        ("small", "plain", "red", "star", "bottom-right", 73.112497),
    ]
    assert scene.background == "dark"


def test_every_pair_is_withheld_at_one_or_two_cells():
    cells = [sum(is_withheld(color, shape, cell) for cell in range(9)) for color in COLORS for shape in SHAPES]
    assert set(cells) == {1, 2}


def test_every_part_of_a_withheld_combination_is_seen_with_the_other_parts():
    seen = {(c, s, k) for c in COLORS for s in SHAPES for k in range(9) if not is_withheld(c, s, k)}
    for color in COLORS:
        for shape in SHAPES:
            for cell in range(9):
                assert any((color, shape, other) in seen for other in range(9))
                assert any((color, other, cell) in seen for other in SHAPES)
                assert any((other, shape, cell) in seen for other in COLORS)


def test_ordinary_scenes_hold_no_withheld_combination_and_all_others(ordinary):
    found = combinations(ordinary)
    assert not any(is_withheld(*combination) for combination in found)
    allowed = sum(not is_withheld(c, s, k) for c in COLORS for s in SHAPES for k in range(9))
    assert len(found) == allowed


def test_compositional_scenes_hold_nothing_but_withheld_combinations(compositional):
    found = combinations(compositional)
    assert all(is_withheld(*combination) for combination in found)
    assert len(found) == 8 * 7 * 9 // 8  # every one of them


def test_every_number_of_things_occurs(ordinary, compositional):
    for scenes in (ordinary, compositional):
        counts = [len(scene.things) for scene in scenes]
        assert set(counts) == {1, 2, 3, 4, 5, 6}
        assert min(counts.count(number) for number in range(1, 7)) > COUNT / 12


def test_no_two_things_share_a_cell(ordinary, compositional):
    for scene in ordinary + compositional:
        assert len({thing.cell for thing in scene.things}) == len(scene.things)


def test_centres_keep_their_distance_from_the_borders_of_cells_and_things_stay_inside(ordinary, compositional):
    for thing in things(ordinary + compositional):
        for along in (thing.x, thing.y):
            assert min(abs(along - 32), abs(along - 64)) >= 3
            assert thing.radius + 1 <= along <= 95 - thing.radius


def test_places_are_those_of_a_grid_read_row_by_row():
    def at(x, y):
        return Thing("red", "circle", "small", "plain", "", x, y, 8.0, 0.0).place

    assert [at(x, y) for y in (16, 48, 80) for x in (16, 48, 80)] == list(PLACES)


def test_sizes_are_never_a_matter_of_opinion(ordinary):
    for thing in things(ordinary):
        low, high = RADII[thing.size]
        assert low <= thing.radius <= high
    assert RADII["small"][1] < RADII["large"][0]


def test_only_cards_carry_a_character_and_all_cards_do(ordinary):
    for thing in things(ordinary):
        assert (thing.shape == "card") == (thing.character != "")
        assert thing.shape != "card" or (thing.size, thing.texture) == ("large", "plain")


def test_things_overlap_little(ordinary, compositional):
    for scene in ordinary + compositional:
        for index, thing in enumerate(scene.things):
            for other in scene.things[:index]:
                distance = math.dist((thing.x, thing.y), (other.x, other.y))
                assert distance > 0.85 * (thing.radius + other.radius)


def test_cards_are_painted_last(ordinary):
    for scene in ordinary:
        cards = [thing.shape == "card" for thing in scene.things]
        assert cards == sorted(cards)
