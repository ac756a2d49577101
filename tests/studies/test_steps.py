"""Steps are taken once, in order, and an interrupted walk goes on where it was."""

import time

import pytest

from lapilli.studies.steps import Step, times, walk


@pytest.fixture
def taken():
    return []


def steps(folder, taken, interrupted=None):
    """Three steps that each leave a file; the one named `interrupted` is stopped before it does."""

    def make(name):
        def run():
            time.sleep(0.03)
            taken.append(name)
            if name == interrupted:
                raise KeyboardInterrupt
            (folder / name).write_text(name)

        return Step(name, folder / name, run, "align" if name == "second" else None)

    return [make(name) for name in ("first", "second", "third")]


def test_every_step_is_taken_once_and_announced(tmp_path, taken):
    told = []
    walk(steps(tmp_path, taken), tmp_path / "log.json", told.append)
    walk(steps(tmp_path, taken), tmp_path / "log.json", told.append)
    assert taken == ["first", "second", "third"]
    assert told[:3] == ["[1/3] first", "[2/3] second", "[3/3] third"]
    assert told[3:] == [f"{line}: done already" for line in told[:3]]


def test_an_interrupted_walk_goes_on_with_the_step_it_was_in(tmp_path, taken):
    log = tmp_path / "log.json"
    with pytest.raises(KeyboardInterrupt):
        walk(steps(tmp_path, taken, "second"), log, str)
    assert [row["name"] for row in times(log)] == ["first", "second"]
    first = times(log)[0]
    walk(steps(tmp_path, taken), log, str)
    assert taken == ["first", "second", "second", "third"]
    assert times(log)[0] == first


def test_the_log_adds_up_all_attempts_and_names_the_stage(tmp_path, taken):
    log, attempts = tmp_path / "log.json", 4
    assert times(log) == []
    for _ in range(attempts - 1):
        with pytest.raises(KeyboardInterrupt):
            walk(steps(tmp_path, taken, "second"), log, str)
    walk(steps(tmp_path, taken), log, str)
    rows = times(log)
    assert [row["name"] for row in rows] == ["first", "second", "third"]
    assert [row.get("stage") for row in rows] == [None, "align", None]
    assert rows[1]["seconds"] >= attempts * 0.03
    assert all(row["seconds"] >= 0.03 for row in rows)


def test_a_product_that_is_there_already_is_no_work_and_takes_no_time(tmp_path, taken):
    (tmp_path / "second").mkdir()
    walk(steps(tmp_path, taken), tmp_path / "log.json", str)
    assert taken == ["first", "third"]
    assert [row["name"] for row in times(tmp_path / "log.json")] == ["first", "third"]
