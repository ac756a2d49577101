"""Many calls at once, against a real server: they begin one after the other, and wait for no disk."""

import asyncio
import os
import time

import pytest
from tests.core.llm.test_asking import call
from tests.llm_server import Server

from lapilli.core.errors import LapilliError
from lapilli.core.llm import journal as journals
from lapilli.core.llm.asking import Asker
from lapilli.core.llm.budget import Budget
from lapilli.core.llm.endpoint import Endpoint
from lapilli.core.llm.journal import Journal
from lapilli.core.llm.many import do_all, wait_for
from lapilli.core.llm.pace import Pace


@pytest.fixture
def server():
    with Server(lambda messages: "text") as server:
        yield server


def ask_all(server, path, count, workers):
    async def run():
        asker = Asker(Endpoint(server.url, 60), Journal(path), Budget(), Pace(workers))
        try:
            return await do_all([call(number) for number in range(count)], asker.ask, asker, workers, lambda done: None)
        finally:
            await asker.endpoint.close()

    return asyncio.run(run())


def test_the_first_calls_begin_one_after_the_other(tmp_path):
    """Begun together, calls of one duration would end together for good, and each would wait for all others' turns."""
    times = []

    async def run():
        asker = Asker(None, Journal(tmp_path / "j"), Budget(), Pace(12))

        async def do(job):
            times.append(time.monotonic() - began)
            await asyncio.sleep(0.2)

        began = time.monotonic()
        await do_all(range(12), do, asker, 12, lambda done: None)

    asyncio.run(run())
    assert len(times) == 12 and all(at >= 0.99 * number * 0.005 for number, at in enumerate(times))


def test_others_go_on_while_the_disk_is_told(server, tmp_path, monkeypatch):
    spans = []

    def slowly(file):
        began = time.monotonic()
        time.sleep(0.5)
        os.fsync(file)
        spans.append((began, time.monotonic()))

    monkeypatch.setattr(journals, "_LINES", 20)
    monkeypatch.setattr(journals, "_SYNC", slowly)
    server.seconds = 0.05
    assert len(ask_all(server, tmp_path / "j", 60, 4)) == 60
    assert len(spans) >= 2
    began, ended = spans[0]
    assert sum(began < request.at < ended for request in server.log) >= 3


def test_a_disk_that_fails_ends_the_run(server, tmp_path, monkeypatch):
    def fail(file):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journals, "_LINES", 3)
    monkeypatch.setattr(journals, "_SYNC", fail)
    with pytest.raises(LapilliError, match="j: cannot be written: Input/output error"):
        ask_all(server, tmp_path / "j", 30, 2)
    assert len(server.log) <= 6


def test_work_is_waited_for_where_a_loop_runs_too_as_in_a_notebook():
    async def work(result):
        await asyncio.sleep(0)
        if result is None:
            raise ValueError("nothing")
        return result

    async def notebook():
        with pytest.raises(ValueError, match="nothing"):
            wait_for(work(None))
        return wait_for(work(2))

    assert (wait_for(work(1)), asyncio.run(notebook())) == (1, 2)
