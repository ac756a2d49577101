"""The log of a journey's steps, and what is announced of them."""

import time
from functools import partial

import pytest

from lapilli.studies.quickstart import Journey, journey
from lapilli.studies.quickstart.times import times
from lapilli.studies.steps import carry_out


@pytest.fixture
def out(tmp_path):
    return Journey(tmp_path)


def walk(out, stopped=None, tell=str):
    """Three steps that each leave a file; the one named `stopped` is interrupted before it does."""

    def make(name):
        time.sleep(0.03)
        if name == stopped:
            raise KeyboardInterrupt
        (out.out / name).write_text(name)

    stages = {"first": None, "second": "align", "third": None}
    steps = [journey._step(out, name, name, partial(make, name), stage) for name, stage in stages.items()]
    carry_out(journey._announced(steps, tell), None)


def test_every_step_is_announced_when_its_turn_has_come(out):
    told = []
    with pytest.raises(KeyboardInterrupt):
        walk(out, "second", told.append)
    assert told == ["[1/3] first", "[2/3] second"]
    walk(out, None, told.append)
    assert told[2:] == ["[1/3] first: done already", "[2/3] second", "[3/3] third"]


def test_the_log_adds_up_all_attempts_and_names_the_stage(out):
    attempts = 4
    assert times(out.log) == []
    for _ in range(attempts - 1):
        with pytest.raises(KeyboardInterrupt):
            walk(out, "second")
    first = times(out.log)[0]
    walk(out)
    rows = times(out.log)
    assert rows[0] == first and [row["name"] for row in rows] == ["first", "second", "third"]
    assert [row.get("stage") for row in rows] == [None, "align", None]
    assert rows[1]["seconds"] >= attempts * 0.03
    assert all(row["seconds"] >= 0.03 and row["peak_memory_bytes"] > 2**20 for row in rows)


def test_a_product_that_is_there_already_takes_no_time(out):
    (out.out / "second").mkdir()
    walk(out)
    assert [row["name"] for row in times(out.log)] == ["first", "third"]
