"""What is refused before the first step, what is left out, and how a run goes on after its file was mended."""

import json
from dataclasses import replace

import pytest
import torch
from tests.lessons import recipe, write_lesson
from tests.parts import IMAGE_SIZE, picture

from lapilli.core.errors import LapilliError, UsageError
from lapilli.model.llava import load
from lapilli.training.loop import train
from lapilli.training.preflight import SKIPPED, Skipped, run_samples


class _KilledError(BaseException):
    pass


def _die(_):
    raise _KilledError


def _rows(data):
    return json.loads(data.file.read_text())


def _write(data, rows):
    data.file.write_text(json.dumps(rows))


def _damage(data, *names):
    for name in names:
        (data.images / name).write_bytes((data.images / name).read_bytes()[:60])


def _assert_same_weights(one, other):
    ours, theirs = (load(run.path / "model").model.state_dict() for run in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("path", ["/etc/passwd", "../lesson.json", "out.png", "dir", "none.png", "images\\0.png"])
def test_a_path_in_the_last_row_is_refused_before_anything_is_written(tmp_path, path):
    wanted = recipe(tmp_path)
    (wanted.data.images / "dir").mkdir()
    (wanted.data.images / "out.png").symlink_to(wanted.data.file)
    rows = _rows(wanted.data)
    rows[-2]["image"] = path
    _write(wanted.data, rows)
    with pytest.raises(LapilliError, match=r"lesson\.json, row 13, .*; ") as error:
        train(wanted, progress=False)
    assert "lists all" not in str(error.value)
    assert not wanted.out.exists()


def test_several_are_counted_and_the_first_is_named(tmp_path):
    wanted = recipe(tmp_path)
    for name in ("3.png", "5.png"):
        (wanted.data.images / name).unlink()
    with pytest.raises(LapilliError, match=r"images: 2 of 12 pictures cannot be read, such as that of row 3, '3\.png'"):
        run_samples(wanted)


def test_pictures_are_decoded_before_the_first_step_where_that_is_asked_for(tmp_path):
    wanted = recipe(tmp_path)
    _damage(wanted.data, "7.png")
    assert len(run_samples(wanted).samples) == 15
    told = []
    with pytest.raises(LapilliError, match=r"row 8, '7\.png': cannot be decoded"):
        run_samples(wanted, check=True, progress=lambda *step: told.append(step))
    assert told == [("pictures", 12, 12)]


@pytest.mark.parametrize("bad", ["cut", "no path", "no picture"])
def test_skipped_samples_are_listed_and_a_run_without_them_is_the_same(tmp_path, bad):
    wanted = recipe(tmp_path, on_bad_picture="skip", max_steps=3)
    rows = _rows(wanted.data)
    if bad == "cut":
        _damage(wanted.data, "2.png", "10.png")
    elif bad == "no picture":
        for name in ("2.png", "10.png"):
            (wanted.data.images / name).write_text("no picture")
    else:
        rows[2]["image"] = "/2.png"
        (wanted.data.images / "10.png").unlink()
        _write(wanted.data, rows)
    left = [row for row in rows if row.get("image") not in ("2.png", "/2.png", "10.png")]
    skipping = train(wanted, progress=False)
    assert [(one["row"], one["id"]) for one in skipping.load(SKIPPED)] == [(2, "color-2"), (12, "color-10")]
    assert skipping.load("training")["skipped_samples"] == 2
    _write(wanted.data, left)
    without = replace(wanted, out=tmp_path / "without", on_bad_picture="error")
    _assert_same_weights(skipping, train(without, progress=False))


def test_a_resumed_run_skips_what_it_skipped_even_if_pictures_changed_since(tmp_path):
    wanted = recipe(tmp_path, on_bad_picture="skip", epochs=2)
    _damage(wanted.data, "2.png")
    undisturbed = train(replace(wanted, out=tmp_path / "undisturbed"), progress=False)
    with pytest.raises(_KilledError):
        train(replace(wanted, save_every=1), on_eval=_die, progress=False)
    picture(1, IMAGE_SIZE, IMAGE_SIZE).save(wanted.data.images / "2.png")
    resumed = train(replace(wanted, save_every=1), resume=True, progress=False)
    assert [one["row"] for one in resumed.load(SKIPPED)] == [2]
    _assert_same_weights(resumed, undisturbed)


def _begun(folder, **changes):
    """A run that has left out row 2, and was stopped after its first epoch."""
    wanted = recipe(folder, epochs=2, save_every=1, **changes)
    _damage(wanted.data, "2.png")
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    return wanted


def test_a_resumed_run_that_skips_looks_at_the_pictures_that_are_left(tmp_path):
    wanted = _begun(tmp_path, on_bad_picture="skip")
    _damage(wanted.data, "10.png")
    assert len(run_samples(wanted).samples) == 14  # damage is found where it is looked for
    with pytest.raises(LapilliError, match=r"row 12, '10\.png': cannot be decoded"):
        run_samples(wanted, check=True)
    (wanted.data.images / "10.png").unlink()
    with pytest.raises(LapilliError, match=r"row 12, '10\.png': no such file"):
        train(wanted, resume=True, progress=False)


def test_a_resumed_run_skips_no_other_sample_than_it_skipped(tmp_path):
    wanted = _begun(tmp_path, on_bad_picture="skip")
    rows = _rows(wanted.data)
    for changed in (rows[1:], [*rows[3:], *rows[:3]], rows[:2]):
        _write(wanted.data, changed)
        with pytest.raises(LapilliError, match=r"row 2 is no longer the sample 'color-2', which the run skipped"):
            train(wanted, resume=True, changed_data=True, progress=False)
    spoilt = ["[1]", "7", '[{"row": 2}]', '[{"row": "2", "id": "x", "reason": "y"}]', '{"row": 2}']
    for text in spoilt:
        (wanted.out / f"results/{SKIPPED}.json").write_text(text)
        with pytest.raises(LapilliError, match=r"results/skipped\.json: .*; start a new run"):
            run_samples(wanted)


def test_a_resumed_run_reads_no_spoilt_results(tmp_path):
    wanted = _begun(tmp_path, on_bad_picture="skip")
    sources = wanted.out / "results/sources.json"
    rows, before = _rows(wanted.data), sources.read_text()
    rows[1]["conversations"][1]["value"] = "yellow"
    _write(wanted.data, rows)
    for file, text in (
        ("sources", "[]"),
        ("sources", '{"data": "x"}'),
        ("sources", '{"data": 1}'),
        ("changed_data", "7"),
        ("changed_data", "[7]"),
        ("changed_data", '[{"after_step": "1"}]'),
    ):
        sources.write_text(before)
        (wanted.out / f"results/{file}.json").write_text(text)
        with pytest.raises(LapilliError, match=rf"results/{file}\.json: .*; start a new run"):
            train(wanted, resume=True, changed_data=True, progress=False)


def test_where_nothing_is_left_a_run_is_refused(tmp_path):
    wanted = recipe(tmp_path, stage="align", on_bad_picture="skip")
    for file in wanted.data.images.iterdir():
        file.unlink()
    with pytest.raises(LapilliError, match=r"images: no sample is left whose pictures can be read: '0\.png': no such"):
        train(wanted, progress=False)
    assert not wanted.out.exists()


def test_text_alone_is_refused_where_the_connector_alone_learns(tmp_path):
    """A batch of it would have no gradient, and be found in mid-run."""
    wanted = recipe(tmp_path, stage="align", data=write_lesson(tmp_path / "mixed"))
    with pytest.raises(LapilliError, match=r"lesson\.json: 3 samples cannot .*: row 4, sample 'words-3': image: no"):
        train(wanted, progress=False)
    assert not wanted.out.exists()


def test_a_mended_file_goes_on_where_that_is_asked_for(tmp_path):
    wanted = recipe(tmp_path, epochs=2, save_every=1)
    with pytest.raises(_KilledError):
        train(wanted, on_eval=_die, progress=False)
    rows = _rows(wanted.data)
    rows[1]["conversations"][1]["value"] = "yellow"
    _write(wanted.data, rows)
    with pytest.raises(
        LapilliError, match=r"the data it began with has changed since; .* or go on with --changed-data"
    ):
        train(wanted, resume=True, progress=False)
    _write(wanted.data, rows[:-1])
    with pytest.raises(LapilliError, match="the number of samples it began with has changed since"):
        train(wanted, resume=True, changed_data=True, progress=False)
    _write(wanted.data, rows)
    run = train(wanted, resume=True, changed_data=True, progress=False)
    (change,) = run.load("changed_data")
    assert change["after_step"] == 4 and change["to"] == run.load("sources")["data"] != change["from"]
    assert load(run.path / "model").card.notes[-1].endswith("lesson.json, which was changed after step 4")


def test_a_folder_of_pictures_must_be_named(tmp_path):
    wanted = recipe(tmp_path)
    with pytest.raises(UsageError, match=r"data\.images: missing"):
        run_samples(replace(wanted, data=replace(wanted.data, images=None)))


def test_rows_are_those_of_the_file(tmp_path):
    wanted = recipe(tmp_path, on_bad_picture="skip")
    _damage(wanted.data, "0.png")
    found = run_samples(wanted)
    assert found.rows == tuple(range(1, 15)) and found.samples[0].id == "color-1"
    (skipped,) = found.skipped
    assert isinstance(skipped, Skipped) and skipped.reason.startswith("'0.png': cannot be decoded")


def test_pictures_are_shuffled_between_the_samples_that_are_learned_from(tmp_path):
    """The same rows, turns and samples to validate on, which keep their own pictures."""
    wanted = recipe(tmp_path)
    wanted = replace(wanted, data=replace(wanted.data, validation_share=0.3))
    own = run_samples(wanted)
    shuffled = run_samples(replace(wanted, data=replace(wanted.data, shuffle_pictures=True)))
    assert replace(shuffled, samples=own.samples) == own
    for one, other in zip(own.samples, shuffled.samples, strict=True):
        assert (one.id, one.turns) == (other.id, other.turns)
        assert one.images != other.images or not one.images


def test_one_picture_for_all_cannot_be_shuffled(tmp_path):
    wanted = recipe(tmp_path)
    rows = [row | {"image": "0.png"} if "image" in row else row for row in _rows(wanted.data)]
    _write(wanted.data, rows)
    with pytest.raises(
        LapilliError,
        match=r"lesson\.json: pictures cannot be shuffled: .* show 0\.png; leave data.shuffle_pictures out$",
    ):
        run_samples(replace(wanted, data=replace(wanted.data, shuffle_pictures=True)))
