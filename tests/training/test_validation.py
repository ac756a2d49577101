"""Validation while a run trains: the loss of samples set aside, the best weights, patience; and none of it disturbs."""

import json
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.lessons import recipe, write_lesson
from tests.parts import joined
from torch.nn.functional import cross_entropy

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.recipe import dump, read_recipe
from lapilli.core.run import RunDir
from lapilli.data.collate import collate
from lapilli.data.encode import IGNORED
from lapilli.data.pictures import open_picture
from lapilli.data.sample import read_samples, write_samples
from lapilli.inference.answer import answer
from lapilli.model.llava import load, save
from lapilli.training.feed import Batcher, Examples
from lapilli.training.loop import train
from lapilli.training.objective import AnswerLoss
from lapilli.training.preflight import run_samples
from lapilli.training.recipe import Data, TrainRecipe, Validation
from lapilli.training.stages import INSTRUCT, requirements
from lapilli.training.validation import LOSS, mean_loss


class _KilledError(BaseException):
    """Ends a run as a kill does: no checkpoint is left by it."""


def _losses(run):
    return [(line["step"], line["loss"]) for line in run.metrics() if "loss" in line]


def _validated(run):
    return [(line["step"], line[LOSS]) for line in run.metrics() if LOSS in line]


def _weights(run):
    return load_file(run.path / "model/model.safetensors")


def _aside(folder, share=0.3):
    return replace(write_lesson(folder), validation_share=share)


