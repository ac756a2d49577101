"""What earlier versions wrote with `colour` is read as what is written today with `color`, at every door."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.report.explanation.fake_bundle import SMALL, write_bundle
from tests.studies.color.fabricated import fabricate

from lapilli.core import spelling
from lapilli.core.errors import LapilliError
from lapilli.core.recipe import dump, read_recipe
from lapilli.core.run import RunDir
from lapilli.data.questions import read_picture_questions
from lapilli.data.scenes.absent import yes_or_no
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.facts import read_scenes
from lapilli.evaluation.captions import scene_colors
from lapilli.evaluation.scenes import best_constants, read_questions
from lapilli.report.explanation import bundle
from lapilli.report.explanation.page import render
from lapilli.studies.color.conditions import read_color_questions, seed_name
from lapilli.studies.color.settings import result_of, settings
from lapilli.studies.color.study import Study, opened
from lapilli.studies.scorecard.beside import told_apart
from lapilli.studies.scorecard.job import Job, kept_of
from lapilli.studies.scorecard.job import result_of as scorecard_result
from lapilli.studies.scorecard.plan import Plan
from lapilli.training.part_recipe import LanguageRecipe, Lesson

WORD = "color"
EARLIER = "colour"


def earlier(value):
    """A value of JSON as an earlier version wrote it."""
    return json.loads(json.dumps(value).replace(WORD, EARLIER))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of scenes as it is written today, and as it was written earlier."""
    today = tmp_path_factory.mktemp("scenes") / "today"
    write_scenes(today, 30, "held_out", seed=2)
    other = shutil.copytree(today, today.parent / "earlier")
    for name in ("scenes", "questions"):
        lines = (today / f"{name}.jsonl").read_text().splitlines()
        spelled = [line.replace(f'"{WORD}"', f'"{EARLIER}"').replace(f'-{WORD}"', f'-{EARLIER}"') for line in lines]
        assert spelled != lines
        (other / f"{name}.jsonl").write_text("\n".join(spelled) + "\n")
    return today, other


def test_names_are_respelled_and_texts_are_not():
    assert [spelling.name(name) for name in ("colour", "overall colour", "overall_colour")] == [
        "color",
        "overall color",
        "overall_color",
    ]
    for text in ("What colour is it?", "Colour", "shape", "", None, 3, ["colour"], {"colour": 1}):
        assert spelling.name(text) == text
    assert list(spelling.keys({"shape": "colour", "colour": "red"}).items()) == [("shape", "colour"), ("color", "red")]
    assert spelling.entry({"type": "colour", "answer": "colour"}, "type") == {"type": "color", "answer": "colour"}
    for value in (None, [1], "colour", {"answer": "colour"}):
        assert spelling.entry(value, "type") == value
    for value in (None, ["colour"], "colour"):
        assert spelling.keys(value) == value


def test_scenes_of_an_earlier_version_are_the_same_scenes(folders):
    today, other = folders
    assert read_scenes(other) == read_scenes(today)
    assert scene_colors(other, 30) == scene_colors(today, 30)
    assert yes_or_no(other, 20, seed=1) == yes_or_no(today, 20, seed=1)


def test_questions_of_an_earlier_version_have_todays_types(folders):
    today, other = map(read_picture_questions, folders)
    assert [question.type for question in other] == [question.type for question in today]
    assert {question.id for question in other if question.type == WORD} == {f"{n:06d}-colour" for n in range(30)}
    kinds = [[row.type for row in read_questions(folder, "held_out", 9)] for folder in folders]
    assert kinds[0] == kinds[1] and set(kinds[0][:9]) == {WORD}
    constants = [best_constants(read_questions(folder, "held_out", 30)) for folder in folders]
    assert constants[0] == constants[1] and WORD in constants[0]


def test_the_color_study_asks_and_draws_the_same_of_scenes_of_an_earlier_version(folders):
    """Its seeds hold the ids of questions, which hold the type."""
    today, other = (read_color_questions(folder, 20, seed=3) for folder in folders)
    assert [replace(row, question=mine.question) for row, mine in zip(other, today, strict=True)] == today
    for row, mine in zip(other, today, strict=True):
        assert row.question.id != mine.question.id
        assert seed_name(row.question) == seed_name(mine.question) == row.question.id


