"""Whole or absent: files and folders under failures, real ones wherever the system can be made to fail."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lapilli.core.errors import LapilliError
from lapilli.core.files import new_folder, sweep, write_atomically
from lapilli.core.lock import claim

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a device of Linux")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_text_is_utf8_bytes_are_kept_and_parents_are_made(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "text", "lapillo – é\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff\r\n")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "lapillo – é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff\r\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "bytes"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    write_atomically(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    file = tmp_path / "result.json"
    write_atomically(file, "old")
    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(LapilliError) as caught:
        write_atomically(file, "new")
    assert str(caught.value) == (
        f"{file}: cannot be written: No space left on device; free some space or choose another place"
    )
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_process_killed_while_writing_leaves_the_old_file_whole(tmp_path):
    file = tmp_path / "result.json"
    write_atomically(file, "old")
    program = (
        "import os, signal, sys; from pathlib import Path; from lapilli.core.files import write_atomically\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), 'new' * 100_000)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(file)]).returncode == -signal.SIGKILL
    assert file.read_text() == "old"


def test_a_place_that_cannot_be_written_is_named_with_its_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LapilliError, match=r"file/below: cannot be written: .*; choose another place"):
        write_atomically(tmp_path / "file" / "below", "x")


def test_a_folder_appears_when_it_is_finished(tmp_path):
    target = tmp_path / "deep" / "model"
    with new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("w")
        assert not target.exists()
    assert (target / "sub" / "weights").read_text() == "w"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, FileNotFoundError])
def test_a_folder_vanishes_with_the_error_that_ends_its_block(tmp_path, failure):
    with pytest.raises(failure), new_folder(tmp_path / "model") as folder:
        (folder / "half").write_text("w")
        raise failure
    assert list(tmp_path.iterdir()) == []


@needs_dev_full
def test_a_disk_that_fills_up_inside_the_block_is_explained(tmp_path):
    with (
        pytest.raises(LapilliError, match=r"model: cannot be written: No space left on device; free some space"),
        new_folder(tmp_path / "model"),
        Path("/dev/full").open("w") as disk,
    ):
        disk.write("weights")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken_over(tmp_path):
    (tmp_path / "model").mkdir()
    with new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("w")
    assert (tmp_path / "model" / "weights").read_text() == "w"


def test_what_is_there_already_is_never_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LapilliError, match="model: the folder exists and is not empty"), new_folder(tmp_path / "model"):
        pytest.fail("the block must not start")
    with pytest.raises(LapilliError, match="file: a file of that name exists"), new_folder(tmp_path / "file"):
        pytest.fail("the block must not start")
    assert (tmp_path / "model" / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "..", "x/..", "/"])
def test_the_folder_in_which_one_is_cannot_be_made_anew(tmp_path, monkeypatch, name):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    with pytest.raises(LapilliError, match="name a new one"), new_folder(Path(name)):
        pass
    assert [file.name for file in tmp_path.rglob("*")] == ["x"]


def test_a_folder_that_is_being_written_is_refused_with_who_writes_it(tmp_path):
    said = []

    def write():
        try:
            with new_folder(tmp_path / "model"):
                pytest.fail("the block must not start")
        except LapilliError as error:
            said.append(str(error))

    with new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("w")
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert f"model: process {os.getpid()} on " in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["model", "a.b.c", "a [x] *"])
def test_what_a_killed_process_left_of_a_folder_goes_when_it_is_written_again(tmp_path, name):
    program = (
        "import os, sys; from pathlib import Path; from lapilli.core.files import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('h')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / name)])
    others = {".other.0123abcd.part", f".{name}.part", f".{name}.0123abcg.part"}
    for other in others:
        (tmp_path / other).mkdir()
    assert len(list(tmp_path.iterdir())) == 5  # with the half and its lock
    with new_folder(tmp_path / name) as folder:
        (folder / "weights").write_text("w")
    assert {path.name for path in tmp_path.iterdir()} == {name, *others}


def test_only_what_nobody_writes_any_more_is_swept(tmp_path):
    left = [tmp_path / ".file.0123abcd.part", tmp_path / "deep/.file.txt.0123abcd.part", tmp_path / "deep/.x.lock"]
    for file in left:
        file.parent.mkdir(exist_ok=True)
        file.write_text("half")
    (tmp_path / "deep/.model.0123abcd.part/sub").mkdir(parents=True)
    kept = [tmp_path / ".hidden", tmp_path / "a.part", tmp_path / "deep/.xpart", tmp_path / ".lock"]
    for file in kept:
        file.write_text("mine")
    with new_folder(tmp_path / "now") as folder:  # of this thread; another one sweeps
        (folder / ".inner.0123abcd.part").write_text("half")
        writing = tmp_path / ".result.0123abcd.part"
        with writing.open("xb") as opened:
            claim(opened.fileno())
            thread = threading.Thread(target=sweep, args=(tmp_path,))
            thread.start()
            thread.join()
            assert writing.exists()
            assert folder.exists()
        sweep(tmp_path / "deep")
    sweep(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc, in which Linux says which file is synced")
def test_what_has_its_name_is_on_the_disk(tmp_path, monkeypatch):
    """Files before they are renamed, folders after."""
    done = []
    sync, replace = os.fsync, os.replace

    def synced(opened):
        done.append(f"sync {Path(f'/proc/self/fd/{opened}').readlink().name}")
        sync(opened)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    write_atomically(tmp_path / "result", "x")
    first, *rest = done
    assert first.startswith("sync .result.")
    assert rest == ["rename", f"sync {tmp_path.name}"]
    done.clear()
    with new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("w")
    assert sorted(done[:2])[1] == "sync weights"
    assert done[2:] == ["rename", f"sync {tmp_path.name}"]


def test_a_great_many_files_reach_the_disk_at_once(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "sync", lambda: done.append("sync"))
    with new_folder(tmp_path / "scenes") as folder:
        for number in range(101):
            (folder / str(number)).write_text("")
    assert done == ["sync"]
