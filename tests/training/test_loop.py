"""Runs: what they change and what they leave, that a stopped one resumes bit for bit, and how they fail."""

import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.lessons import recipe, write_captions, write_lesson
from tests.parts import joined
from transformers import AutoModelForImageTextToText

from lapilli.core.errors import LapilliError, LapilliWarning, UsageError
from lapilli.core.manifest import seal
from lapilli.core.placement import Placement
from lapilli.core.recipe import dump
from lapilli.core.run import RunDir
from lapilli.data.sample import read_samples
from lapilli.inference.answer import answer
from lapilli.model import placement
from lapilli.model.llava import load, save
from lapilli.model.reading import quiet
from lapilli.training.loop import StoppedError, train
from lapilli.training.muon import Muon
from lapilli.training.objective import AnswerLoss
from lapilli.training.tuning import LlmTuning, Lora, PartTuning
from lapilli.training.watch import _speed


def _weights(folder):
    (file,) = folder.glob("*model.safetensors")  # of a model, or of an adapter
    return load_file(file)


def _assert_same_weights(one, other):
    a, b = _weights(one.path / "model"), _weights(other.path / "model")
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def _losses(run):
    return [(line["step"], line["loss"], line["grad_norm"], line["learning_rate"]) for line in run.metrics()]


@pytest.mark.parametrize("connector", ["mlp2x_gelu", "linear"])
def test_align_changes_the_projector_and_not_a_bit_elsewhere(tmp_path, connector):
    model = joined("clip", "llama", connector)
    run = train(recipe(tmp_path, "align", model=model), progress=False)
    before, after = _weights(model), _weights(run.path / "model")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = (1,) if connector == "linear" else (1, 2)
    assert changed == {f"multi_modal_projector.linear_{n}.{kind}" for n in layers for kind in ("weight", "bias")}


def test_instruct_leaves_the_vision_tower_alone(tmp_path):
    run = train(recipe(tmp_path), progress=False)
    before, after = _weights(joined("clip", "llama")), _weights(run.path / "model")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith("vision_tower.")}


def test_it_learns_to_tell_the_colors(tmp_path):
    """The whole way: a blind start, and after the training right answers to questions about pictures."""
    wanted = recipe(tmp_path, epochs=20.0, learning_rate=1e-2, warmup=0.1)
    samples = read_samples(wanted.data.file)
    right = [sample.turns[-1].text for sample in samples]
    run = train(wanted, progress=False)
    given = answer(load(run.path / "model"), samples, wanted.data.images, max_new_tokens=8)
    assert [one.text for one in given] == right
    losses = [line["loss"] for line in run.metrics()]
    assert losses[-1] < 0.05 < 3 < losses[0]


def test_the_trained_model_loads_in_plain_transformers(tmp_path):
    run = train(recipe(tmp_path), progress=False)
    with quiet():
        plain = AutoModelForImageTextToText.from_pretrained(run.path / "model")
    ids = torch.arange(20).reshape(1, -1)
    with torch.inference_mode():
        assert torch.equal(plain(ids).logits, load(run.path / "model").model(ids).logits)
    assert load(run.path / "model").card.notes[-1] == "instruct: 4 steps on the 15 samples of lesson.json"


def test_a_run_holds_its_figures_and_no_checkpoints(tmp_path):
    wanted = recipe(tmp_path, save_every=2)
    run = train(wanted, progress=False)
    run.verify()
    figures = run.load("training")
    assert (figures["steps"], figures["samples"]) == (4, 15)
    assert figures["trainable_parameters"] < figures["parameters"]
    assert not (run.path / "checkpoints").exists()
    lines = run.metrics()
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"epoch", "loss", "learning_rate", "grad_norm", "samples_per_second", "tokens_per_second"} <= set(lines[0])


def test_the_same_recipe_gives_the_same_run(tmp_path):
    wanted = recipe(tmp_path)
    one = train(wanted, progress=False)
    torch.manual_seed(99)
    other = train(replace(wanted, out=tmp_path / "again", workers=2), progress=False)
    third = train(replace(wanted, out=tmp_path / "third", seed=1), progress=False)
    assert _losses(one) == _losses(other)
    assert _losses(one) != _losses(third)
    _assert_same_weights(one, other)


