import base64
import io

import numpy as np
import pytest
from PIL import Image
from tests.report.scorecard.fake import fake_scorecard

from lapilli.report.scorecard.card import read_card
from lapilli.report.scorecard.maps import examples, overlay

FOR, AGAINST = [213, 94, 0], [0, 114, 178]


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_a_pixel_a_cell_in_the_color_of_its_sign_as_opaque_as_its_share_of_the_largest():
    found = pixels(overlay(np.array([[1.0, -4.0, 0.0], [2.0, 4.0, 0.01]])))
    assert found.shape == (2, 3, 4)
    assert found[1, 1, :3].tolist() == FOR and found[0, 1, :3].tolist() == AGAINST
    assert found[1, 1, 3] == found[0, 1, 3] == round(0.82 * 255)
    assert found[1, 0, 3] == pytest.approx(found[1, 1, 3] / 2, abs=1)
    assert found[0, 0, 3] == pytest.approx(found[1, 1, 3] / 4, abs=1)
    assert found[0, 2, 3] == found[1, 2, 3] == 0


def test_units_do_not_matter_and_an_empty_map_shows_the_picture():
    weights = np.random.default_rng(0).normal(size=(6, 6))
    assert overlay(weights) == overlay(1e-6 * weights)
    assert not pixels(overlay(np.zeros((3, 3))))[..., 3].any()


def test_ours_come_first_then_the_best_on_the_picture(tmp_path):
    told = fake_scorecard()
    (found, *_) = examples(read_card(told), tmp_path)
    tiles = [*found.strip, *found.rest]
    ours = {row["name"] for row in told["methods"] if row["ours"]}
    gaps = told["examples"][0]["gaps"]
    names = [tile.method.name for tile in tiles]
    assert set(names[: len(ours)]) == ours and len(names) == 28
    for part in (names[: len(ours)], names[len(ours) :]):
        assert part == sorted(part, key=gaps.get, reverse=True)
    where = np.argmax(np.abs(told["examples"][0]["maps"][names[0]]))
    assert tiles[0].words.endswith(f"in row {where // 6 + 1}, column {where % 6 + 1}")


def test_a_map_of_another_size_is_left_out(tmp_path):
    told = fake_scorecard()
    told["examples"][0]["maps"]["direct"] = [1.0] * 35
    found = examples(read_card(told), tmp_path)[0]
    assert "direct" not in [tile.method.name for tile in (*found.strip, *found.rest)]
    assert len([*found.strip, *found.rest]) == 27


def test_a_picture_that_is_gone_leaves_the_maps(tmp_path):
    told = fake_scorecard()
    told["examples"][0]["picture"] = "gone.png"
    found = examples(read_card(told), tmp_path)[0]
    assert found.style == "" and len(found.strip) == 6
