"""Locks: one holder at a time, who is named; and nobody is locked out by the dead."""

import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lapilli.core.lock import HeldError, locked

_HOLD = (
    "import os, sys, time; from pathlib import Path; from lapilli.core.lock import locked\n"
    "with locked(Path(sys.argv[1]), Path('run')):\n"
    "    print('held', flush=True)\n"
    "    {}\n"
    "    time.sleep(60)\n"
)


@contextmanager
def another_holding(file, then="pass"):
    """Another process that holds the lock, and then does something."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD.format(then), str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_refused_with_the_pid_and_the_host_of_the_first(tmp_path):
    with another_holding(tmp_path / "lock") as other:
        with pytest.raises(HeldError) as caught, locked(tmp_path / "lock", Path("runs/a")):
            pytest.fail("the block must not start")
        who = f"process {other.pid} on {platform.node()}"
        assert str(caught.value) == f"runs/a: {who} is writing there; wait until it ends, or end it"


def test_the_lock_of_a_killed_process_is_taken_and_removed(tmp_path):
    with another_holding(tmp_path / "lock") as other:
        other.kill()
        other.wait()
        assert f"process {other.pid}" in (tmp_path / "lock").read_text()
        with locked(tmp_path / "lock", tmp_path):
            assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {platform.node()}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "process 1 on elsewhere\n", "\0\xff no lock at all"])
def test_a_file_that_nobody_holds_is_no_lock(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    with locked(tmp_path / "lock", tmp_path):
        pass


def test_a_child_of_a_killed_process_holds_nothing(tmp_path):
    with another_holding(tmp_path / "lock", "os.fork() and (time.sleep(0.5), os.kill(os.getpid(), 9))") as other:
        other.wait()
        with locked(tmp_path / "lock", tmp_path):  # the child sleeps
            pass


def test_within_its_block_a_thread_may_lock_again_and_another_may_not(tmp_path):
    caught = []

    def try_it():
        try:
            with locked(tmp_path / "lock", tmp_path):
                pass
        except HeldError as error:
            caught.append(str(error))

    with locked(tmp_path / "lock", tmp_path):
        with locked(tmp_path / "lock", tmp_path):
            pass
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert f"process {os.getpid()} " in caught[0]
    try_it()
    assert len(caught) == 1


def test_folders_that_a_lock_needs_go_with_it(tmp_path):
    with locked(tmp_path / "a/b/lock", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a/b/lock", tmp_path):
        (tmp_path / "a/b/result").write_text("")
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["result"]


def test_of_many_at_once_one_is_inside(tmp_path):
    inside, most, times = [], [], []

    def work():
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                with locked(tmp_path / "run/lock", tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    times.append(1)
            except HeldError:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(times) > 10
    assert list(tmp_path.rglob("lock")) == []


def test_a_lock_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"), locked(tmp_path / "file/lock", tmp_path):
        pytest.fail("the block must not start")