def test_accumulated_passes_are_one_large_batch(tmp_path):
    """Though the passes hold different numbers of learned tokens."""
    wanted = recipe(tmp_path, batch_size=8, epochs=2.0)
    whole = train(wanted, progress=False)
    parts = train(replace(wanted, out=tmp_path / "parts", batch_size=2, accumulate=4), progress=False)
    for (step, *large), (other, *small) in zip(_losses(whole), _losses(parts), strict=True):
        assert step == other
        assert large == pytest.approx(small, rel=1e-4)


class _KilledError(BaseException):
    pass


def _die(*_, **__):
    raise _KilledError


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("align", {"save_every": 3}),
        ("align", {"save_every": 1, "accumulate": 2}),
        ("instruct", {"save_every": 3}),
        ("instruct", {"save_every": 1, "accumulate": 2}),
        ("instruct", {"save_every": 3, "llm": LlmTuning(muon_learning_rate=1e-2)}),
        ("instruct", {"save_every": 3, "precision": "bf16"}),
        ("instruct", {"save_every": 2, "log_every": 3}),
        ("instruct", {"save_every": 3, "llm": LlmTuning(layers="1", modules=("attention", "norms"))}),
        ("instruct", {"save_every": 3, "llm": LlmTuning(mode="lora"), "lora": Lora(2, dropout=0.3)}),
        ("instruct", {"save_every": 3, "llm": LlmTuning(mode="lora"), "lora": Lora(2, dora=True), "precision": "bf16"}),
        ("instruct", {"save_every": 3, "recompute": True}),
    ],
)
def test_a_run_that_died_resumes_bit_for_bit(tmp_path, stage, changes):
    wanted = recipe(tmp_path, stage, epochs=3.0, weight_decay=0.1, **changes)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)  # at the end of the first epoch
    assert not RunDir.open(wanted.out).is_complete
    resumed = train(wanted, resume=True, progress=False)
    _assert_same_weights(resumed, undisturbed)
    assert _losses(resumed) == _losses(undisturbed)


def test_a_resumption_that_fails_at_once_loses_nothing(tmp_path):
    wanted = recipe(tmp_path, epochs=3.0, save_every=1)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    (newest,) = wanted.out.glob("checkpoints/checkpoint-4/learned.safetensors")
    right = newest.read_bytes()
    save_file({"other.weight": torch.zeros(1)}, newest)
    seal(newest.parent)
    with pytest.raises(LapilliError, match="holds other weights than this stage trains"):
        train(wanted, resume=True, progress=False)
    newest.write_bytes(right)
    seal(newest.parent)
    assert train(wanted, resume=True, progress=False).is_complete


def test_a_run_without_checkpoints_starts_over(tmp_path):
    wanted = recipe(tmp_path, epochs=2.0)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    resumed = train(wanted, resume=True, progress=False)
    _assert_same_weights(resumed, undisturbed)
    assert _losses(resumed) == _losses(undisturbed)


