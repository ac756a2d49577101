"""Places to write to that are taken, lead elsewhere or cannot be written to."""

from pathlib import Path

import pytest
from tests.hostile.refusal import WEIGHTS, assert_refused, command, say, snapshot
from tests.parts import part


def test_a_link_to_weights_is_read_and_never_written_through(folder, capsys):
    (folder / "model" / WEIGHTS).unlink()
    (folder / "model" / WEIGHTS).symlink_to("../elsewhere.safetensors")
    before = snapshot(folder)
    assert say(command("convert", folder), capsys).code == 0
    assert {path: content for path, content in snapshot(folder).items() if path in before} == before
    assert not (folder / "out" / WEIGHTS).is_symlink()


def full(folder):
    (folder / "out").symlink_to(folder / "model")


def dangling(folder):
    (folder / "out").symlink_to(folder / "nowhere")


def occupied(folder):
    (folder / "out").mkdir()
    (folder / "out/mine").write_text("keep")


def a_file(folder):
    (folder / "out").write_text("keep")


@pytest.mark.parametrize("make", [full, dangling, occupied, a_file])
@pytest.mark.parametrize("which", ["convert", "build", "merge"])
def test_places_that_are_taken(make, which, folder, capsys):
    make(folder)
    out = folder / "out"
    arguments = {
        "convert": command("convert", folder),
        "build": ["model", "build", out, "--vision", part("clip"), "--language", part("llama")],
        "merge": ["model", "merge", folder / "model", out, "--base", folder / "model"],
    }[which]
    assert_refused(folder, arguments, capsys, "choose another")


def test_into_the_model_itself(folder, capsys):
    """Inside is a new folder like any other; the model is not touched, and is refused as the place itself."""
    before = snapshot(folder / "model")
    assert_refused(folder, ["model", "convert", folder / "model", folder / "model"], capsys, "not empty")
    assert say(["model", "convert", folder / "model", folder / "model/again"], capsys).code == 0
    assert {path: content for path, content in snapshot(folder / "model").items() if path in before} == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, in which nobody can write")
def test_a_place_that_cannot_be_written_to(folder, capsys):
    assert_refused(folder, ["model", "convert", folder / "model", "/proc/nowhere/out"], capsys, "cannot be written")
