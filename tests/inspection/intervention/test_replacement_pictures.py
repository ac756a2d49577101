"""Pictures in the place of one: what they hold, and which of one's own are taken."""

import numpy as np
import pytest
from tests.parts import picture

from lapilli.core.errors import LapilliError
from lapilli.data.pictures import open_picture
from lapilli.data.scenes.scene import sample_scene
from lapilli.data.scenes.vocabulary import COLORS
from lapilli.inspection.intervention.replacement_pictures import LEAST, MOST, SCENES, blank, own, shipped


@pytest.fixture
def folder(tmp_path):
    """Six pictures, and what is none of them."""
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for number in range(6):
        picture(number).save(pictures / f"{number}.png")
    (pictures / ".hidden").write_text("no picture")
    return pictures


@pytest.mark.parametrize("side", [24, 96, 336])
def test_the_shipped_pictures_are_always_the_same_and_differ_from_each_other(side):
    found, again = shipped(side), shipped(side)
    assert len(found) == 9 and {one.size for one in found} == {(side, side)} and {one.mode for one in found} == {"RGB"}
    assert [one.tobytes() for one in found] == [one.tobytes() for one in again]
    assert len({one.tobytes() for one in (*found, blank(side))}) == 10


def test_no_color_is_stated_in_most_of_the_shipped_pictures_and_each_is_in_one():
    colors = [{thing.color for thing in sample_scene(seed).things} for seed in SCENES]
    counts = {color: sum(color in some for some in colors) for color in COLORS}
    assert set(counts.values()) == {1, 2}
    means = [np.asarray(one, float).mean((0, 1)) for one in shipped(96)]
    for color in COLORS.values():  # nor is it the mean of any
        assert min(np.abs(mean - color).max() for mean in means) > 20


def test_a_blank_does_not_know_whose_place_it_takes():
    assert np.unique(np.asarray(blank(24))).tolist() == [128]


def test_ones_own_pictures_are_those_of_the_folder_but_the_one_that_is_asked_about(folder):
    assert own(folder, picture(9)) == [f"{number}.png" for number in range(6)]
    assert own(folder, open_picture(folder, "2.png")) == [f"{number}.png" for number in (0, 1, 3, 4, 5)]


def test_a_picture_that_is_there_twice_counts_once(folder):
    picture(0).save(folder / "copy.png")
    assert own(folder, picture(9)) == [f"{number}.png" for number in range(6)]
    picture(1).save(folder / "2.png")
    picture(1).save(folder / "3.png")
    with pytest.raises(LapilliError, match=f"4 pictures that differ .* {LEAST} are the least"):
        own(folder, picture(9))


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_too_few_pictures_are_refused(folder, kept):
    for number in range(kept, 6):
        (folder / f"{number}.png").unlink()
    with pytest.raises(LapilliError, match=f"pictures: {kept} pictures that differ .* add some"):
        own(folder, picture(9))


@pytest.mark.parametrize("name", ["notes.txt", "half.png", "empty.jpg"])
def test_a_file_that_is_no_picture_is_named(folder, name):
    whole = (folder / "0.png").read_bytes()
    (folder / name).write_bytes({"notes.txt": b"no picture", "half.png": whole[: len(whole) // 2]}.get(name, b""))
    with pytest.raises(LapilliError, match=name):
        own(folder, picture(9))


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    picture(7).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(LapilliError, match=r"link\.png: leads out of"):
        own(folder, picture(9))


@pytest.mark.parametrize("name", ["nowhere", "0.png"])
def test_what_is_no_folder_is_refused(folder, name):
    with pytest.raises(LapilliError, match=f"{name}: no folder of pictures"):
        own(folder / name, picture(9))


def test_more_pictures_than_are_worth_their_time_are_refused_before_they_are_opened(folder):
    for number in range(MOST):
        (folder / f"more-{number}.png").write_text("no picture")
    with pytest.raises(LapilliError, match=f"{MOST + 6} files; at most {MOST}"):
        own(folder, picture(9))
