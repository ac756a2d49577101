"""Pictures and masks against geometry."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lapilli.data.scenes.draw import BACKGROUNDS, boxes, draw_scene
from lapilli.data.scenes.scene import SIDE, Scene, Thing, sample_scene
from lapilli.data.scenes.vocabulary import CHARACTERS, COLORS

# The area of each shape of radius one; the star's inner radius is 0.42, a cross's arms are 0.66 wide.
AREAS = {
    "circle": math.pi,
    "ring": math.pi * (1 - 0.55**2),
    "square": 1.6**2,
    "card": 1.36 * 1.72,
    "triangle": 3 * math.sqrt(3) / 4,
    "star": 5 * 0.42 * math.sin(math.pi / 5),
    "cross": 2 * 2 * 0.66 - 0.66**2,
}
PEN = 0.25  # a painted edge covers half a pixel more of the canvas, which has twice the picture's pixels


def lone(shape, seed=0, **changes):
    rng = np.random.default_rng(seed)
    x, y, radius = rng.uniform(35, 61), rng.uniform(35, 61), rng.uniform(12.5, 15.5)
    thing = Thing("blue", shape, "large", "plain", "", x, y, radius, rng.uniform(0, 360))
    return Scene((replace(thing, **changes),), "light", f"lone-{seed}")


@pytest.fixture(scope="module")
def drawn():
    scenes = [sample_scene(f"draw-{index}") for index in range(150)]
    return [(scene, *draw_scene(scene)) for scene in scenes]


def test_the_same_scene_gives_the_same_pixels(drawn):
    for scene, picture, masks in drawn[:20]:
        again, masks_again = draw_scene(scene)
        assert picture.tobytes() == again.tobytes()
        assert np.array_equal(masks, masks_again)
    assert len({picture.tobytes() for _, picture, _ in drawn}) == len(drawn)


def test_pictures_and_masks_have_the_sides_they_promise(drawn):
    for scene, picture, masks in drawn:
        assert (picture.mode, picture.size) == ("RGB", (SIDE, SIDE))
        assert (masks.dtype, masks.shape) == (bool, (len(scene.things), SIDE, SIDE))


def test_every_pixel_belongs_to_at_most_one_thing_and_every_thing_is_mostly_visible(drawn):
    for scene, _, masks in drawn:
        assert masks.sum(axis=0).max() <= 1
        for index, thing in enumerate(scene.things):
            whole = draw_scene(replace(scene, things=(thing,)))[1][0]
            assert not np.any(masks[index] & ~whole)
            assert masks[index].sum() > 0.7 * whole.sum()


def test_of_two_things_the_later_one_is_in_front():
    below, above = lone("circle").things[0], lone("circle", seed=1).things[0]
    masks = draw_scene(Scene((below, above), "light", "pair"))[1]
    whole = [draw_scene(Scene((thing,), "light", "pair"))[1][0] for thing in (below, above)]
    assert np.any(whole[0] & whole[1])
    assert np.array_equal(masks[1], whole[1])
    assert np.array_equal(masks[0], whole[0] & ~whole[1])


def test_a_box_holds_all_of_its_mask_and_no_row_or_column_more(drawn):
    for _, _, masks in drawn:
        for (x1, y1, x2, y2), mask in zip(boxes(masks), masks, strict=True):
            rows, columns = np.nonzero(mask)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.allclose(np.array([x1, y1, x2, y2]) * SIDE, edges, atol=0.05)


@pytest.mark.parametrize("shape", AREAS)
def test_a_mask_has_its_shapes_area_and_lies_around_its_centre(shape):
    """A mask keeps pixels that are half covered, so single ones are a little too large; a circle by 3 % at most."""
    excess = []
    for seed in range(12):
        scene = lone(shape, seed)
        thing, mask = scene.things[0], draw_scene(scene)[1][0]
        rows, columns = np.nonzero(mask)
        assert abs(columns.mean() + 0.5 - thing.x) < 0.6
        assert abs(rows.mean() + 0.5 - thing.y) < 0.6
        excess.append(mask.sum() / (AREAS[shape] * (thing.radius + PEN) ** 2) - 1)
    assert -0.01 < np.mean(excess) < (0.03 if shape == "circle" else 0.09)


def test_a_circle_covers_the_pixels_within_its_radius():
    for seed in range(12):
        scene = lone("circle", seed)
        thing, mask = scene.things[0], draw_scene(scene)[1][0]
        row, column = np.mgrid[:SIDE, :SIDE] + 0.5
        distance = np.hypot(column - thing.x, row - thing.y)
        assert mask[distance < thing.radius - 0.5].all()
        assert not mask[distance > thing.radius + 1].any()


def test_a_ring_has_a_hole_that_shows_the_background():
    thing = lone("ring").things[0]
    mask = draw_scene(lone("ring"))[1][0]
    assert not mask[int(thing.y), int(thing.x)]
    assert mask[int(thing.y), int(thing.x + 0.78 * thing.radius)]


def test_things_turn_clockwise_with_their_angle():
    """A triangle of angle 0 points up; its tip is the only part so far from the centre on that side."""
    for angle, towards in ((0, (0, -1)), (90, (1, 0)), (180, (0, 1)), (270, (-1, 0))):
        scene = lone("triangle", angle=float(angle))
        thing, mask = scene.things[0], draw_scene(scene)[1][0]
        x, y = (thing.x + 0.85 * thing.radius * towards[0], thing.y + 0.85 * thing.radius * towards[1])
        assert mask[int(y), int(x)]
        x, y = (thing.x - 0.85 * thing.radius * towards[0], thing.y - 0.85 * thing.radius * towards[1])
        assert not mask[int(y), int(x)]


def test_most_pixels_of_a_plain_thing_have_its_color(drawn):
    """Each channel within the 9 steps by which a tone may differ from its color's."""
    for scene, picture, masks in drawn:
        pixels = np.asarray(picture, dtype=float)
        for thing, mask in zip(scene.things, masks, strict=True):
            if thing.texture == "plain" and thing.shape != "card":
                assert np.abs(np.median(pixels[mask], axis=0) - COLORS[thing.color]).max() <= 9