def test_a_color_study_goes_on_from_what_an_earlier_version_measured(tmp_path, folders):
    for name in ("base", "one"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    of = settings(tmp_path / "base", [tmp_path / "one"], folders[0], 20, 0)
    run = opened(tmp_path / "run", of)
    fabricate(run, of)
    for case in Study(of, run).informed:
        today, name = Study(of, run).keys(case), f"keys-{case.name}"
        arrays = {key.replace(WORD, EARLIER): array for key, array in run.load_arrays(name).items()}
        assert arrays.keys() != today.keys()
        run.save_arrays(name, arrays)
        measures = Study(of, run).keys(case)
        assert list(measures) == list(today)
        assert all(np.array_equal(measures[key], today[key], equal_nan=True) for key in today)


def test_the_result_of_a_color_study_of_an_earlier_version_is_read(tmp_path):
    result = {"example": {"answer": "red"}, "decoding": [{"word": WORD, "k": 1}, {"word": "object", "k": 1}]}
    run = RunDir.create(tmp_path / "run", {"seed": 0}, 0)
    run.save(WORD, earlier(result))
    assert run.load(WORD) != result == result_of(run)


def test_a_scorecard_of_an_earlier_version_is_read(tmp_path):
    question = {"id": "1", "image": "a.png", "question": "What colour?", "answer": "red", "type": WORD, "boxes": []}
    counts = {"asked": 9, "right": 8, "kept": 2, "overall_color": 3, "most_pictures": 2, "no_picture": 1}
    kept = {"counts": counts, "kept": [{"question": question, "given": "colour", "other": "b.png"}] * 2}
    card = {"model": "m", "counts": counts, "settings": {"seed": 0, "types": {WORD: 2}}, "examples": [{"word": WORD}]}
    run = RunDir.create(tmp_path / "run", {"seed": 0}, 0)
    run.save("kept", earlier(kept))
    run.save("scorecard", earlier(card))
    job = Job(run.path, tmp_path, tmp_path, Plan())
    assert job.counts == counts and list(job.counts) == list(counts)
    assert kept_of(earlier(kept))[0].given == "colour"  # an answer is no name
    assert [(row.question.type, row.question.question) for row in job.kept] == [(WORD, "What colour?")] * 2
    for result in (scorecard_result(run), told_apart(run, "other")):
        assert (result["counts"], result["settings"]) == (card["counts"], card["settings"])
        assert result["examples"] == earlier(card["examples"])


def test_an_explanation_of_an_earlier_version_is_read_and_drawn(tmp_path):
    write_bundle(tmp_path, SMALL)
    file = tmp_path / bundle.DESCRIPTION
    today, page = bundle.read(tmp_path)[0], render(tmp_path)
    assert today["dependence"]["verdict"] == "overall color"
    file.write_text(json.dumps(today | {"dependence": earlier(today["dependence"])}))
    description, arrays = bundle.read(tmp_path)
    assert description["dependence"] == today["dependence"]
    bundle.check(description, arrays)
    assert render(tmp_path) == page


def test_a_recipe_with_the_earlier_kind_is_todays_recipe(tmp_path):
    lesson = Lesson(steps=1, things=1, questions=2, batch_size=2, kinds=[WORD, "shape", WORD])
    recipe = LanguageRecipe("language", tmp_path / "run", [lesson])
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(recipe).replace(WORD, EARLIER))
    assert EARLIER in file.read_text() and read_recipe(file, [], LanguageRecipe) == recipe
    assert Lesson(1, 1, 2, 2, kinds=[EARLIER]).kinds == [WORD]
    with pytest.raises(ValueError, match="no such type 'colours'"):
        Lesson(1, 1, 2, 2, kinds=["colours"])


@pytest.mark.parametrize("things", [{"colour": "red"}, [["colour"]], [None], "colour", 3])
def test_what_is_no_scene_is_refused_as_before(folders, tmp_path, things):
    row = {"id": "0", "image": "a.png", "background": "light", "things": things}
    (tmp_path / "scenes.jsonl").write_text(json.dumps(row))
    with pytest.raises(LapilliError, match="things"):
        read_scenes(tmp_path)
