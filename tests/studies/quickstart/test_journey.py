"""A miniature of the whole journey, with the shipped parts: interrupted in stage 1, called again, then looked at."""

import hashlib
import json
import os
import shlex
import signal
import time
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from safetensors.numpy import load_file
from transformers import pipeline

from lapilli.cli import run
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.data.sample import read_samples
from lapilli.data.scenes.questions import TYPES
from lapilli.model.reading import quiet
from lapilli.report.quickstart.schema import CONTROLS, Results
from lapilli.studies.quickstart import LANGUAGES, Journey
from lapilli.studies.quickstart.results import _stage, collect
from lapilli.training import loop
from lapilli.training.recipe import Length, TrainRecipe

SCENES, TESTS = 40, 12
BATCH, STEPS = 20, 4  # two epochs of two steps: Ctrl-C comes after the first, and step 3 writes the checkpoint
OVERRIDES = (f"max_steps={STEPS}", f"batch_size={BATCH}", "log_every=1")
MADE_ANEW = {"results.json", "report.html"}


def travel(out, *more):
    sizes = ["--scenes", str(SCENES), "--tests", str(TESTS)]
    changed = [part for change in OVERRIDES for part in ("--set", change)]
    return run(["quickstart", "--out", str(out), *sizes, *changed, *more])


def interrupted(recipe, resume, train=loop.train):
    """The training, and Ctrl-C at the end of its first epoch."""
    return train(recipe, resume, on_eval=lambda _: os.kill(os.getpid(), signal.SIGINT) or {})


@pytest.fixture(scope="module")
def halted(tmp_path_factory):
    """The folder of a journey that was interrupted in stage 1, and when its files were written."""
    out = tmp_path_factory.mktemp("journey") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", interrupted)
        assert travel(out) == 130
    assert not (out / "align/manifest.json").exists()
    return out, written(out)


@pytest.fixture(scope="module")
def folder(halted):
    assert travel(halted[0]) == 0
    return halted[0]


@pytest.fixture(scope="module")
def found(folder):
    return strictly((folder / "results.json").read_text())