def test_a_texture_adds_a_second_tone_of_the_same_color():
    """The order of the channels stays, and about a third of the pixels differs from the plain tone."""
    for color, plain in COLORS.items():
        for texture in ("striped", "dotted"):
            scene = lone("square", color=color, texture=texture)
            picture, masks = draw_scene(scene)
            pixels = np.asarray(picture, dtype=float)[masks[0]]
            other = np.abs(pixels - plain).max(axis=1) > 20
            assert 0.15 < other.mean() < 0.9
            assert np.argmax(pixels[other].mean(axis=0)) == np.argmax(plain)


def test_nothing_is_painted_off_the_masks(drawn):
    """Beyond a border of one pixel, the picture is that of the same scene without things."""
    for scene, picture, masks in drawn:
        empty = np.asarray(draw_scene(replace(scene, things=()))[0])
        near = np.asarray(Image.fromarray(masks.any(axis=0)).convert("L"))
        near = np.pad(near, 1)
        near = np.max([near[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)], axis=0) > 0
        assert np.array_equal(np.asarray(picture)[~near], empty[~near])


def test_an_empty_scene_shows_its_background():
    for background, color in BACKGROUNDS.items():
        picture, masks = draw_scene(Scene((), background, "empty"))
        assert masks.shape == (0, SIDE, SIDE)
        assert boxes(masks) == []
        assert np.abs(np.asarray(picture).mean(axis=(0, 1)) - color).max() < 11


def test_every_character_looks_different_and_stands_out_from_its_card():
    prints = set()
    for character in CHARACTERS:
        scene = lone("card", character=character, angle=0.0)
        picture, masks = draw_scene(scene)
        pixels = np.asarray(picture, dtype=float)[masks[0]]
        assert 0.05 < (np.abs(pixels - np.median(pixels, axis=0)).max(axis=1) > 60).mean() < 0.5
        prints.add(picture.tobytes())
    assert len(prints) == len(CHARACTERS)
