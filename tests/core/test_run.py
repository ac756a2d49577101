"""Run folders: whole only when finished, and honest about it afterwards."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml

from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir


@dataclass(frozen=True)
class Recipe:
    stage: str = "align"
    out: Path = Path("runs/a")


@pytest.fixture
def run(tmp_path):
    return RunDir.create(tmp_path / "runs" / "a", Recipe(), seed=3)


def test_a_new_run_holds_its_recipe_and_its_environment(run):
    assert yaml.safe_load((run.path / "recipe.yaml").read_text()) == {"stage": "align", "out": "runs/a"}
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["seed"] == 3
    assert environment["versions"]["torch"] == version("torch")
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert not run.is_complete


def test_metrics_and_results_are_read_back_as_written(run):
    run.log(step=1, loss=2.5)
    run.log(step=np.int64(2), loss=float("nan"))
    run.save("scores", {"share": np.float32(0.5), "file": Path("a/b"), "list": (1, None)})
    run.save_arrays("maps", {"weights": np.arange(6.0).reshape(2, 3)})
    again = RunDir.open(run.path)
    assert again.metrics() == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": None}]
    assert again.load("scores") == {"share": 0.5, "file": "a/b", "list": [1, None]}
    assert again.load_arrays("maps")["weights"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_run_without_metrics_has_none(run):
    assert run.metrics() == []


def test_a_torn_last_line_is_no_metric(run):
    run.log(step=1)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.metrics() == [{"step": 1}]


def test_rewinding_to_a_checkpoint_lets_the_run_go_on_as_if_never_stopped(run):
    run.log(note="start")
    for step in (1, 2, 3):
        run.log(step=step, loss=1 / step)
    before = (run.path / "metrics.jsonl").read_text()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    run.rewind(2)
    assert [line.get("step") for line in run.metrics()] == [None, 1, 2]
    run.log(step=3, loss=1 / 3)
    assert (run.path / "metrics.jsonl").read_text() == before


def test_arrays_that_would_need_pickle_are_refused(run):
    with pytest.raises(ValueError, match="pickle"):
        run.save_arrays("odd", {"objects": np.array([{}, None], dtype=object)})
    assert not (run.path / "results").exists()


def test_a_finished_run_is_complete_verified_and_closed(run):
    run.save("scores", {"share": 0.5})
    run.finish()
    assert run.is_complete
    run.verify()
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["environment.json", "recipe.yaml", "results/scores.json"]
    assert manifest["files"]["recipe.yaml"]["bytes"] == (run.path / "recipe.yaml").stat().st_size
    for change in (lambda: run.log(step=1), lambda: run.save("more", {}), lambda: run.rewind(0), run.finish):
        with pytest.raises(LapilliError, match="the run has finished, and its files no longer change"):
            change()


def test_the_manifest_knows_a_changed_and_a_missing_file(run):
    run.save("scores", {"share": 0.5})
    run.save("more", {})
    run.finish()
    file = run.path / "results" / "scores.json"
    file.write_text(file.read_text().replace("5", "6"))
    (run.path / "results" / "more.json").unlink()
    with pytest.raises(LapilliError, match=r"since the run finished: results/more.json, results/scores.json; run it"):
        run.verify()
    assert run.is_complete


def test_a_run_killed_in_the_middle_is_not_complete_and_keeps_what_it_logged(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from lapilli.core.run import RunDir\n"
        "run = RunDir.create(Path(sys.argv[1]), {'stage': 'align'}, seed=0)\n"
        "run.log(step=1, loss=0.5)\n"
        "run.save('scores', {'share': 1})\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run.finish()\n"
    )
    path = tmp_path / "run"
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -signal.SIGKILL
    killed = RunDir.open(path)
    assert not killed.is_complete
    assert killed.metrics() == [{"step": 1, "loss": 0.5}]
    assert killed.load("scores") == {"share": 1}
    with pytest.raises(LapilliError, match="the run has not finished"):
        killed.verify()


def test_a_manifest_that_cannot_be_written_leaves_the_run_unfinished(run, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(LapilliError, match=r"manifest.json: cannot be written: No space left on device; free some"):
            run.finish()
    assert not run.is_complete
    run.finish()
    run.verify()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a device of Linux")
def test_logging_on_a_full_disk_names_the_file_and_the_remedy(run):
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(LapilliError, match=r"metrics.jsonl: cannot be written: No space left on device; free some"):
        run.log(step=1)


def test_a_run_never_begins_in_a_used_folder(run, tmp_path):
    with pytest.raises(LapilliError, match="the folder exists and is not empty"):
        RunDir.create(run.path, Recipe(), seed=0)
    with pytest.raises(LapilliError, match=r"not a run folder: it has no recipe\.yaml"):
        RunDir.open(tmp_path)


def test_a_result_that_is_not_there_is_named_with_those_that_are(run):
    run.save("scores", {})
    with pytest.raises(LapilliError, match=r"results/score.json: no such result; the run has scores"):
        run.load("score")
    with pytest.raises(LapilliError, match=r"results/maps.npz: no such result; the run has none"):
        run.load_arrays("maps")


def test_what_was_begun_is_gone_on_with_by_the_same_recipe_alone(tmp_path):
    recipe = {"learning_rate": 0.001}
    RunDir.begin(tmp_path / "run", recipe, 0).save("scores", [1])
    again = RunDir.begin(tmp_path / "run", recipe, 0)
    assert again.load("scores") == [1]
    again.finish()
    assert RunDir.begin(tmp_path / "run", recipe, 0).is_complete
    with pytest.raises(LapilliError, match=r"another recipe \(learning_rate\) is there; choose another folder"):
        RunDir.begin(tmp_path / "run", {"learning_rate": 0.01}, 0)


@pytest.mark.parametrize("text", ["learning_rate: 0.01\n", "[", "\x00"])
def test_a_run_of_another_recipe_is_left_as_it_is(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)  # killed as soon as it had begun: without environment.json
    with pytest.raises(LapilliError, match=r"recipe"):
        RunDir.begin(tmp_path, {"learning_rate": 0.001}, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("error", [LapilliError("no"), KeyboardInterrupt()])
def test_what_breaks_off_before_a_result_was_never_begun(error, tmp_path):
    run = RunDir.begin(tmp_path / "run", {}, 0)
    with pytest.raises(type(error)), run.or_nothing():
        raise error
    assert not run.path.exists()


def test_what_breaks_off_after_a_result_keeps_it(tmp_path):
    run = RunDir.begin(tmp_path / "run", {}, 0)
    with pytest.raises(LapilliError), run.or_nothing():
        run.save("scores", [1])
        raise LapilliError("no")
    assert RunDir.open(run.path).load("scores") == [1]


_BEGIN = (
    "import os, signal, sys; from pathlib import Path; from lapilli.core.run import RunDir\n"
    "{}\n"
    "with RunDir.alone(Path(sys.argv[1])):\n"
    "    print('alone', flush=True)\n"
    "    RunDir.create(Path(sys.argv[1]), {{'stage': 'align'}}, seed=0)\n"
    "    sys.stdin.read()\n"
)


def _killed_as_it_begins(path, change):
    assert subprocess.run([sys.executable, "-c", _BEGIN.format(change), str(path)]).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)", "before recipe.yaml"),
        ("import lapilli.core.run as r; r._environment = lambda _: os.kill(os.getpid(), signal.SIGKILL)", "after it"),
    ],
)
def test_a_run_killed_as_it_begins_is_not_in_the_way_of_the_next(tmp_path, change, left):
    path = tmp_path / "run"
    _killed_as_it_begins(path, change)
    assert (path / "recipe.yaml").exists() == (left == "after it")
    with RunDir.alone(path):
        RunDir.begin(path, {"stage": "align"}, 0).finish()
    assert sorted(file.name for file in path.iterdir()) == ["environment.json", "manifest.json", "recipe.yaml"]


def test_only_one_process_writes_a_run(tmp_path):
    path = tmp_path / "run"
    other = subprocess.Popen(
        [sys.executable, "-c", _BEGIN.format(""), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "alone\n"
    with (
        pytest.raises(LapilliError, match=rf"^{path}: process {other.pid} on \S+ is writing there; "),
        RunDir.alone(path),
    ):
        pytest.fail("the block must not start")
    other.communicate()
    with RunDir.alone(path):
        RunDir.begin(path, {"stage": "align"}, 0).finish()
        assert ".lock" not in json.loads((path / "manifest.json").read_text())["files"]
    RunDir.open(path).verify()


def test_a_run_alone_sweeps_what_was_left_and_leaves_nothing_itself(tmp_path):
    (tmp_path / "run/results").mkdir(parents=True)
    (tmp_path / "run/results/.case.json.0123abcd.part").write_text("half")
    (tmp_path / "run/recipe.yaml").write_text("{}")
    with RunDir.alone(tmp_path / "run"):
        run = RunDir.create(tmp_path / "run/a", {}, 0)
    assert list((tmp_path / "run/results").iterdir()) == []
    (tmp_path / "file").write_text("")
    for taken in (tmp_path / "file", run.path / "recipe.yaml"):
        with pytest.raises(LapilliError, match="a file of that name exists"), RunDir.alone(taken):
            pytest.fail("the block must not start")
    with RunDir.alone(tmp_path / "new/run"):
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["photo.jpg", "manifest.json", "recipe.yaml.bak", "recipe.yaml/x", "results/x.json"])
def test_nothing_is_swept_in_a_folder_that_is_no_run(tmp_path, name):
    kept = [tmp_path / name, *(tmp_path / one for one in (".mine.0123abcd.part", "a/.mine.0123abcd.part", "a/.x.lock"))]
    for file in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    with RunDir.alone(tmp_path):
        pass
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_what_a_run_killed_before_its_recipe_was_written_left_is_swept(tmp_path):
    for name in (".recipe.yaml.0123abcd.part", ".lock"):
        (tmp_path / name).write_text("half")
    with RunDir.alone(tmp_path):
        RunDir.create(tmp_path, {}, 0)
    assert {file.name for file in tmp_path.iterdir()} == {"recipe.yaml", "environment.json"}


def test_a_run_is_removed_from_a_folder_that_is_linked_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with RunDir.alone(tmp_path / "run"):
        run = RunDir.create(tmp_path / "run", {}, 0)
        run.save("scores", {})
        run.log(step=1)
        run.remove()
    assert list((tmp_path / "run").iterdir()) == []
