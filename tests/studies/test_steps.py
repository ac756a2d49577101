"""The driver: what is there is not made again, an interrupted study goes on, and processes come to the same."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.studies import tiny
from tests.studies.tiny import COUNT, study

from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir
from lapilli.studies.steps import Step, Task, carry_out


def squares(run):
    return {number: run.load(f"square-{number}") for number in range(1, COUNT + 1) if run.has(f"square-{number}")}


def values(run):
    return {number: row["square"] for number, row in squares(run).items()}


TRUE = {number: number**2 for number in range(1, COUNT + 1)}


def written(folder):
    return {file: file.stat().st_mtime_ns for file in (folder / "results").iterdir()}


def test_every_task_is_done_once_in_order_and_counted(tmp_path):
    told = []
    run = study(tmp_path / "run", progress=lambda *words: told.append(words))
    assert told == [("squares", done, COUNT) for done in range(COUNT + 1)]  # the sum has none to report
    assert values(run) == TRUE and run.load("sum") == sum(TRUE.values())
    before, told[:] = written(run.path), []
    study(run.path, progress=lambda *words: told.append(words))
    assert told == [("squares", COUNT, COUNT)] and written(run.path) == before


def test_two_processes_come_to_the_same(tmp_path):
    told = []
    run = study(tmp_path / "run", processes=2, progress=lambda *words: told.append(words), seconds=0.1)
    assert values(run) == TRUE and run.load("sum") == sum(TRUE.values())
    assert told == [("squares", done, COUNT) for done in range(COUNT + 1)]
    rows = squares(run)
    processes = {row["process"] for row in rows.values()}
    assert len(processes) == 2 and os.getpid() not in processes
    for process in processes:  # what the tasks hold in common is there once, for as long as its process
        mine = [row["before"] for row in rows.values() if row["process"] == process]
        assert sorted(map(len, mine)) == list(range(len(mine)))


def test_a_process_runs_nothing_that_lies_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "multiprocessing.py").write_text("raise SystemExit('a stranger has run')")
    monkeypatch.chdir(tmp_path)
    study(tmp_path / "run", processes=2)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_study_that_is_killed_goes_on_where_it_was(processes, tmp_path):
    out = tmp_path / "run"
    parent = subprocess.Popen([sys.executable, tiny.__file__, str(out), str(processes)])
    assert _within(60, lambda: len(list((out / "results").glob("square-*.json"))) >= 2)
    pool = children(parent.pid)
    parent.kill()
    parent.wait()
    assert _within(20, lambda: not any(Path("/proc", child).exists() for child in pool))
    run = RunDir.open(out)
    before = written(out)
    assert 2 <= len(squares(run)) < COUNT and not run.has("sum")
    told = []
    study(out, progress=lambda *words: told.append(words))
    assert told[0] == ("squares", len(before), COUNT)
    assert values(run) == TRUE and run.load("sum") == sum(TRUE.values())
    assert {file: when for file, when in written(out).items() if file in before} == before


def children(pid):
    """The processes that one has started, where the system says so."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return file.read_text().split() if file.is_file() else []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_is_raised_and_ends_the_others(processes, tmp_path):
    with pytest.raises(LapilliError, match=r"^3: fails$"):
        study(tmp_path / "run", processes, seconds=0.2, bad=3)
    run, here = RunDir.open(tmp_path / "run"), children(os.getpid())
    done = values(run).keys()
    assert {1, 2} <= done if processes == 1 else {1, 2} & done  # of two processes one may begin late
    assert 3 not in done and len(done) < COUNT - 1
    assert not run.has("sum") and not list((run.path / "results").glob(".*"))
    assert not [child for child in here if b"multiprocessing.spawn" in Path("/proc", child, "cmdline").read_bytes()]
    assert values(study(run.path)) == TRUE  # mended, it goes on


def test_a_process_that_is_killed_is_said(tmp_path):
    with pytest.raises(LapilliError, match="squares: a process was killed, perhaps for want of memory"):
        study(tmp_path / "run", 2, bad=-5)
    assert 5 not in values(RunDir.open(tmp_path / "run"))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_all_and_what_was_done_stays(processes, tmp_path):
    def stop(step, done, total):
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path / "run", processes, stop, seconds=0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    run = RunDir.open(tmp_path / "run")
    before = written(run.path)
    assert 2 <= len(before) < COUNT
    time.sleep(0.3)
    assert written(run.path) == before  # nobody writes on
    assert values(study(run.path)) == TRUE


def test_a_step_is_asked_for_when_those_before_it_are_done(tmp_path):
    """So it may depend on what they have made; products may be folders, too."""
    made = []

    def step(name):
        made.append(f"{name} asked for")
        return Step(name, [Task(tmp_path / name, partial(make, name))], counted=False)

    def make(name):
        (tmp_path / name).mkdir()
        made.append(f"{name} done")

    (tmp_path / "second").mkdir()
    carry_out((step(name) for name in ("first", "second", "third")), None)
    assert made == ["first asked for", "first done", "second asked for", "third asked for", "third done"]


def _within(seconds, holds):
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return found
