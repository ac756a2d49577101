"""The study: who is taken apart, that it goes on where it stopped, and what its figures are figures of."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from tests.core.statistics.pairs import auc
from tests.studies.hallucination.made import SEED, asked, model, picture, scenes

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.placement import AS_STORED
from lapilli.core.run import RunDir
from lapilli.core.statistics.multiple import holm
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion
from lapilli.data.scenes.absent import object_of
from lapilli.data.yes_no import leading_word
from lapilli.inference.answer import answer
from lapilli.model.llava import load, pixels_of
from lapilli.studies.hallucination import study as module
from lapilli.studies.hallucination.analysed_answers import group_of
from lapilli.studies.hallucination.matching import Yes, matched
from lapilli.studies.hallucination.scores import CONFIDENCE, SCORES, SHARES
from lapilli.studies.hallucination.settings import Settings, settings
from lapilli.studies.hallucination.study import FEWEST, PER_WRONG, another, chosen, opened, study

MODELS = {"one": model(0), "two": model(1)}


def run_study(folder, models=MODELS, data=None, note=lambda *_: None):
    run = RunDir.begin(folder, {"study": "test"}, SEED)
    return run, study(Settings(models, data or scenes(), len(asked()), SEED), run, AS_STORED, note)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_study(tmp_path_factory.mktemp("whole") / "run")


def test_a_run_is_of_the_scenes_that_are_asked_about_with_questions_beside_them_or_without(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(scenes(), data)
    of = Settings({"one": model(0)}, data, 24, SEED)
    opened(tmp_path / "run", of)
    opened(tmp_path / "run", of)
    (data / "questions.jsonl").unlink()
    with pytest.raises(LapilliError, match="another recipe"):
        opened(tmp_path / "run", of)
    opened(tmp_path / "other", of)
    facts = (data / "scenes.jsonl").read_text()
    (data / "scenes.jsonl").write_text(facts.replace("large", "small"))
    with pytest.raises(LapilliError, match="another recipe"):
        opened(tmp_path / "other", of)


def question(answer, kind="random"):
    return PictureQuestion("q", "a.png", "Is there a red ring?", answer, kind)


@pytest.mark.parametrize(
    ("right", "given", "group"),
    [("no", "yes", "wrong yes"), ("yes", "yes", "right yes"), ("no", "no", "right no"), ("Yes", "no", "wrong no"),
     ("no", "other", "other")],
)  # fmt: skip
def test_groups_of_answers(right, given, group):
    assert group_of(question(right), given) == group


def test_every_wrong_yes_is_taken_apart_and_some_right_answers():
    questions = [question("no")] * 1000 + [question("yes")] * 1000
    answers = ["yes"] * 30 + ["no"] * 970 + ["yes"] * 1000
    numbers = np.array(chosen(questions, answers, seed=1))
    assert set(range(30)) <= set(numbers) and list(numbers) == sorted(set(numbers))
    assert ((numbers >= 30) & (numbers < 1000)).sum() == (numbers >= 1000).sum() == 30 * PER_WRONG
    assert chosen(questions, answers, 1) != chosen(questions, answers, 2)
    assert len(chosen(questions, ["no"] * 1000 + ["yes"] * 1000, 0)) == 2 * FEWEST


def test_asking_reports_how_far_it_is_batch_by_batch(tmp_path):
    noted = []

    def note(step, done, total):
        noted.append((step, done, total))
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(tmp_path / "run", note=note)
    assert noted[0] == ("one: asking", 0, 36) and noted[-1] == ("one: asking", 32, 36)


def test_it_goes_on_where_it_stopped_and_does_nothing_twice(tmp_path, whole, monkeypatch):
    class StoppedError(Exception):
        pass

    def stop(step, done, total):
        if (step, done) == ("two: taking apart", 7):
            raise StoppedError

    def refuse(*_):
        raise AssertionError("done already")

    with pytest.raises(StoppedError):
        run_study(tmp_path / "run", note=stop)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "results").rglob("*.json")}
    loaded, told = [], []
    monkeypatch.setattr(module, "answer", refuse)
    monkeypatch.setattr(module, "load", lambda path, placement: loaded.append(path) or load(path, placement))
    _, made = run_study(tmp_path / "run", note=lambda *words: told.append(words))
    assert loaded == [MODELS["two"]]
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert _without_noise(made) == _without_noise(whole[1])
    steps = ("asking", "taking apart", "reading margins", "taking partners apart")
    assert list(dict.fromkeys(step for step, *_ in told)) == [f"{label}: {one}" for label in MODELS for one in steps]
    assert ("two: taking apart", 7) in [words[:2] for words in told]


def _without_noise(made):
    """To six digits: a model that is loaded again computes the same, but a batch may be cut elsewhere."""
    if isinstance(made, dict):
        return {name: _without_noise(value) for name, value in made.items()}
    if isinstance(made, (list, tuple)):
        return [_without_noise(value) for value in made]
    return pytest.approx(made, rel=1e-6, abs=1e-6, nan_ok=True) if isinstance(made, float) else made


def test_the_counts_are_those_of_the_answers(whole):
    _, made = whole
    for label, path in MODELS.items():
        given = answer(load(path), [one.sample for one in asked()], picture, max_new_tokens=8)
        groups = [group_of(question, leading_word(one.text)) for question, one in zip(asked(), given, strict=True)]
        (found,) = (one for one in made["models"] if one["label"] == label)
        assert found["groups"] == {group: groups.count(group) for group in found["groups"]}
        assert sum(kind["count"] for kind in found["kinds"].values()) == groups.count("wrong yes") > 0
        assert sum(kind["n"] for kind in found["kinds"].values()) == len(asked()) / 2


def test_the_areas_are_those_of_the_saved_answers(whole):
    run, made = whole
    scores = {group: [] for group in ("wrong yes", "right yes", "right no")}
    answers = [leading_word(text) for text in run.load("model-0/answers")["texts"]]
    for number in chosen(asked(), answers, SEED):
        found = run.load(f"model-0/{number:06d}")
        scores[group_of(asked()[number], answers[number])].append(found["readings"]["full"]["all_paths"]["image"])
    found = {(one["task"], one["score"]): one for one in made["areas"] if (one["model"], one["kind"]) == ("one", "all")}
    wrong, grounded, absent = (np.array(scores[name]) for name in ("wrong yes", "right yes", "right no"))
    assert found["yes", "image"]["value"] == pytest.approx(auc(-wrong, -grounded))
    assert found["absent", "image"]["value"] == pytest.approx(auc(-wrong, absent))  # of a no, towards no
    assert (found["yes", "image"]["positives"], found["yes", "image"]["n"]) == (len(wrong), len(wrong) + len(grounded))


def test_the_margin_tells_as_the_probability_of_yes_over_no(whole):
    """Of answers yes, all that the margin's size says is in p(yes) / p(no)."""
    _, made = whole
    found = {one["score"]: one["value"] for one in made["areas"] if (one["task"], one["model"]) == ("yes", "pooled")
             and one["kind"] == "all"}  # fmt: skip
    assert found["margin"] == pytest.approx(found["probability"], abs=0.1)


