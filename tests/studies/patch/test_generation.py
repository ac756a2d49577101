"""Answers of hybrids: a planted layer alone says what the tuned model says, and figures are those by hand."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from tests.studies.compare.made import COUNT, LAYERS, PLANTED, base, changed
from tests.studies.patch import made

from lapilli.core.errors import LapilliError
from lapilli.core.placement import Placement
from lapilli.core.run import RunDir
from lapilli.core.statistics.multiple import holm
from lapilli.core.statistics.paired import mcnemar
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion
from lapilli.inference.answer import answer
from lapilli.model.llava import load
from lapilli.studies.patch.generation import RESULT, is_right, opened, study
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.settings import OTHER

_HOLD = TemporaryDirectory(prefix="lapilli-generation-")
PLAN = Plan(LAYERS)
WITH_IT = ("layers", "shallow")


def silent(*_):
    pass


def ends_alike(question, text):
    """A score of our own: these models' answers are noise, of which VQA's rule finds none right."""
    return (len(text) + len(question.question)) % 2 == 0


@cache
def finished():
    settings = made.of(changed(PLANTED))
    run = opened(Path(_HOLD.name) / "planted", settings, Placement(), ends_alike)
    study(settings, run, PLAN, Placement(), silent, ends_alike)
    run.finish()
    return run


def said(run, target, source, at):
    return run.load(f"answers/{target}-{source}-{at:03}")["text"]


def of_model(folder):
    settings = made.of(changed(PLANTED))
    samples = [question.sample for question in settings.questions]
    return [
        one.text for one in answer(load(folder), samples, lambda name: open_picture(settings.data / "images", name))
    ]


def test_a_hybrid_with_the_planted_layer_says_what_the_other_model_says_and_one_without_it_what_its_own_does():
    run, own = finished(), {"base": of_model(base()), "tuned": of_model(changed(PLANTED))}
    assert own["base"] != own["tuned"]
    for target, source in OTHER.items():
        assert said(run, target, source, 0) == own[target]
        for part, patch in PLAN.parts.items():
            if part != "all":
                (at,) = PLAN.numbers([patch])
                assert said(run, target, source, at) == own[source if part in WITH_IT else target]
        for stop in range(1, LAYERS + 1):
            (at,) = PLAN.numbers(PLAN.up_to([stop]))
            assert said(run, target, source, at) == own[source if stop > PLANTED else target]


def test_random_changes_are_one_draw_of_the_same_layer():
    """Only the planted layer is changed at random, so that the connector says what the target says."""
    run = finished()
    connector, layers = PLAN.numbers([PLAN.parts["connector"], PLAN.parts["layers"]])
    for target in OTHER:
        own = said(run, target, OTHER[target], 0)
        assert said(run, target, "random-0", connector) == own != said(run, target, "random-0", layers)


def test_figures_are_those_by_hand():
    run = finished()
    made_ = run.load(RESULT)
    questions = made.of(changed(PLANTED)).questions
    assert made_["n"] == COUNT == len(questions)

    def right(target, source, at):
        texts = said(run, target, source, at)
        return np.array([ends_alike(one, text) for one, text in zip(questions, texts, strict=True)])

    for one in made_["hybrids"]:
        place = one["target"], one["source"], one["at"]
        mine, own = right(*place), right(one["target"], OTHER[one["target"]], 0)
        assert (one["right"]["correct"], one["right"]["n"]) == (mine.sum(), COUNT)
        gain = right(OTHER[one["target"]], one["target"], 0).mean() - own.mean()
        if one["share"]["value"] is not None:
            assert one["share"]["value"] == pytest.approx((mine.mean() - own.mean()) / gain)
        test = mcnemar(list(mine), list(own))
        assert (one["gained"], one["lost"], one["p"]) == (test.first_only, test.second_only, test.p)
        assert one["words"] == pytest.approx(np.mean([len(text.split()) for text in said(run, *place)]))
        assert one["no_answer"]["correct"] == COUNT  # noise is never yes or no
    true = [one for one in made_["hybrids"] if one["at"] and not one["source"].startswith("random")]
    assert len(true) == made_["tests"] == 2 * len(PLAN.answering) - 2
    assert len(made_["hybrids"]) == 4 * len(PLAN.answering) - 2
    np.testing.assert_allclose([one["holm"] for one in true], holm([one["p"] for one in true]))
    assert {one["holm"] for one in made_["hybrids"] if one not in true} == {None}


def test_examples_are_what_was_said():
    run = finished()
    (layers,) = PLAN.numbers([PLAN.parts["layers"]])
    for row, one in enumerate(run.load(RESULT)["examples"]):
        assert one["base"] == said(run, "base", "tuned", 0)[row]
        assert one["tuned"] == one["layers"] == said(run, "base", "tuned", layers)[row]


def test_an_interrupted_run_goes_on_and_comes_to_the_same(tmp_path):
    settings, whole = made.of(changed(PLANTED)), finished()
    shutil.copytree(whole.path, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    lost = sorted((tmp_path / "run/results/answers").iterdir())[::3]
    for file in [*lost, tmp_path / "run/results/generated.json"]:
        file.unlink()
    run = opened(tmp_path / "run", settings, Placement(), ends_alike)
    assert study(settings, run, PLAN, Placement(), silent, ends_alike) == whole.load(RESULT)
    for file in lost:
        assert file.read_bytes() == (whole.path / file.relative_to(tmp_path / "run")).read_bytes()


def test_a_folder_of_another_pair_or_score_is_not_gone_on_with(tmp_path):
    shutil.copytree(finished().path, tmp_path / "run")
    for settings, score in ((made.of(changed(None)), ends_alike), (made.of(changed(PLANTED)), is_right)):
        with pytest.raises(LapilliError, match="of another recipe"):
            opened(tmp_path / "run", settings, Placement(), score)
    assert RunDir.open(tmp_path / "run").is_complete


@pytest.mark.parametrize(
    ("right", "text", "is_it"),
    [
        ("red", "Red.", True),
        ("red", "the red", True),
        ("two", "2", True),
        ("A", "a.", True),
        ("red", "", False),
        ("", "", False),
        ("red", "It is red", False),
        ("red", "red or blue", False),
        ("no", "not", False),
        ("a red star", "red", False),
    ],
)
def test_an_answer_that_only_holds_the_right_one_is_wrong(right, text, is_it):
    question = PictureQuestion(id="1", image="1.png", question="?", answer=right, type="", boxes=())
    assert is_right(question, text) is is_it
