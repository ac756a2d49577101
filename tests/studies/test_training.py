"""What a model is asked while it trains: right figures, the same training, and each step once after a kill."""

import json
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.lessons import recipe, write_captions, write_lesson

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.run import RunDir
from lapilli.core.statistics.clusters import clustered
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn, read_samples
from lapilli.inference.answer import answer
from lapilli.model.llava import load
from lapilli.studies.training import questions_of
from lapilli.training.loop import train
from lapilli.training.preflight import run_samples
from lapilli.training.recipe import Validation


class _KilledError(BaseException):
    """Ends a run as a kill does: no checkpoint is left by it."""


def _own(folder, data, name="colors.csv", answers=("red", "green")):
    lines = [f"{index}.png,What color is it?,{answers[index % len(answers)]}" for index in range(6)]
    (folder / name).write_text("\n".join(["image,question,answer", *lines]))
    return {"benchmarks": (str(folder / name),), "images": data.images}


def _wanted(folder, validation=None, **changes):
    write = write_captions if changes.get("stage") == "align" else write_lesson
    data = replace(write(folder / "lesson"), validation_share=0.3)
    return recipe(
        folder, data=data, validation=Validation(every=2, **_own(folder, data), **validation or {}), **changes
    )


def _asked(wanted, folder):
    folder.mkdir(exist_ok=True)
    return questions_of(wanted, run_samples(wanted), folder, lambda *_: None)


def _train(wanted, folder, **settings):
    return train(wanted, on_eval=_asked(wanted, folder / "drawn"), progress=False, **settings)


def _losses(run):
    return [(line["step"], line["loss"]) for line in run.metrics() if "loss" in line]


def _evaluations(run):
    return [line for line in run.metrics() if "colors_accuracy" in line]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_training_is_not_disturbed_by_it(tmp_path, stage, precision):
    wanted = _wanted(tmp_path, stage=stage, precision=precision, epochs=2.0)
    bare = train(replace(wanted, out=tmp_path / "bare"), progress=False)
    run = _train(wanted, tmp_path)
    assert len(_evaluations(run)) > 1 and not _evaluations(bare)
    assert _losses(run) == _losses(bare)
    left, right = (load_file(one.path / "model/model.safetensors") for one in (run, bare))
    assert all(torch.equal(weight, right[name]) for name, weight in left.items())


def test_the_figures_are_those_of_the_model_at_that_step(tmp_path):
    wanted = _wanted(tmp_path, max_steps=2)
    run = _train(wanted, tmp_path)
    names = [f"{index}.png" for index in range(6)]
    asked = [Sample(name, (name,), (Turn("user", "<image>\nWhat color is it?"),)) for name in names]
    replies = answer(load(run.path / "model"), asked, lambda name: open_picture(wanted.data.images, name))
    right = [one.text.lower() == ("red", "green")[index % 2] for index, one in enumerate(replies)]
    share = clustered(right, names)
    figures = _evaluations(run)[-1]
    assert figures["step"] == 2
    assert [figures[f"colors_{name}"] for name in ("accuracy", "accuracy_low", "accuracy_high", "n")] == [
        share.estimate, share.low, share.high, 6,
    ]  # fmt: skip
    assert "overall_accuracy" not in figures  # it is that of the only benchmark