def test_a_checkpoint_that_is_not_whole_does_not_count(tmp_path):
    wanted = recipe(tmp_path, epochs=2.0, save_every=1)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    newest = max((wanted.out / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    (newest / "trainer_state.json").write_text('{"global_step": ')
    (newest / "learned.safetensors").write_bytes(b"half")
    with (wanted.out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # and the log was torn as well
    _assert_same_weights(train(wanted, resume=True, progress=False), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_resumes(tmp_path, number):
    wanted = recipe(tmp_path, epochs=3.0)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(wanted, on_eval=lambda _: os.kill(os.getpid(), number) or {}, progress=False)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert [path.name for path in (wanted.out / "checkpoints").iterdir()] == ["checkpoint-5"]
    _assert_same_weights(train(wanted, resume=True, progress=False), undisturbed)


def test_a_process_killed_outright_resumes_bit_for_bit(tmp_path):
    wanted = recipe(tmp_path, epochs=40.0, save_every=5)
    (tmp_path / "recipe.yaml").write_text(dump(wanted))
    program = "from lapilli.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, "train", str(tmp_path / "recipe.yaml")])
    deadline = time.monotonic() + 300
    while not list(wanted.out.glob("checkpoints/checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not RunDir.open(wanted.out).is_complete
    short = replace(wanted, out=tmp_path / "undisturbed")
    _assert_same_weights(train(wanted, resume=True, progress=False), train(short, progress=False))


def test_an_evaluation_is_logged_and_changes_nothing(tmp_path):
    wanted = recipe(tmp_path, epochs=2.0)
    plain = train(wanted, progress=False)
    modes = []

    def evaluate(llava):
        modes.append(llava.model.training)
        return {"accuracy": float(torch.rand(()) * 0 + 0.5)}

    evaluated = train(replace(wanted, out=tmp_path / "evaluated"), on_eval=evaluate, progress=False)
    logged = [line for line in evaluated.metrics() if "accuracy" in line]
    assert [(line["step"], line["epoch"], line["accuracy"]) for line in logged] == [(4, 1.0, 0.5), (8, 2.0, 0.5)]
    assert modes == [False, False]
    _assert_same_weights(plain, evaluated)


@pytest.mark.parametrize("epochs", [1.0, 2.0, 1.5])
def test_an_evaluation_that_a_run_was_killed_in_is_made_up_for(tmp_path, epochs):
    wanted = recipe(tmp_path, epochs=epochs, save_every=2)
    calls = []

    def die_in_the_last(_):
        calls.append(1)
        return _die() if len(calls) == math.ceil(epochs) else {}

    with pytest.raises(_KilledError):
        train(wanted, on_eval=die_in_the_last, progress=False)
    resumed = train(wanted, resume=True, on_eval=lambda _: {"accuracy": 1.0}, progress=False)
    steps = [line["step"] for line in resumed.metrics()]
    ends = [step for step in (4, 8, 6) if step <= 4 * epochs and (step == 4 * epochs or step % 4 == 0)]
    assert steps == sorted([*range(1, int(4 * epochs) + 1), *ends])


def test_the_projector_may_have_a_rate_of_its_own(tmp_path):
    wanted = recipe(tmp_path, projector=PartTuning(learning_rate=1e-12), schedule="constant", warmup=0.0)
    run = train(wanted, progress=False)
    before, after = _weights(joined("clip", "llama")), _weights(run.path / "model")
    moved = {name: float((before[name] - after[name]).abs().max()) for name in before}
    assert max(size for name, size in moved.items() if "projector" in name) < 1e-6
    assert min(size for name, size in moved.items() if "language_model" in name and "norm" in name) > 1e-4
    assert {line["learning_rate"] for line in run.metrics()} == {3e-3}


def test_muon_moves_the_matrices_of_the_layers(tmp_path):
    wanted = recipe(tmp_path, learning_rate=1e-12, llm=LlmTuning(muon_learning_rate=1e-2))
    run = train(wanted, progress=False)
    before, after = _weights(joined("clip", "llama")), _weights(run.path / "model")
    moved = {name for name in before if float((before[name] - after[name]).abs().max()) > 1e-6}
    assert max(line["learning_rate"] for line in run.metrics()) > 1e-3  # the one that moves the most is logged
    matrices = {name for name, weight in before.items() if "language_model.model.layers" in name and weight.ndim == 2}
    assert moved == matrices != set()


def test_muon_without_layers_to_move_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("lapilli.training.optimizer.layer_matrices", lambda model: ([], list(model.parameters())))
    wanted = recipe(tmp_path, llm=LlmTuning(muon_learning_rate=1e-2))
    with pytest.raises(UsageError, match="muon_learning_rate: no matrix of a layer learns in this llama"):
        train(wanted, progress=False)
    assert not wanted.out.exists()


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    wanted = recipe(tmp_path, learning_rate=1e30, clip=0.0)
    with pytest.raises(LapilliError, match=r"step \d: the loss is (nan|inf); lower the learning rates"):
        train(wanted, progress=False)
    assert not RunDir.open(wanted.out).is_complete
    assert not (wanted.out / "model").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_one_line(tmp_path, workers):
    wanted = recipe(tmp_path, workers=workers)
    damaged = wanted.data.images / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(LapilliError) as caught:
        train(wanted, progress=False)
    assert str(caught.value).startswith("sample 'color-3': ")
    assert "\n" not in str(caught.value)


def test_a_run_that_fails_before_its_first_step_is_not_in_the_way_of_the_next(tmp_path):
    wanted = recipe(tmp_path, batch_size=15)  # all samples in the first batch
    damaged = wanted.data.images / "3.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    with pytest.raises(LapilliError, match="sample 'color-3': "):
        train(wanted, progress=False)
    assert not wanted.out.exists()
    damaged.write_bytes(whole)
    assert train(wanted, progress=False).is_complete


def test_where_there_is_no_terminal_progress_is_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lapilli.training.watch._BETWEEN_LINES", 0.0)
    train(recipe(tmp_path))
    said = capsys.readouterr()
    assert said.err.startswith("instruct: projector (3,936 parameters) and language model (67,248 parameters) learn;")
    assert f"\n15 samples, 1 epoch, 4 steps; batch_size 4; fp32 on cpu; into {tmp_path / 'run'}\n" in said.err
    assert re.search(r"^step 4 of 4, epoch 1\.00, loss \d\.\d+, [\d.]+ samples/s$", said.err, re.MULTILINE)
    assert said.out == ""


@pytest.mark.parametrize(
    ("samples", "said"), [(123.4, "123"), (9.96, "10"), (9.94, "9.9"), (3.0, "3.0"), (0.42, "0.42"), (0.0312, "0.031")]
)
def test_slow_is_not_nothing(samples, said):
    assert _speed(samples) == said


def test_the_smaller_of_epochs_and_max_steps_ends_the_run(tmp_path, capsys):
    wanted = recipe(tmp_path, epochs=2.0, max_steps=100)
    assert train(wanted).load("training")["steps"] == 8
    assert "15 samples, 2 epochs, 8 steps, fewer than max_steps 100; " in capsys.readouterr().err
    capped = replace(wanted, out=tmp_path / "capped", max_steps=3)
    run = train(capped)
    assert run.load("training")["steps"] == 3
    assert "15 samples, 3 steps: max_steps 3 ends it after 0.75 of 2 epochs; " in capsys.readouterr().err
    shorter = train(replace(wanted, out=tmp_path / "shorter", max_steps=None, epochs=0.75), progress=False)
    assert _losses(run) == _losses(shorter)  # the schedule ends there too


def test_bf16_on_a_cpu_learns_as_fp32_does(tmp_path):
    """bf16 rounds by at most 2^-9: the first loss parts by no more, later ones by a few such roundings."""
    wanted = recipe(tmp_path, epochs=3.0)
    exact = train(wanted, progress=False)
    rounded = train(replace(wanted, out=tmp_path / "bf16", precision="bf16"), progress=False)
    losses, others = ([line["loss"] for line in run.metrics()] for run in (exact, rounded))
    assert others[0] == pytest.approx(losses[0], rel=2**-9)
    assert others == pytest.approx(losses, rel=16 * 2**-9)
    assert all(one != other for one, other in zip(losses, others, strict=True))  # autocast was on
    assert all(math.isfinite(line["grad_norm"]) and line["grad_norm"] > 0 for line in rounded.metrics())
    assert {weight.dtype for weight in _weights(rounded.path / "model").values()} == {torch.float32}


def test_bf16_is_refused_in_time_where_an_accelerator_does_not_have_it(tmp_path, monkeypatch):
    """An accelerator that there is not has no bf16 either, as transformers finds for itself."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    wanted = recipe(tmp_path, precision="bf16")
    with pytest.raises(UsageError, match=r"^precision: bf16; this .* does not compute in it; set precision to fp32$"):
        train(wanted, progress=False)
    assert not wanted.out.exists()


def test_nothing_is_said_of_the_stored_format_which_the_training_does_not_compute_in(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "slowness_of", lambda dtype: 6.0)
    save(load(joined("clip", "llama"), Placement(dtype="bf16")), tmp_path / "half")
    placement._warn_once.cache_clear()
    with warnings.catch_warnings(action="error", category=LapilliWarning):
        train(recipe(tmp_path, model=tmp_path / "half", max_steps=1), progress=False)


def test_a_full_disk_ends_the_run_until_there_is_room(tmp_path, monkeypatch):
    wanted = recipe(tmp_path, save_every=2)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    monkeypatch.setattr(transformers.trainer.torch, "save", _full)
    with pytest.raises(LapilliError, match=r"checkpoint cannot be written: .*No space left.*make room, then go on"):
        train(wanted, progress=False)
    monkeypatch.undo()
    _assert_same_weights(train(wanted, resume=True, progress=False), undisturbed)


def _full(*_):
    raise OSError(28, "No space left on device")


def test_what_is_wrong_is_found_before_anything_is_written(tmp_path):
    wanted = recipe(tmp_path)
    (wanted.data.images / "3.png").unlink()
    with pytest.raises(LapilliError, match=r"lesson\.json, row 3, '3\.png': no such file; put the picture there"):
        train(wanted, progress=False)
    with pytest.raises(UsageError, match=r"data\.images: missing, but .*lesson\.json shows pictures"):
        train(replace(wanted, data=replace(wanted.data, images=None)), progress=False)
    with pytest.raises(LapilliError, match=r"no config\.json there"):
        train(replace(wanted, data=write_captions(tmp_path / "other"), model=tmp_path), progress=False)
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(LapilliError, match=r"empty\.json: no samples"):
        train(replace(wanted, data=replace(wanted.data, file=tmp_path / "empty.json")), progress=False)
    assert not wanted.out.exists()


def test_runs_that_are_there_are_refused_with_the_remedy(tmp_path):
    wanted = recipe(tmp_path)
    with pytest.raises(LapilliError, match="no run to resume"):
        train(wanted, resume=True, progress=False)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    with pytest.raises(LapilliError, match="an unfinished run is there; go on with --resume"):
        train(wanted, progress=False)
    with pytest.raises(UsageError, match=r"batch_size: 3, but the run at .* began with 4; change it back"):
        train(replace(wanted, batch_size=3), resume=True, progress=False)
    train(replace(wanted, log_every=2), resume=True, progress=False)
    for resume in (False, True):
        with pytest.raises(LapilliError, match="the run there has finished; name another out"):
            train(wanted, resume=resume, progress=False)


def test_killed_when_only_its_manifest_is_missing_a_run_is_finished_without_training_again(tmp_path, monkeypatch):
    wanted = recipe(tmp_path, save_every=1)
    monkeypatch.setattr(RunDir, "finish", _die)
    with pytest.raises(_KilledError):
        train(wanted, progress=False)
    monkeypatch.undo()
    before = (wanted.out / "metrics.jsonl").read_bytes()
    train(wanted, resume=True, progress=False).verify()
    assert (wanted.out / "metrics.jsonl").read_bytes() == before


def test_killed_before_it_noted_what_it_began_with_a_run_begins_anew(tmp_path):
    wanted = recipe(tmp_path)
    undisturbed = train(wanted, progress=False)
    killed = replace(wanted, out=tmp_path / "killed")
    RunDir.create(killed.out, killed, killed.seed)
    _assert_same_weights(train(killed, resume=True, progress=False), undisturbed)


def _same_figures(one, other):
    """But for the speeds, of which there are some."""
    found = [run.load("training") for run in (one, other)]
    assert all(figures.pop(name) > 0 for figures in found for name in ("seconds", "samples_per_second"))
    assert found[0] == found[1]


@pytest.mark.parametrize("at", ["_figures", "save"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_killed_after_its_last_step_a_run_trains_nothing_again(tmp_path, monkeypatch, at, schedule):
    wanted = recipe(tmp_path, save_every=1, schedule=schedule)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    monkeypatch.setattr(f"lapilli.training.loop.{at}", _die)
    with pytest.raises(_KilledError):
        train(wanted, progress=False)
    monkeypatch.undo()
    resumed = train(wanted, resume=True, progress=False)
    _assert_same_weights(resumed, undisturbed)
    assert _losses(resumed) == _losses(undisturbed)
    _same_figures(resumed, undisturbed)
    assert load(resumed.path / "model").card.notes == load(undisturbed.path / "model").card.notes


@pytest.mark.parametrize("gone", ["nothing", "half", "all but the folder", "all"])
def test_killed_while_its_checkpoints_go_a_run_keeps_its_model(tmp_path, monkeypatch, gone):
    wanted = recipe(tmp_path, save_every=1)
    monkeypatch.setattr("lapilli.training.loop.shutil.rmtree", _die)
    monkeypatch.setattr("lapilli.training.trainer._MOST_CHECKPOINTS", 9)  # it removes some along the way, too
    with pytest.raises(_KilledError):
        train(wanted, progress=False)
    monkeypatch.undo()
    files = sorted(file for file in (wanted.out / "checkpoints").rglob("*") if file.is_file())
    for file in files[: {"nothing": 0, "half": len(files) // 2}.get(gone, len(files))]:
        file.unlink()
    if gone == "all":
        shutil.rmtree(wanted.out / "checkpoints")
    before = {name: (wanted.out / name).read_bytes() for name in ("metrics.jsonl", "model/model.safetensors")}
    train(wanted, resume=True, progress=False).verify()
    assert before == {name: (wanted.out / name).read_bytes() for name in before}
    assert not (wanted.out / "checkpoints").exists()


def _spoiled(wanted):
    """Ruin a picture, and say how to mend it."""
    file = wanted.data.images / "3.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:60])
    return lambda: file.write_bytes(whole)


@pytest.mark.parametrize("changes", [{}, {"workers": 2}, {"save_every": 3, "accumulate": 2}, {"log_every": 3}])
def test_an_error_in_the_middle_leaves_the_last_whole_step(tmp_path, changes):
    wanted = recipe(tmp_path, epochs=3.0, schedule="constant", **changes)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), on_eval=lambda _: {}, progress=False)
    mend = []
    with pytest.raises(StoppedError) as caught:
        train(wanted, on_eval=lambda _: mend.append(_spoiled(wanted)) or {}, progress=False)
    assert re.fullmatch(
        r"sample 'color-3': .*3\.png.*; mend that, and go on from step (\d+) with --resume", str(caught.value)
    )
    steps = 2 if "accumulate" in changes else 4  # of an epoch
    assert steps <= caught.value.step < 2 * steps
    assert active_children() == []  # though the error, which holds the frames of all calls, is still there
    mend[0]()
    resumed = train(wanted, resume=True, on_eval=lambda _: {}, progress=False)
    _assert_same_weights(resumed, undisturbed)
    assert _losses_of(resumed) == _losses_of(undisturbed)
    _same_figures(resumed, undisturbed)


def _losses_of(run):
    return [
        (line["step"], line.get("loss"), line.get("grad_norm"), line.get("learning_rate")) for line in run.metrics()
    ]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory"), LapilliError("no luck")])
@pytest.mark.parametrize("where", ["forward", "update"])
def test_whatever_the_error_what_was_trained_is_kept(tmp_path, monkeypatch, error, where):
    """In the middle of an update weights are of no step, and nothing is kept but the checkpoints before."""
    wanted = recipe(tmp_path, epochs=2.0, schedule="constant", save_every=2)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    kind, name = (AnswerLoss, "forward") if where == "forward" else (Muon, "step")
    right, calls = getattr(kind, name), []

    def failing(self, *args, **named):
        calls.append(1)
        made = right(self, *args, **named)
        if len(calls) == 6:
            raise error
        return made

    monkeypatch.setattr(kind, name, failing)
    with pytest.raises(StoppedError) as caught:
        train(wanted, progress=False)
    monkeypatch.undo()
    assert caught.value.step == (5 if where == "forward" else 4)
    assert str(error) in str(caught.value)
    assert caught.value.__cause__ is error
    resumed = train(wanted, resume=True, progress=False)
    _assert_same_weights(resumed, undisturbed)
    assert _losses(resumed) == _losses(undisturbed)


def test_an_error_before_the_first_step_keeps_the_message_and_the_folder_that_out_links_to(tmp_path):
    wanted = recipe(tmp_path, batch_size=15)
    (tmp_path / "disk").mkdir()
    wanted.out.symlink_to(tmp_path / "disk")
    mend = _spoiled(wanted)
    with pytest.raises(LapilliError, match=r"^sample 'color-3': "):
        train(wanted, progress=False)
    assert list((tmp_path / "disk").iterdir()) == []
    mend()
    assert train(wanted, progress=False).is_complete


def test_one_process_trains_a_run(tmp_path):
    wanted = recipe(tmp_path)
    found = []

    def second(resume):
        try:
            train(wanted, resume=resume, progress=False)
        except LapilliError as error:
            found.append(str(error))

    def meanwhile(_):
        threads = [threading.Thread(target=second, args=(resume,)) for resume in (False, True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {}

    run = train(wanted, on_eval=meanwhile, progress=False)
    who = f"{wanted.out}: process {os.getpid()} on {platform.node()} is writing there; wait until it ends, or end it"
    assert found == [who, who]
    run.verify()


def test_data_that_changed_in_between_is_refused(tmp_path):
    wanted = recipe(tmp_path)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    wanted.data.file.write_text(wanted.data.file.read_text().replace("red", "rot"))
    with pytest.raises(LapilliError, match="the data it began with has changed since; start a new run"):
        train(wanted, resume=True, progress=False)


def test_text_alone_needs_no_folder_of_pictures(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    rows = [row for row in json.loads(data.file.read_text()) if "image" not in row]
    data.file.write_text(json.dumps(rows))
    assert train(recipe(tmp_path, data=replace(data, images=None)), progress=False).is_complete