def strictly(text):
    """JSON as its standard has it, without NaN."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def written(out):
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}


def tensors(model):
    """The hash of every tensor of a model, by its name."""
    return {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in load_file(model).items()}


def part_of(name):
    return next(part for part in ("vision", "projector", "language", "lm_head") if part in name)


def changed(before, after):
    """The parts that any tensor of differs; the names must be the same."""
    assert before.keys() == after.keys()
    return {part_of(name) for name in before if before[name] != after[name]}


def problems(value, hint, where="results"):
    """Where a value of JSON is not what its type says."""
    if is_typeddict(hint):
        missing = [f"{where}.{key}: missing" for key in hint.__required_keys__ - value.keys()]
        hints = get_type_hints(hint).items()
        return missing + [
            p for key, kind in hints if key in value for p in problems(value[key], kind, f"{where}.{key}")
        ]
    if get_origin(hint) is list:
        return [p for index, one in enumerate(value) for p in problems(one, get_args(hint)[0], f"{where}[{index}]")]
    if get_origin(hint) is dict:
        return [p for key, one in value.items() for p in problems(one, get_args(hint)[1], f"{where}.{key}")]
    if get_origin(hint) is Literal:
        return [] if value in get_args(hint) else [f"{where}: {value!r}"]
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    allowed = (*kinds, NoneType) if float in kinds else kinds  # floats are finite or null
    return [] if isinstance(value, allowed) else [f"{where}: {value!r}"]


def test_the_interrupted_stage_goes_on_and_nothing_is_made_twice(halted, folder):
    now = written(folder)
    kept = {name: when for name, when in halted[1].items() if name.startswith(("data/", "joined/"))}
    assert len(kept) > 2 * (SCENES + 2 * TESTS + 60)
    assert kept == {name: now[name] for name in kept}
    for stage in ("align", "instruct"):
        run = RunDir.open(folder / stage)
        run.verify()
        assert [row["step"] for row in run.metrics() if "loss" in row] == list(range(1, STEPS + 1))


def test_stage_1_moves_the_projector_and_stage_2_the_language_model_too(folder):
    joined, align, instruct, model = (
        tensors(folder / name / "model.safetensors") for name in ("joined", "align/model", "instruct/model", "model")
    )
    assert changed(joined, align) == {"projector"}
    assert {"projector", "language"} <= changed(align, instruct) <= {"projector", "language", "lm_head"}
    assert model == instruct
    assert {part_of(name) for name in model} >= {"vision", "projector", "language"}


def test_the_results_have_everything_that_the_page_asks_for(found):
    assert (Results.__required_keys__ | Results.__optional_keys__) - {"english"} <= found.keys()
    assert problems(found, Results) == []
    assert [stage["trains"] for stage in found["stages"]] == [["projector"], ["projector", "language"]]
    assert [part["role"] for part in found["parts"]] == ["vision", "projector", "language"]
    assert [step.get("stage") for step in found["steps"] if step.get("stage")] == ["align", "instruct"]
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"]), abs=0.1)
    times = {step["stage"]: step["seconds"] for step in found["steps"] if "stage" in step}
    assert {stage["name"]: stage["seconds"] for stage in found["stages"]} == times  # interrupted attempts included


def test_the_trainable_parameters_are_the_parts_sizes(found):
    _, projector, language = (part["parameters"] for part in found["parts"])
    counts = [stage["trainable_parameters"] for stage in found["stages"]]
    assert counts[0] == projector
    assert counts[1] == projector + language + found["parts"][2]["head"]
    assert [stage["samples"] for stage in found["stages"]] == [SCENES, SCENES]
    assert [stage["steps"] for stage in found["stages"]] == [STEPS, STEPS]


def test_a_row_of_each_stage_is_what_it_learns_from(folder, found):
    align, instruct = (stage["row"] for stage in found["stages"])
    assert (align["template"], instruct["template"]) == ("plain", "vicuna_v1")
    caption = json.loads((folder / "data/train/align.json").read_text())[0]["conversations"][1]["value"]
    assert caption in "".join(token["text"] for token in align["tokens"] if token["learned"])
    assert {token["role"] for token in instruct["tokens"] if token["learned"]} == {"answer", "stop"}
    assert 0 < instruct["learned"] < instruct["count"]


def test_a_stage_that_logged_nothing_has_no_speed(folder):
    logged = RunDir.open(folder / "instruct")
    steps = [{"stage": "instruct", "seconds": 1.0}]
    assert _stage("instruct", logged, steps)["samples_per_second"] > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDir, "metrics", lambda _: [{"step": 1, "evaluated": True}])
        assert _stage("instruct", logged, steps)["samples_per_second"] is None


def test_every_score_is_counted_from_the_answers_that_were_kept(folder, found):
    kept = json.loads((folder / "scores/instruct.json").read_text())["answers"]
    rows = [row for row in found["scores"] if row["stage"] == "instruct"]
    assert {(row["split"], row["condition"]) for row in rows} == {
        ("held_out", "image"), ("compositional", "image"), *(("held_out", control) for control in CONTROLS)
    }  # fmt: skip
    for row in rows:
        group = [one for one in kept if all(one[key] == row[key] for key in ("split", "condition", "type"))]
        right = [one["given"].strip().rstrip(".").lower() == one["answer"].lower() for one in group]
        assert (row["n"], row["correct"]) == (len(group), sum(right))
    assert sum(row["n"] for row in rows) == len(kept)


def test_every_score_has_its_interval(found):
    assert {row["type"] for row in found["scores"]} == set(TYPES)
    captions = [found["captions"][name] for name in ("mentioned", "shuffled")]
    for row in [*found["scores"], *captions]:
        assert 0 <= row["low"] < row["high"] <= 1
        if row["n"]:
            assert row["low"] <= row["estimate"] <= row["high"]
            assert row["estimate"] == pytest.approx(row["correct"] / row["n"])
    assert all(row["n"] > 0 for row in found["scores"])  # captions after a few steps may name no color


def test_the_constants_are_answers_that_the_questions_have(folder, found):
    for row in found["constants"]:
        file = folder / "data" / row["split"] / "questions.jsonl"
        asked = [one for one in map(json.loads, file.read_text().splitlines()) if one["type"] == row["type"]]
        share = sum(one["answer"] == row["answer"] for one in asked) / len(asked)
        assert (row["estimate"], row["n"]) == (pytest.approx(share), len(asked))
        assert all(sum(one["answer"] == other["answer"] for one in asked) <= share * len(asked) for other in asked)


def test_the_examples_are_new_pictures_of_their_own_and_are_on_the_page(folder, found):
    images = [one["image"] for one in found["examples"]]
    assert len(set(images)) == 12
    trained = {hashlib.sha256(f.read_bytes()).digest() for f in (folder / "data/train/images").iterdir()}
    assert all(hashlib.sha256((folder / image).read_bytes()).digest() not in trained for image in images)
    page = (folder / "report.html").read_text()
    assert all(one["question"] in page for one in found["examples"])
    assert page.count("data:image/png;base64,") >= 12


def test_a_second_call_does_nothing_and_is_quick(folder):
    before, began = written(folder), time.process_time()
    assert travel(folder) == 0
    assert time.process_time() - began < 10
    after = written(folder)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} <= MADE_ANEW


def test_what_an_earlier_version_drew_and_scored_is_read(folder, found):
    """It spelled the type `colour`, in questions and in scores."""
    files = [*folder.glob("scores/*.json"), *folder.glob("data/*/questions.jsonl")]
    today = {file: file.read_text() for file in files}
    try:
        for file, text in today.items():
            file.write_text(text.replace('"type": "color"', '"type": "colour"'))
        results = collect(Journey(folder, scenes=SCENES, tests=TESTS, overrides=OVERRIDES))
    finally:
        for file, text in today.items():
            file.write_text(text)
    assert json.loads(json.dumps(results)) == found
    assert sum(text.count('"type": "color"') for text in today.values()) > 100


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """The folder of a journey whose language model is treated as SmolLM2 is."""
    out = tmp_path_factory.mktemp("talking") / "out"
    changes = ("max_steps=2", "precision=fp32", "lora.rank=2", "log_every=1")
    options = ["--scenes", "8", "--tests", "8", *(part for change in changes for part in ("--set", change))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LANGUAGES, "pebble-lm", LANGUAGES["smollm2"])
        assert run(["quickstart", "--out", str(out), *options]) == 0
    return out


def test_a_language_model_that_talks_learns_plain_english_too_and_is_asked_before_and_after(talking):
    mixed = read_samples(talking / "data/train/mixed.json")
    assert sum(not sample.images for sample in mixed) == 420
    assert read_recipe(talking / "instruct/recipe.yaml", (), TrainRecipe).data.file.name == "mixed.json"
    found = strictly((talking / "results.json").read_text())
    assert problems(found, Results) == []
    english = found["english"]
    assert english["scores"][0]["type"] == "instruction"
    assert [row["unit"] for row in english["perplexity"]] == ["token", "word"]
    assert "What it kept of its English" in (talking / "report.html").read_text()


def test_the_model_that_is_set_out_has_the_updates_in_its_weights(talking):
    assert (talking / "instruct/model/adapter_config.json").exists()
    assert not (talking / "model/adapter_config.json").exists()
    before, after = (tensors(talking / name / "model.safetensors") for name in ("align/model", "model"))
    assert "language" in changed(before, after) <= {"projector", "language"}


def test_another_journey_in_the_same_folder_is_refused(folder, capsys):
    before = written(folder)
    assert travel(folder, "--seed", "7") == 2
    assert "began as: lapilli quickstart" in capsys.readouterr().err
    assert written(folder) == before


@pytest.mark.parametrize("change", ["batch_sise=8", "llm.muon_learning_rate=-1"])
def test_a_mistake_in_a_recipe_is_found_before_anything_is_written(tmp_path, capsys, change):
    assert travel(tmp_path / "out", "--set", change) == 2
    assert change.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_spaces_and_signs_is_taken_as_it_is():
    journey = Journey(Path("runs/my model: a #1"), overrides=("out=elsewhere", "batch_size=8"))
    recipe = read_recipe(Path("recipes/instruct.yaml"), journey.recipe("instruct"), TrainRecipe)
    assert recipe.out == journey.out / "instruct"  # an override cannot move what the journey relies on
    assert recipe.data.images == journey.out / "data/train/images"
    assert recipe.batch_size == 8


@pytest.mark.parametrize("samples", [8, 100, 7_000, 100_000])
def test_stage_1_takes_500_steps_whatever_there_is_to_see_unless_told_otherwise(samples):
    """Its losses and its model depend on it, to the last bit."""

    def length(*changes):
        journey = Journey(Path("runs/x"), overrides=changes)
        return Length(read_recipe(Path("recipes/align.yaml"), journey.recipe("align"), TrainRecipe), samples)

    assert (length().steps, length().cap) == (500, 500)
    assert length("max_steps=4").steps == 4


def test_the_commands_that_the_page_proposes_work(found, capsys):
    commands = [shlex.split(row["command"])[1:] for row in found["next_commands"]]
    assert [command[0] for command in commands] == ["ask", "explain", "eval", "data", "train"]
    for command in (commands[0], commands[1], commands[3]):
        assert run(command) == 0
        assert capsys.readouterr().out.strip()


def test_json_is_the_results(folder, capsys):
    assert travel(folder, "--json") == 0
    assert strictly(capsys.readouterr().out) == strictly((folder / "results.json").read_text())


@pytest.mark.parity
@pytest.mark.parametrize("index", [0, 1])
def test_transformers_alone_gives_the_same_answers(folder, found, index, capsys):
    """The model's folder needs nothing of ours: a pipeline of transformers says what `lapilli ask` says."""
    example = found["examples"][index]
    image, question = folder / example["image"], example["question"]
    assert run(["ask", str(folder / "model"), str(image), question, "--max-new-tokens", "12", "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["answer"]
    content = [{"type": "image", "url": str(image)}, {"type": "text", "text": question}]
    with quiet():
        ask = pipeline("image-text-to-text", model=str(folder / "model"))
        theirs = ask(text=[{"role": "user", "content": content}], max_new_tokens=12, return_full_text=False)
    assert ours == theirs[0]["generated_text"].strip()
    assert ours
