"""The rows of benchmarks/planted: plants lie where they are said to lie, and answers follow them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/planted"))  # as for the script that lies there

from pictures import ANSWERS, PLANTS, areas, cells, draw, filled, sample, taught, with_all_else, with_plant
from proof import proof

from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.vocabulary import COLORS

SEEDS = ("a", "b", "c", "d")
SEEN = tuple(plant for plant in PLANTS if plant != "question")


def pair(seed):
    """A row and another one whose answer differs by every plant."""
    row, number = sample(seed, apart=True), 0
    while any(rule(sample(f"{seed}{number}", apart=True)) == rule(row) for rule in ANSWERS.values()):
        number += 1
    return row, sample(f"{seed}{number}", apart=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("plant", SEEN)
def test_a_changed_plant_changes_its_pixels_alone(plant, seed):
    row, other = pair(seed)
    before, masks = draw(row)
    after, _ = draw(with_plant(plant, other, row))
    changed = (np.asarray(before) != np.asarray(after)).any(-1)
    assert masks[plant].sum() > 20
    assert changed[masks[plant]].mean() > 0.9  # a card's print stays
    around = binary_dilation(masks[plant]) if plant == "object" else masks[plant]  # smooth edges
    assert not changed[~around].any()


@pytest.mark.parametrize("seed", SEEDS)
def test_another_question_changes_no_pixel(seed):
    row, other = pair(seed)
    asked = with_plant("question", other, row)
    assert asked.question == other.question
    assert draw(asked)[0].tobytes() == draw(row)[0].tobytes()
    assert not draw(row)[1]["question"].any()


@pytest.mark.parametrize("plant", PLANTS)
def test_answers_follow_the_plant_and_nothing_else(plant):
    for row, other in map(pair, SEEDS):
        changed, kept = with_plant(plant, other, row), with_all_else(plant, other, row)
        assert ANSWERS[plant](changed) == ANSWERS[plant](other) != ANSWERS[plant](row) == ANSWERS[plant](kept)
        for decoy in ("patch", "frame"):
            if decoy != plant:
                assert ANSWERS[decoy](changed) == ANSWERS[decoy](row)
                assert ANSWERS[decoy](kept) == ANSWERS[decoy](other)
        assert taught(row, plant, "1.png").turns[-1].text == ANSWERS[plant](row)


def test_the_object_stays_as_all_else_changes():
    for row, other in map(pair, SEEDS):
        kept = with_all_else("object", other, row)
        assert kept.question == row.question
        assert kept.scene.alike(kept.asked, "shape") == 1
        assert (draw(kept)[1]["object"] & ~draw(row)[1]["object"]).sum() == 0 or len(row.scene.things) > 1
        assert draw(kept)[0].tobytes() != draw(row)[0].tobytes()


def test_the_square_fills_one_patch_and_the_frame_touches_the_outer_ones():
    patch, frame = map(cells, areas())
    assert patch.tolist() == [float(number == 25) for number in range(36)]
    outer = np.pad(np.zeros((4, 4), bool), 1, constant_values=True).ravel()
    assert ((frame > 0.3) == outer).all()
    assert ((frame > 0) == outer).all()


@pytest.mark.parametrize("apart", [True, False])
def test_what_is_asked_about_is_there_seen_and_the_only_one_that_can_be_meant(apart):
    patch, _ = areas()
    for number in range(20):
        row = sample(f"ask-{number}", apart)
        picture, masks = draw(row)
        assert row.scene.alike(row.asked, "shape") == 1 and row.asked.shape != "square"
        assert len(row.scene.things) > 1
        assert masks["object"].sum() > 60
        assert np.ptp(np.asarray(picture)[patch], axis=0).max() == 0  # and nothing else is there:
        assert not draw_scene(row.scene)[1][:, patch].any()
        if apart:
            colors = [row.patch, row.frame, *(thing.color for thing in row.scene.things)]
            assert all(colors.count(color) == 1 for color in (row.patch, row.frame, row.asked.color))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_filled_picture_keeps_square_and_frame_and_is_of_one_color(seed):
    row, other = pair(seed)
    before, after = (np.asarray(draw(one)[0], int) for one in (row, filled(row, other.frame)))
    kept = np.logical_or(*areas())
    assert (before[kept] == after[kept]).all()
    assert np.ptp(after[~kept], axis=0).max() == 0
    assert np.abs(after[~kept][0] - COLORS[other.frame]).max() <= 9  # the tone of a thing


def test_in_training_no_plant_foretells_another():
    rows = [sample(f"free-{number}") for number in range(400)]
    for one in PLANTS:
        for other in PLANTS:
            if one < other:
                same = np.mean([ANSWERS[one](row) == ANSWERS[other](row) for row in rows])
                assert abs(same - 1 / 8) < 0.06


@pytest.mark.parametrize("plant", PLANTS)
def test_the_proof_holds_of_who_answers_by_the_plant_and_of_nobody_else(plant):
    rows = [sample(f"proof-{number}", apart=True) for number in range(6)]
    told = {rival: proof(plant, rows, lambda some, r=rival: [ANSWERS[r](row) for row in some], int) for rival in PLANTS}
    for rival, found in told.items():
        holds = all(found[name]["estimate"] == 1 for name in ("right", "followed", "stayed"))
        assert holds == (rival == plant)
    changed = {factor: share["correct"] for factor, share in told[plant]["changed"].items()}
    assert changed.pop(plant) == 6
    if plant == "object":
        changed.pop("question")  # which asks about another object
    assert set(changed.values()) == {0}
