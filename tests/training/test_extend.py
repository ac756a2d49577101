"""A run with a later end: the same as if it had had it from the beginning, where its rates do not depend on its end."""

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.lessons import recipe, write_lesson

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.manifest import MANIFEST
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.model.llava import load
from lapilli.report.training.read import read_runs
from lapilli.training import loop, trainer
from lapilli.training.loop import train
from lapilli.training.recipe import TrainRecipe, Validation
from lapilli.training.tuning import LlmTuning, Lora


class _KilledError(BaseException):
    """Ends a run as a kill does: no checkpoint is left by it."""


def _die(*_, **__):
    raise _KilledError


def _weights(run):
    (file,) = (run.path / "model").glob("*model.safetensors")  # of a model, or of an adapter
    return load_file(file)


def _assert_same(one, other):
    a, b = _weights(one), _weights(other)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    figures = ("step", "epoch", "loss", "grad_norm", "learning_rate", "validation_loss")
    assert [[line.get(name) for name in figures] for line in one.metrics()] == [
        [line.get(name) for name in figures] for line in other.metrics()
    ]


def _bytes(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _steady(folder, **changes):
    """A recipe of an epoch of four steps, whose rates stay, and that keeps its last checkpoint."""
    return recipe(folder, schedule="constant", warmup=0.0, epochs=1.0, keep_checkpoint=True, **changes)


def _extended(wanted, **end):
    longer = replace(wanted, **{"epochs": None, "max_steps": None, **end})
    return train(longer, resume=True, extend=True, progress=False)


def _straight(wanted, folder, **end):
    return train(replace(wanted, **{"epochs": None, "out": folder / "straight", **end}), progress=False)


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, {"epochs": 2.5}),
        ({"save_every": 3}, {"max_steps": 7}),
        ({"accumulate": 2, "batch_size": 2}, {"epochs": 2.0}),
    ],
)
def test_a_finished_run_becomes_the_longer_one(tmp_path, changes, end):
    wanted = _steady(tmp_path, **changes)
    assert train(wanted, progress=False).load("training")["steps"] == 4
    run = _extended(wanted, **end)
    _assert_same(run, _straight(wanted, tmp_path, **end))
    run.verify()
    assert len(list(run.path.glob("checkpoints/*"))) == 1
    (extension,) = run.load("extended")
    assert extension == {"after_step": 4, "from": 4, "to": run.load("training")["steps"]}
    assert run.load("start")["steps"] == run.load("training")["steps"]
    assert "extended from 4 to" in load(run.path / "model").card.notes[-1]


def test_it_is_extended_again_and_again(tmp_path):
    wanted = _steady(tmp_path)
    train(wanted, progress=False)
    _extended(wanted, epochs=2.0)
    run = _extended(replace(wanted, epochs=2.0), epochs=3.0)
    _assert_same(run, _straight(wanted, tmp_path, epochs=3.0))
    assert [extension["to"] for extension in run.load("extended")] == [8, 12]


def test_so_does_one_with_updates_of_low_rank_and_the_best_of_its_weights(tmp_path):
    data = replace(write_lesson(tmp_path / "lesson", 24), validation_share=0.3)
    tuned = {"llm": LlmTuning(mode="lora"), "lora": Lora(rank=2)}
    wanted = _steady(tmp_path, data=data, validation=Validation(every=2, keep="best", samples=0), **tuned)
    train(wanted, progress=False)
    _assert_same(_extended(wanted, epochs=2.0), _straight(wanted, tmp_path, epochs=2.0))


def test_an_unfinished_run_is_extended_from_its_last_checkpoint(tmp_path):
    wanted = replace(_steady(tmp_path, save_every=1), epochs=2.0, keep_checkpoint=False)
    wanted = replace(wanted, validation=Validation(every=5))
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    run = _extended(wanted, epochs=3.0)
    _assert_same(run, _straight(wanted, tmp_path, epochs=3.0))
    assert run.load("extended") == [{"after_step": 4, "from": 8, "to": 12}]
    assert not (run.path / "checkpoints").exists()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_from_there_on_the_rates_are_those_of_the_longer_schedule(tmp_path, schedule):
    wanted = replace(_steady(tmp_path), schedule=schedule)
    train(wanted, progress=False)
    run, straight = _extended(wanted, epochs=2.0), _straight(wanted, tmp_path, epochs=2.0)
    rates, longer = ([line["learning_rate"] for line in one.metrics()] for one in (run, straight))
    assert rates[4:] == longer[4:]
    assert rates[:4] != longer[:4]
    assert rates[4] > rates[3]  # the rates rise again, which is why nobody extends a run by accident
    first, resumed = ([line["loss"] for line in one.metrics()][4:6] for one in (run, straight))
    assert first != resumed


