"""The small inputs that were found to fail, given to the commands; those of adapters have a test of their own."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.lessons import recipe
from tests.parts import joined

from lapilli.cli import run
from lapilli.core.recipe import dump
from lapilli.data.pictures import open_picture

CASES = Path(__file__).parents[3] / "shared/cases"
PICTURES = CASES / "pictures"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES}: no cases there")

ROWS = {
    "absolute-path-in-a-late-row": (30, "'/data/p0.png': an absolute path"),
    "align-with-text-only-rows": (10, "no picture, from which alone the connector learns"),
    "control-token-in-an-answer": (0, "the answer holds the control token '<s>'"),
    "images-key-no-mark": (0, "0 <image> in the questions for 1 image"),
    "windows-path": (0, "no such file: written with \\ as on Windows"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_named_by_validate_and_refused_by_train_before_its_first_step(name, tmp_path, capsys):
    file, (row, message) = CASES / f"data/{name}.json", ROWS[name]
    options = ["--images", str(PICTURES), "--stage", "align", "--model", str(joined("clip", "llama")), "--json"]
    assert run(["data", "validate", str(file), *options]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["row"] == row and message in problem["message"]
    (tmp_path / "recipe.yaml").write_text(dump(recipe(tmp_path, stage="align")))
    data = [f"data.file={file}", f"data.images={PICTURES}"]
    assert run(["train", str(tmp_path / "recipe.yaml"), *(word for one in data for word in ("--set", one))]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_float_picture_keeps_its_shades():
    seen = np.asarray(open_picture(PICTURES, "float-0-to-1.tif"))
    assert seen.min() < 115 and seen.max() > 205 and np.ptp(seen.reshape(-1, 3), axis=1).max() == 0


@pytest.mark.parametrize("name", ["red-hidden-under-transparency.png", "alpha.png"])
def test_what_is_transparent_is_white(name):
    """Both are red under their first pixel, which no viewer shows."""
    assert open_picture(PICTURES, name).getpixel((0, 0)) == (255, 255, 255)
