"""What a run reports to: the files of TensorBoard, read back, hold the run's own figures."""

import struct
from dataclasses import replace

import pytest
from tensorboardX.proto.event_pb2 import Event
from tests.lessons import recipe, write_lesson
from transformers.integrations.integration_utils import TensorBoardCallback

from lapilli.core.errors import UsageError
from lapilli.training import loop
from lapilli.training.loop import train
from lapilli.training.recipe import Validation


def _events(file):
    """The events of a file of TensorBoard: each behind its length and a checksum, before a checksum of its own."""
    data, at = file.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event()
        event.ParseFromString(data[at + 12 : at + 12 + length])
        yield event
        at += 12 + length + 4


def _scalars(folder):
    return {
        (value.tag, event.step): value.simple_value
        for file in folder.rglob("events.out.tfevents.*")
        for event in _events(file)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    }


@pytest.mark.parametrize("place", ["run/tensorboard", "board"])
def test_tensorboard_gets_the_figures_of_the_log(tmp_path, monkeypatch, place):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    if place == "board":
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / place))
    data = replace(write_lesson(tmp_path / "lesson"), validation_share=0.3)
    run = train(
        recipe(tmp_path, data=data, report_to=("tensorboard",), validation=Validation(every=2, samples=0)),
        progress=False,
    )
    board = _scalars(tmp_path / place)
    losses = {line["step"]: line["loss"] for line in run.metrics() if "loss" in line}
    validated = {line["step"]: line["validation_loss"] for line in run.metrics() if "validation_loss" in line}
    assert losses and validated
    run.verify()
    for step, loss in losses.items():
        assert board["train/loss", step] == pytest.approx(loss, rel=1e-3)
    for step, loss in validated.items():
        assert board["eval/validation_loss", step] == pytest.approx(loss, rel=1e-6)


def test_a_run_that_was_killed_behind_its_last_step_closes_its_files_before_they_count(tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    wanted = recipe(tmp_path, report_to=("tensorboard",), save_every=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_save", die)
        train(wanted, progress=False)
    closed, end = [], TensorBoardCallback.on_train_end

    def ended(callback, *words, **more):
        closed.append(callback.tb_writer is not None)
        end(callback, *words, **more)

    monkeypatch.setattr(TensorBoardCallback, "on_train_end", ended)
    run = train(wanted, resume=True, progress=False)
    assert closed == [True]
    run.verify()


@pytest.mark.parametrize("tracker", ["wandb", "trackio", "mlflow"])
def test_one_that_is_not_installed_is_refused_before_the_first_step(tmp_path, tracker):
    with pytest.raises(UsageError, match=f"report_to: {tracker}: not installed; pip install {tracker}"):
        train(recipe(tmp_path, report_to=("tensorboard", tracker)), progress=False)
    assert not (tmp_path / "run").exists()