@pytest.mark.parametrize("at", ["reopen", "remove", "note", "size", "recipe", "fit"])
def test_killed_at_any_point_it_is_extended_all_the_same(tmp_path, monkeypatch, at):
    wanted = _steady(tmp_path)
    train(wanted, progress=False)
    owner, name = {
        "reopen": (RunDir, "reopen"),
        "remove": (loop.shutil, "rmtree"),
        "note": (loop, "note_extension"),
        "size": (loop, "_save_size"),
        "recipe": (RunDir, "replace_recipe"),
        "fit": (loop, "_trainer"),
    }[at]
    monkeypatch.setattr(owner, name, _die)
    with pytest.raises(_KilledError):
        _extended(wanted, epochs=2.0)
    monkeypatch.undo()
    run = _extended(wanted, epochs=2.0)
    _assert_same(run, _straight(wanted, tmp_path, epochs=2.0))
    assert len(run.load("extended")) == 1


@pytest.mark.parametrize("at", ["reopen", "remove", "note", "recipe"])
def test_killed_before_it_had_its_later_end_it_may_be_finished_as_it_was(tmp_path, monkeypatch, at):
    wanted = _steady(tmp_path)
    before = _weights(train(wanted, progress=False))
    owner, name = {
        "reopen": (RunDir, "replace_recipe"),
        "remove": (loop.shutil, "rmtree"),
        "note": (loop, "note_extension"),
        "recipe": (RunDir, "replace_recipe"),
    }[at]
    monkeypatch.setattr(owner, name, _die)
    with pytest.raises(_KilledError):
        _extended(wanted, epochs=2.0)
    monkeypatch.undo()
    after = _weights(train(wanted, resume=True, progress=False))
    assert all(torch.equal(before[name], after[name]) for name in before)


def _killed_at_every_event(monkeypatch, work, again):
    """Call `work` in fresh states that `again` makes, ended before its first, second, ... change of a file."""
    left, changes = [0], ("replace", "unlink", "rmdir", "mkdir")

    def counted(name):
        change = getattr(os, name)

        def counting(*words, **more):
            if not left[0]:
                raise _KilledError
            left[0] -= 1
            return change(*words, **more)

        return counting

    for number in range(100):
        again()
        left[0] = number
        with monkeypatch.context() as patch, suppress(_KilledError):
            for name in changes:
                patch.setattr(os, name, counted(name))
            work()
            return
        yield


def test_whatever_it_is_killed_before_its_folder_says_what_is_true(tmp_path, monkeypatch):
    wanted = _steady(tmp_path)
    run = train(wanted, progress=False)
    shutil.copytree(run.path, tmp_path / "finished")
    whole = {file.relative_to(tmp_path / "finished"): text for file, text in _bytes(tmp_path / "finished").items()}
    longer = replace(wanted, epochs=2.0)
    setup, same = (loop._prepare(one, None, False) for one in (longer, wanted))

    def again():
        shutil.rmtree(run.path)
        shutil.copytree(tmp_path / "finished", run.path)

    kills = 0
    for _ in _killed_at_every_event(monkeypatch, lambda: loop._reopen(setup, False), again):
        kills += 1
        with RunDir.alone(run.path):
            pass  # as the next process begins
        is_longer = read_recipe(run.path / "recipe.yaml", [], TrainRecipe).epochs == 2.0
        if (run.path / "model").exists():
            now = {file.relative_to(run.path): text for file, text in _bytes(run.path).items()}
            assert not is_longer and {**whole, **now} == whole
            assert whole.keys() - now.keys() <= {Path(MANIFEST)}
        else:
            loop._reopen(setup if is_longer else same, False)
            assert run.load("start")["steps"] == (8 if is_longer else 4)
            assert run.has("extended") == is_longer
            assert not run.is_complete
    assert kills >= 8


def test_a_run_that_is_killed_without_its_manifest_or_its_checkpoint_keeps_its_model(tmp_path):
    wanted = replace(_steady(tmp_path), keep_checkpoint=False)
    run = train(wanted, progress=False)
    run.reopen()  # as a kill right before the manifest leaves it
    before = _bytes(run.path)
    for end in ({"epochs": 2.0}, {"max_steps": 9}, {"max_steps": 4}):
        with pytest.raises(LapilliError, match="finished without a checkpoint to go on from"):
            _extended(wanted, **end)
    (run.path / "checkpoints/checkpoint-4").mkdir(parents=True)  # half of one, as a kill of its removal leaves it
    with pytest.raises(LapilliError, match="no whole checkpoint to go on from"):
        _extended(wanted, epochs=2.0)
    assert _bytes(run.path) == before
    _extended(wanted, epochs=1.0).verify()  # its own end: it lacks its manifest alone


def test_one_that_an_older_release_began_is_extended(tmp_path):
    wanted = replace(_steady(tmp_path, save_every=1), epochs=2.0, validation=Validation(every=5))
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    file = wanted.out / "recipe.yaml"
    fields = yaml.safe_load(file.read_text())
    del fields["keep_checkpoint"], fields["lora"]["bits"]
    file.write_text(yaml.safe_dump(fields))
    (wanted.out / "results/start.json").unlink()
    run = _extended(wanted, epochs=3.0)
    assert run.load("training")["steps"] == run.load("start")["steps"] == 12
    assert "extended from 8 to 12 steps" in load(run.path / "model").card.notes[-1]


