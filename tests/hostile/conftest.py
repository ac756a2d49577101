"""A whole model among other files."""

import shutil

import pytest
from tests.hostile.refusal import WEIGHTS
from tests.parts import joined, picture


@pytest.fixture
def folder(tmp_path):
    """A whole model, a picture to ask about, and a file beside them that nobody may touch."""
    shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    picture(5, 40, 30).save(tmp_path / "picture.png")
    shutil.copy(tmp_path / "model" / WEIGHTS, tmp_path / "elsewhere.safetensors")
    return tmp_path