def test_an_example_shows_what_the_patches_lie_on(tmp_path):
    """Not the picture as it is: the model is shown it with a margin."""
    wide = tmp_path / "wide"
    shutil.copytree(scenes(), wide)
    for file in (wide / "images").iterdir():
        picture(file.name).resize((96, 88)).save(file)
    view = pixels_of(MODELS["one"]).view
    _, made = run_study(tmp_path / "run", {"one": MODELS["one"]}, wide)
    for example in made["examples"]:
        shown = Image.open(io.BytesIO(base64.b64decode(example["picture"].partition(",")[2])))
        may_be = [
            view(open_picture(wide / "images", one.image)) for one in asked() if one.question == example["question"]
        ]
        assert any(np.array_equal(one, shown) for one in may_be)
    assert made["examples"]


def test_kinds_are_apart(whole):
    _, made = whole
    every = {one["kind"]: one for one in made["areas"] if one["task"] == "absent" and one["score"] == "margin"
             and one["model"] == "pooled"}  # fmt: skip
    kinds = [one for kind, one in every.items() if kind != "all"]
    assert sum(one["n"] for one in kinds) == every["all"]["n"]
    assert sum(one["positives"] for one in kinds) == every["all"]["positives"]


def test_every_score_is_tested_against_the_baseline_and_adjusted_for_all(whole):
    _, made = whole
    for task in ("yes", "absent"):
        tests = [one for one in made["tests"] if one["task"] == task]
        assert {one["score"] for one in tests} == {score.name for score in SCORES} - {made["settings"]["baseline"]}
        assert [one["holm"] for one in tests] == pytest.approx(holm([one["p"] for one in tests]))
        areas = {one["score"]: one["value"] for one in made["areas"]
                 if (one["task"], one["model"], one["kind"]) == (task, "pooled", "all")}  # fmt: skip
        for one in tests:
            assert one["value"] == pytest.approx(areas[one["score"]] - areas["probability"])