def test_a_model_that_is_a_link_is_replaced_and_what_it_names_stays(tmp_path):
    wanted = _steady(tmp_path)
    run = train(wanted, progress=False)
    elsewhere = (run.path / "model").rename(tmp_path / "elsewhere")
    (run.path / "model").symlink_to(elsewhere)
    before = _bytes(elsewhere)
    assert _extended(wanted, epochs=1.5).load("training")["steps"] == 6
    assert _bytes(elsewhere) == before and not (run.path / "model").is_symlink()


def test_a_run_whose_folder_is_named_by_a_link_or_was_moved_goes_on(tmp_path):
    wanted = _steady(tmp_path)
    run = train(wanted, progress=False)
    (tmp_path / "link").symlink_to(run.path)
    assert _extended(replace(wanted, out=tmp_path / "link"), epochs=1.5).load("training")["steps"] == 6
    run.verify()
    moved = run.path.rename(tmp_path / "moved")
    assert _extended(replace(wanted, epochs=1.5, out=moved), epochs=1.75).load("training")["steps"] == 7
    assert read_recipe(moved / "recipe.yaml", [], TrainRecipe).out == moved


def test_its_page_says_that_it_was_extended(tmp_path):
    wanted = _steady(tmp_path)
    train(wanted, progress=False)
    run = _extended(wanted, epochs=1.5)
    (read,) = read_runs([run.path])
    assert read.state.sentence == "It finished after 6 steps. It was extended from 4 to 6 steps after step 4."
    assert read.start.steps == read.steps == 6


def test_a_checkpoint_that_the_disk_has_no_room_for_costs_no_trained_step(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    wanted = _steady(tmp_path)
    monkeypatch.setattr(trainer.torch, "save", full)
    run = train(wanted, progress=False)
    run.verify()
    assert "the checkpoint of step 4, the last, cannot be written" in capsys.readouterr().err
    assert not list(run.path.glob("checkpoints/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0.5}, r"--extend: 2 steps, but the run at .* has 4; name a later end"),
        ({"epochs": 1.0}, r"--extend: 4 steps, but the run at .* has 4; name a later end"),
        ({"max_steps": 4}, r"--extend: 4 steps, but the run at .* has 4; name a later end"),
        ({"epochs": 2.0, "batch_size": 3}, "batch_size: 3, but the run at .* began with 4; change it back"),
    ],
)
def test_what_is_no_later_end_is_refused_and_changes_nothing(tmp_path, change, message):
    wanted = _steady(tmp_path)
    train(wanted, progress=False)
    before = _bytes(wanted.out)
    with pytest.raises(UsageError, match=message):
        _extended(wanted, **change)
    assert _bytes(wanted.out) == before


def test_a_run_that_cannot_go_on_is_refused_and_stays_finished(tmp_path):
    wanted = replace(_steady(tmp_path), keep_checkpoint=False)
    run = train(wanted, progress=False)
    with pytest.raises(LapilliError, match=r"finished without a checkpoint to go on from, as keep_checkpoint leaves"):
        _extended(wanted, epochs=2.0)
    run.verify()
    kept = replace(wanted, keep_checkpoint=True, out=tmp_path / "kept")
    run = train(kept, progress=False)
    (weights,) = run.path.glob("checkpoints/*/learned.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(LapilliError, match="checkpoints: no whole checkpoint to go on from"):
        _extended(kept, epochs=2.0)
    assert run.is_complete


def test_a_run_that_its_patience_ended_is_refused(tmp_path):
    data = replace(write_lesson(tmp_path / "lesson", 24), validation_share=0.3)
    strict = Validation(every=1, patience=1, samples=0)
    wanted = replace(_steady(tmp_path, data=data, validation=strict, learning_rate=1.0), epochs=3.0)
    run = train(wanted, progress=False)
    assert run.load("training")["steps"] < run.load("start")["steps"]
    with pytest.raises(LapilliError, match="its patience ended it, and would again"):
        _extended(wanted, epochs=4.0)
    run.verify()


def test_with_changed_data_it_goes_on_only_where_that_is_wanted(tmp_path):
    wanted = _steady(tmp_path)
    run = train(wanted, progress=False)
    wanted.data.file.write_text(wanted.data.file.read_text().replace("red", "rot"))
    before = _bytes(wanted.out)
    with pytest.raises(LapilliError, match="the data it began with has changed since"):
        _extended(wanted, epochs=2.0)
    assert _bytes(wanted.out) == before
    longer = replace(wanted, epochs=2.0)
    train(longer, resume=True, extend=True, changed_data=True, progress=False).verify()
    assert run.load("changed_data")[0]["after_step"] == 4
    assert read_recipe(run.path / "recipe.yaml", [], TrainRecipe).epochs == 2.0
    assert (run.path / MANIFEST).is_file()