def test_the_loss_is_the_mean_over_all_learned_tokens(tmp_path):
    wanted = recipe(tmp_path)
    llava = load(wanted.model)
    examples = Examples(read_samples(wanted.data.file), requirements(INSTRUCT, llava.codec, llava.model.config))
    pad = llava.processor.tokenizer.pad_token_id
    batcher = Batcher(wanted.data.images, llava.pixels, pad)
    total, count = 0.0, 0
    for example in (examples[index] for index in range(len(examples))):
        pictures = [open_picture(wanted.data.images, name) for name in example.images]
        batch = collate([example], pad, "right", llava.pixels(pictures) if pictures else None)
        labels = batch.pop("labels")[0, 1:]
        with torch.no_grad():
            logits = llava.model(**batch).logits[0, :-1].double()
        total += float(cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
        count += int((labels != IGNORED).sum())
    for size in (1, 4, 100):
        found = mean_loss(AnswerLoss(llava.model), examples, batcher, size)
        assert found == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("every", [None, 3])
def test_training_is_not_disturbed_by_it(tmp_path, every):
    data = _aside(tmp_path / "lesson")
    wanted = recipe(tmp_path, data=data, epochs=3.0, validation=Validation(every=every))
    run = train(wanted, progress=False)
    samples = run_samples(wanted)
    write_samples(tmp_path / "learned.json", samples.samples)
    bare = Data(tmp_path / "learned.json", data.images)
    other = train(replace(wanted, data=bare, validation=Validation(), out=tmp_path / "bare"), progress=False)
    assert _losses(run) == _losses(other)
    assert all(torch.equal(weight, _weights(other)[name]) for name, weight in _weights(run).items())
    steps = run.load("training")["steps"]
    ends = {None: [steps // 3, 2 * steps // 3, steps], 3: sorted({*range(3, steps + 1, 3), steps})}
    assert [step for step, _ in _validated(run)] == ends[every]


def test_what_is_set_aside_shares_no_picture_and_is_recorded(tmp_path):
    wanted = recipe(tmp_path, data=_aside(tmp_path / "lesson"), max_steps=1)
    rows = [entry["row"] for entry in train(wanted, progress=False).load("validation_rows")]
    samples = read_samples(wanted.data.file)
    sides = [
        {name for row, one in enumerate(samples) if (row in rows) is side for name in one.images} for side in (0, 1)
    ]
    assert 0 < len(rows) < len(samples)
    assert not sides[0] & sides[1]


def test_the_best_weights_become_the_model(tmp_path):
    """The rate is so high that the loss rises again; the model is then that of a run that ended at the lowest."""
    data = _aside(tmp_path / "lesson")
    settings = {"data": data, "schedule": "constant", "learning_rate": 3e-2, "warmup": 0.0, "clip": 0.0}
    wanted = recipe(tmp_path, **settings, max_steps=12, validation=Validation(every=1, keep="best"))
    run = train(wanted, progress=False)
    step, lowest = min(_validated(run), key=lambda pair: pair[1])
    figures = run.load("training")
    assert (figures["validation_step"], figures[LOSS]) == (step, lowest)
    assert step < 12, "the lesson does not overfit; choose a higher rate"
    short = train(replace(wanted, max_steps=step, out=tmp_path / "short", validation=Validation()), progress=False)
    assert all(torch.equal(weight, _weights(short)[name]) for name, weight in _weights(run).items())


def test_patience_ends_a_run(tmp_path):
    data = _aside(tmp_path / "lesson")
    settings = {"data": data, "schedule": "constant", "learning_rate": 3e-2, "warmup": 0.0, "clip": 0.0}
    wanted = recipe(tmp_path, **settings, max_steps=40, validation=Validation(every=1, patience=2))
    run = train(wanted, progress=False)
    losses = [loss for _, loss in _validated(run)]
    assert run.is_complete
    assert run.load("training")["steps"] == len(losses) < 40
    assert min(losses) == losses[-3] < min(losses[-2:])


def test_a_killed_run_comes_to_the_same_best_weights_and_the_same_end(tmp_path):
    data = _aside(tmp_path / "lesson")
    settings = {"data": data, "schedule": "constant", "learning_rate": 3e-2, "warmup": 0.0, "clip": 0.0}
    validation = Validation(every=1, patience=3, keep="best")
    wanted = recipe(tmp_path, **settings, max_steps=40, validation=validation, save_every=2)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    steps = undisturbed.load("training")["steps"]
    for at in (1, 2, steps - 1, steps):
        evaluations = iter(range(1, 100))

        def die(llava, at=at, evaluations=evaluations):
            if next(evaluations) == at:
                raise _KilledError
            return {}

        killed = replace(wanted, out=tmp_path / f"killed-{at}")
        with pytest.raises(_KilledError):
            train(killed, on_eval=die, progress=False)
        resumed = train(killed, resume=True, progress=False)
        assert _validated(resumed) == _validated(undisturbed)
        assert all(torch.equal(weight, _weights(undisturbed)[name]) for name, weight in _weights(resumed).items())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("validation.keep=best", "validation: keep best and patience go by a validation loss; name data.validation"),
        ("validation.patience=2", "validation: keep best and patience go by a validation loss"),
        ("validation.every=0", "validation.every: 0; it must be 1 to"),
        ("data.validation_share=1", "data.validation_share: 1.0; it must be more than 0"),
        ("data={file: a.json, validation: b.json, validation_share: 0.1}", "data.validation_share: with validation"),
    ],
)
def test_what_cannot_be_validated_is_refused(tmp_path, override, message):
    (tmp_path / "r.yaml").write_text(dump(recipe(tmp_path)))
    with pytest.raises(UsageError) as caught:
        read_recipe(tmp_path / "r.yaml", [override], TrainRecipe)
    assert message in str(caught.value)


def test_a_file_of_other_samples(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    rows = json.loads(data.file.read_text())
    (tmp_path / "others.json").write_text(json.dumps(rows[:3]))
    wanted = recipe(tmp_path, data=replace(data, validation=tmp_path / "others.json"), max_steps=2)
    assert len(_validated(train(wanted, progress=False))) == 1
    for content, message in (
        ("[]", "others.json: no samples"),
        (json.dumps([{**rows[0], "image": "no.png"}]), "others.json, row 0"),
    ):
        (tmp_path / "others.json").write_text(content)
        with pytest.raises(LapilliError, match=message):
            train(replace(wanted, out=tmp_path / "other"), progress=False)
        assert not (tmp_path / "other").exists()
    with pytest.raises(LapilliError, match=r"no such file; correct data\.validation"):
        train(
            replace(wanted, data=replace(data, validation=tmp_path / "nowhere.json"), out=tmp_path / "o"),
            progress=False,
        )


def test_samples_that_all_share_a_picture_cannot_be_set_aside(tmp_path):
    data = write_lesson(tmp_path / "lesson", count=3)
    rows = [{**row, "image": "0.png"} for row in json.loads(data.file.read_text())]
    data.file.write_text(json.dumps(rows))
    with pytest.raises(LapilliError, match=r"no share of about 0\.5 can be set aside .*\(all share pict"):
        train(recipe(tmp_path, data=replace(data, validation_share=0.5)), progress=False)


def test_an_unfinished_run_keeps_what_was_set_aside(tmp_path):
    wanted = recipe(tmp_path, data=_aside(tmp_path / "lesson"), epochs=2.0, save_every=1)

    def die(llava):
        raise _KilledError

    with pytest.raises(_KilledError):
        train(wanted, on_eval=die, progress=False)
    rows = RunDir.open(wanted.out).load("validation_rows")
    assert train(wanted, resume=True, progress=False).load("validation_rows") == rows


def test_a_request_to_stop_during_the_last_evaluation_loses_nothing(tmp_path):
    def stop(llava):
        signal.raise_signal(signal.SIGINT)
        return {}

    run = train(recipe(tmp_path, data=_aside(tmp_path / "lesson")), on_eval=stop, progress=False)
    assert run.is_complete
    assert (run.path / "model").is_dir()


def test_a_run_that_was_stopped_where_its_patience_ended_takes_no_further_step(tmp_path):
    data = _aside(tmp_path / "lesson")
    settings = {"data": data, "schedule": "constant", "learning_rate": 3e-2, "warmup": 0.0, "clip": 0.0}
    wanted = recipe(tmp_path, **settings, max_steps=40, validation=Validation(every=1, patience=2), save_every=1)
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    last = undisturbed.load("training")["steps"]
    evaluations = iter(range(1, 100))

    def die(llava):
        if next(evaluations) == last:
            raise _KilledError
        return {}

    with pytest.raises(_KilledError):
        train(wanted, on_eval=die, progress=False)
    resumed = train(wanted, resume=True, on_eval=lambda _: {}, progress=False)
    assert resumed.load("training")["steps"] == last
    assert all(torch.equal(weight, _weights(undisturbed)[name]) for name, weight in _weights(resumed).items())


def _killed_after_an_evaluation(wanted, **settings):
    def die(llava):
        raise _KilledError

    with pytest.raises(_KilledError):
        train(wanted, on_eval=die, progress=False, **settings)


def test_other_samples_to_validate_on_are_another_run(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    rows = json.loads(data.file.read_text())
    (tmp_path / "others.json").write_text(json.dumps(rows[:3]))
    wanted = recipe(tmp_path, data=replace(data, validation=tmp_path / "others.json"), epochs=2.0, save_every=1)
    _killed_after_an_evaluation(wanted)
    (tmp_path / "others.json").write_text(json.dumps(rows[3:6]))
    with pytest.raises(LapilliError, match="the validation data it began with has changed since"):
        train(wanted, resume=True, progress=False)


def test_changed_data_keeps_what_was_set_aside(tmp_path):
    wanted = recipe(tmp_path, data=_aside(tmp_path / "lesson"), epochs=2.0, save_every=1)
    _killed_after_an_evaluation(wanted)
    entries = RunDir.open(wanted.out).load("validation_rows")
    rows = json.loads(wanted.data.file.read_text())
    wanted.data.file.write_text(json.dumps([rows[-1], *rows[:-1]]))
    with pytest.raises(LapilliError, match=r"row \d+ is no longer the sample '.*', which the run set aside"):
        train(wanted, resume=True, changed_data=True, progress=False)
    learned = next(row for row in range(len(rows)) if row not in {entry["row"] for entry in entries})
    rows[learned]["conversations"][-1]["value"] = "another answer"
    wanted.data.file.write_text(json.dumps(rows))
    resumed = train(wanted, resume=True, changed_data=True, progress=False)
    assert resumed.load("validation_rows") == entries


def test_best_weights_after_the_last_checkpoint_are_taken_back(tmp_path):
    """What is trained again may come out otherwise, as with changed data: the model must be one of this run."""
    data = _aside(tmp_path / "lesson")
    validation = Validation(every=1, keep="best")
    wanted = recipe(tmp_path, data=data, max_steps=6, validation=validation, save_every=3, learning_rate=1e-3)
    evaluations = iter(range(1, 100))

    def die(llava):
        if next(evaluations) == 5:
            raise _KilledError
        return {}

    with pytest.raises(_KilledError):
        train(wanted, on_eval=die, progress=False)
    assert {path.name for path in (wanted.out / "checkpoints").glob("best-*")} >= {"best-4"}
    train(wanted, resume=True, on_eval=_require_no_newer_weights(wanted), progress=False)


def _require_no_newer_weights(wanted):
    steps = iter(range(4, 100))

    def look(llava):
        step = next(steps)
        kept = [int(path.name.rpartition("-")[2]) for path in (wanted.out / "checkpoints").glob("best-*")]
        assert kept and max(kept) < step
        return {}

    return look


def test_pictures_to_validate_on_are_decoded_before_the_first_step_where_bad_ones_are_skipped(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    rows = json.loads(data.file.read_text())
    (tmp_path / "others.json").write_text(json.dumps([{**rows[0], "image": "bad.png"}]))
    (data.images / "bad.png").write_bytes(b"no picture")
    wanted = recipe(tmp_path, data=replace(data, validation=tmp_path / "others.json"), on_bad_picture="skip")
    with pytest.raises(LapilliError, match=r"others\.json, row 0"):
        train(wanted, progress=False)


def test_a_sample_to_validate_on_that_cannot_be_encoded_is_found_in_its_file(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    row = json.loads(data.file.read_text())[0]
    row["conversations"][1]["value"] = "red </s>"
    (tmp_path / "others.json").write_text(json.dumps([row]))
    with pytest.raises(LapilliError, match=r"others\.json: row 0"):
        train(recipe(tmp_path, data=replace(data, validation=tmp_path / "others.json")), progress=False)


@pytest.mark.parametrize("name", ["loss", "step", LOSS])
def test_figures_by_the_log_s_own_names_are_refused(tmp_path, name):
    with pytest.raises(LapilliError, match=f"on_eval returned {name}, names that the log has itself"):
        train(recipe(tmp_path), on_eval=lambda _: {name: 1.0}, progress=False)


def test_a_model_in_bf16_is_evaluated_and_keeps_what_was_learned(tmp_path):
    llava = load(joined("clip", "llama"))
    llava.model.to(torch.bfloat16)
    save(llava, tmp_path / "half")
    replies = []

    def ask(llava):
        replies.append(
            answer(llava, read_samples(wanted.data.file)[:1], lambda name: open_picture(wanted.data.images, name))
        )
        return {}

    wanted = recipe(tmp_path, "align", model=tmp_path / "half", precision="bf16")
    run = train(wanted, on_eval=ask, progress=False)
    saved, loaded = _weights(run), load(run.path / "model").model.state_dict()
    assert replies
    assert torch.equal(
        saved["multi_modal_projector.linear_1.weight"], loaded["model.multi_modal_projector.linear_1.weight"]
    )