def test_the_parts_of_what_is_shown_sum_to_the_margin(whole):
    _, made = whole
    for group in ("wrong yes", "right yes", "right no"):
        parts = {name: np.array(values) for name, values in made["parts"][group].items()}
        assert parts["image"] + parts["question"] + parts["prior"] == pytest.approx(parts["full"], abs=3e-3)
    assert made["missed"] < 1e-4
    for one in made["examples"]:
        assert sum(one["map"]) == pytest.approx(one["parts"]["image"], abs=1e-6)
        assert one["group"] in ("wrong yes", "right yes") and one["probability"] > 0


def test_deletions_count_the_answers_that_turn(whole):
    run, made = whole
    turned, random = [], []
    for number in range(len(MODELS)):
        answers = [leading_word(text) for text in run.load(f"model-{number}/answers")["texts"]]
        for at in chosen(asked(), answers, SEED):
            if group_of(asked()[at], answers[at]) == "right yes":
                removed = run.load(f"model-{number}/{at:06d}")["removed"]
                turned.append(removed["named"] < 0)
                random.append(np.mean(np.array(removed["random"]) < 0))
    (found,) = (one for one in made["deletions"] if one["group"] == "right yes")
    alone = binomtest(sum(turned), len(turned)).proportion_ci(0.95, method="wilson")
    assert (found["named"]["count"], found["named"]["n"]) == (sum(turned), len(turned))
    assert found["named"]["low"] <= alone.low and alone.high <= found["named"]["high"]  # of several models' pictures
    assert found["random"]["value"] == pytest.approx(np.mean(random))
    assert found["difference"]["value"] == pytest.approx(np.mean(turned) - np.mean(random))


def test_pairs_are_of_one_model_and_object_and_their_answers_were_taken_apart(whole):
    """Found again from what was saved: who is matched with whom, and who turns."""
    run, made = whole
    turned, margins, without = [[], []], [], 0
    for number in range(len(MODELS)):
        answers = [leading_word(text) for text in run.load(f"model-{number}/answers")["texts"]]
        groups = [group_of(*one) for one in zip(asked(), answers, strict=True)]
        made_up = [at for at, group in enumerate(groups) if group == "wrong yes"]
        about = {object_of(asked()[at]) for at in made_up}
        grounded = [at for at, group in enumerate(groups) if group == "right yes" and object_of(asked()[at]) in about]
        saved = dict(zip(grounded, run.load(f"model-{number}/margins"), strict=True))
        found = {at: run.load(f"model-{number}/{at:06d}") for at in made_up}
        sides = ({at: one["readings"]["full"]["d"] for at, one in found.items()}, saved)
        some = [[Yes(at, object_of(asked()[at]), d) for at, d in side.items()] for side in sides]
        matching = matched(*some)
        without += matching.without
        for pair in matching.pairs:
            both = [run.load(f"model-{number}/{at:06d}") for at in pair]
            assert both[1]["readings"]["full"]["d"] == pytest.approx(saved[pair[1]], abs=1e-4)
            margins.append(abs(both[0]["readings"]["full"]["d"] - both[1]["readings"]["full"]["d"]))
            for side, one in zip(turned, both, strict=True):
                side.append(one["removed"]["named"] < 0)
    found = made["matched"]
    assert found["pairs"] == len(margins) > 0 and found["without"] == without
    assert found["pairs"] + found["without"] + found["far"] == made["taken"]["wrong yes"]
    assert found["apart"] == pytest.approx(np.mean(margins))
    assert [one["named"]["count"] for one in found["groups"]] == [sum(side) for side in turned]
    assert [one["group"] for one in found["groups"]] == ["wrong yes", "right yes"]


def test_the_regressions_are_given_scores_that_are_there():
    names = [score.name for score in SCORES]
    assert len(set(names)) == len(names) and {*CONFIDENCE, *SHARES} <= set(names)


def test_one_picture_is_not_enough(tmp_path):
    rows = [
        {"id": answer, "image": "a.png", "question": "Is it?", "answer": answer, "type": "existence"}
        for answer in ("yes", "no")
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match="about one picture"):
        settings(list(MODELS.values()), tmp_path, 2, SEED)


def test_the_other_picture_is_never_its_own():
    pictures = ["a", "b", "c"]
    found = {(own, another(pictures, own, seed)) for own in pictures for seed in range(40)}
    assert found == {(one, other) for one in pictures for other in pictures if one != other}


def test_a_regression_needs_a_made_up_answer_for_every_fold(whole):
    run, made = whole
    counts = [run.load(f"model-{number}/answers")["texts"] for number in range(2)]
    wrong = [sum(q.answer == "no" and leading_word(text) == "yes" for q, text in zip(asked(), texts, strict=True))
             for texts in counts]  # fmt: skip
    assert bool(made["regressions"]) == (min(wrong) >= made["settings"]["folds"])