def test_sample_answers_are_those_of_the_model_at_that_step(tmp_path):
    wanted = _wanted(tmp_path, {"samples": 2}, max_steps=3)
    run = _train(wanted, tmp_path)
    aside = [read_samples(wanted.data.file)[entry["row"]] for entry in run.load("validation_rows")]
    rows = run.lines("samples")
    assert [row["step"] for row in rows] == [2, 2, 3, 3]
    chosen = [aside[0], aside[len(aside) // 2]]
    replies = answer(load(run.path / "model"), chosen, lambda name: open_picture(wanted.data.images, name), 64)
    for row, sample, reply in zip(rows[2:], chosen, replies, strict=True):
        question, expected = (turn.text for turn in sample.turns)
        words = question.removeprefix("<image>\n")
        assert row == {
            "step": 3, "id": sample.id, "images": list(sample.images), "question": words, "expected": expected,
            "reply": reply.text,
        }  # fmt: skip
    pictures = run.load("sample_pictures")
    assert list(pictures) == [name for sample in chosen for name in sample.images]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in pictures.values())


def test_scenes_are_drawn_once_for_all_benchmarks_that_ask_about_them(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    wanted = recipe(tmp_path, data=data, max_steps=1, validation=Validation(benchmarks=("scenes", "pope"), questions=1))
    run = _train(wanted, tmp_path)
    (line,) = (line for line in run.metrics() if "scenes_accuracy" in line)
    counts = [line[f"{name}_n"] for name in ("scenes", "scenes_compositional", "pope")]
    assert all(counts) and line["overall_n"] == sum(counts)
    right = sum(line[f"{name}_n"] * line[f"{name}_accuracy"] for name in ("scenes", "scenes_compositional", "pope"))
    assert line["overall_accuracy"] == pytest.approx(right / sum(counts))
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["0"]
    assert not (run.path / "samples.jsonl").exists()  # there is nothing to validate on


def test_a_killed_run_has_every_step_once(tmp_path, monkeypatch):
    """It is stopped at a step that has its evaluation yet to come, and killed in that before its line of figures."""
    wanted = _wanted(tmp_path, epochs=2.0)
    undisturbed = _train(replace(wanted, out=tmp_path / "undisturbed"), tmp_path)
    asked, log = _asked(wanted, tmp_path / "drawn"), RunDir.log

    def stop(self, **line):
        log(self, **line)
        if line["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    def die(self, **line):
        if "colors_accuracy" in line:
            raise _KilledError
        log(self, **line)

    run = RunDir(wanted.out)
    for write, error, resume in (
        (stop, KeyboardInterrupt, False),
        (die, _KilledError, True),
        (die, _KilledError, True),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(RunDir, "log", write)
            with pytest.raises(error):
                train(wanted, resume=resume, on_eval=asked, progress=False)
    assert [path.name for path in (wanted.out / "checkpoints").iterdir()] == ["checkpoint-4"]
    assert {line["step"] for line in run.lines("samples")} == {2, 4}
    assert {line["step"] for line in _evaluations(run)} == {2}
    train(wanted, resume=True, on_eval=asked, progress=False)
    assert run.lines("samples") == undisturbed.lines("samples")
    assert _evaluations(run) == _evaluations(undisturbed)
    assert _losses(run) == _losses(undisturbed)


def test_answers_after_the_last_checkpoint_are_given_again(tmp_path):
    wanted = _wanted(tmp_path, epochs=2.0, save_every=3)
    undisturbed = _train(replace(wanted, out=tmp_path / "undisturbed"), tmp_path)
    asked, evaluations = _asked(wanted, tmp_path / "drawn"), iter(range(1, 100))

    def die(llava):
        if next(evaluations) == 3:
            raise _KilledError
        return asked(llava)

    with pytest.raises(_KilledError):
        train(wanted, on_eval=die, progress=False)
    with (wanted.out / "samples.jsonl").open("a") as file:
        file.write('{"step": 6, "id": "hal')
    run = train(wanted, resume=True, on_eval=asked, progress=False)
    assert run.lines("samples") == undisturbed.lines("samples")


def test_a_sample_without_room_for_an_answer_is_left_out(tmp_path):
    wanted = _wanted(tmp_path, max_steps=1)
    llava = load(wanted.model)
    room = llava.model.config.text_config.max_position_embeddings
    asked = _asked(wanted, tmp_path / "drawn")
    long = Sample("long", (), (Turn("user", "red " * room), Turn("assistant", "red")))
    run = train(wanted, on_eval=replace(asked, samples=[long, asked.samples[0]]), progress=False)
    assert [row["id"] for row in run.lines("samples")] == [asked.samples[0].id]


def test_a_question_that_is_too_long_for_the_model_is_refused_before_the_first_step(tmp_path):
    wanted = _wanted(tmp_path)
    asked = _asked(wanted, tmp_path / "drawn")
    asked.require_room()
    (tmp_path / "colors.csv").write_text(f"image,question,answer\n0.png,{'red ' * 2000},red\n")
    with pytest.raises(LapilliError, match=r"question '.*': 2,?\d+ tokens and an answer of up to 32, but the language"):
        _asked(wanted, tmp_path / "other").require_room()


def test_nothing_is_asked_where_nothing_was_chosen(tmp_path):
    wanted = recipe(tmp_path)
    assert questions_of(wanted, run_samples(wanted), tmp_path, lambda *_: None) is None
    aside = replace(wanted, data=replace(wanted.data, validation_share=0.3))
    assert len(_asked(aside, tmp_path).samples) == 4
    none = replace(aside, validation=Validation(samples=0))
    assert questions_of(none, run_samples(none), tmp_path, lambda *_: None) is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["vqav2"], "no benchmark 'vqav2'; there are: scenes, pope"),
        (["nowhere.csv"], "nowhere.csv: cannot be read: No such file"),
        (["a/colors.csv", "b/colors.csv"], "colors.csv: two files are called so"),
        (["scenes.csv", "scenes"], "scenes: its figures would be called scenes, as others; rename it"),
        (["my colors.csv", "my-colors.csv"], "its figures would be called my_colors, as others"),
        (["overall.csv"], "overall.csv: its figures would be called overall"),
        (["dialogue", "my colors.csv"], "dialogue: conversations, for `lapilli eval` alone; leave it out"),
        (["pictures.csv"], "'nowhere.png': "),
        (["notes.txt"], "notes.txt: ending '.txt'"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, monkeypatch, names, message):
    monkeypatch.chdir(tmp_path)
    data = write_lesson(tmp_path / "lesson")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _own(tmp_path / folder, data)
    for name in ("scenes.csv", "my colors.csv", "my-colors.csv", "overall.csv", "notes.txt"):
        _own(tmp_path, data, name)
    (tmp_path / "pictures.csv").write_text("image,question,answer\nnowhere.png,What?,red\n")
    wanted = recipe(
        tmp_path, data=data, validation=Validation(benchmarks=tuple(names), questions=1, images=data.images)
    )
    with pytest.raises(LapilliError) as caught:
        _asked(wanted, tmp_path / "drawn")
    assert message in str(caught.value)


def test_pictures_without_files_of_questions_are_refused(tmp_path):
    wanted = recipe(tmp_path, validation=Validation(benchmarks=("scenes",), images=tmp_path))
    with pytest.raises(UsageError, match=r"validation\.images: the pictures of files of questions"):
        _asked(wanted, tmp_path / "drawn")


def test_the_run_says_from_its_first_step_what_learns_from_how_much(tmp_path):
    wanted = _wanted(tmp_path, stage="align", epochs=2.0)

    def look(llava):
        start = RunDir.open(wanted.out).load("start")
        sizes = {part["part"]: part for part in start["parts"]}
        assert sum(part["parameters"] for part in sizes.values()) == llava.model.num_parameters()
        assert {name: part["mode"] for name, part in sizes.items()} == {
            "vision": "frozen", "projector": "full", "llm": "frozen",
        }  # fmt: skip
        learned = [part["learned_parameters"] for part in sizes.values()]
        assert learned == [0, sizes["projector"]["parameters"], 0]
        rows = len(json.loads(wanted.data.file.read_text()))
        assert start["samples"] + start["validation_samples"] == rows
        return {}

    run = train(wanted, on_eval=look, progress=False)
    assert run.load("start")["steps"] == run.load("training")["steps"]
