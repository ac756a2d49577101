"""The whole study of small models that have learned a few pictures by heart; interrupted, continued, refused."""

import json
import math
from itertools import islice

import numpy as np
import pytest
from tests.studies.color.fabricated import fabricate
from tests.studies.color.taught import ASKED, base, scenes, tuned

from lapilli.core.errors import LapilliError
from lapilli.core.placement import AS_STORED
from lapilli.core.run import RunDir
from lapilli.inspection.attribution.increase import head_increases
from lapilli.inspection.recording import answered, traced
from lapilli.model.llava import load
from lapilli.studies.color import top_head_ablation
from lapilli.studies.color.conditions import read_color_questions
from lapilli.studies.color.overlap import top
from lapilli.studies.color.result import color_result
from lapilli.studies.color.settings import settings
from lapilli.studies.color.study import Study, opened
from lapilli.studies.steps import carry_out


def _settings(**changed):
    return settings(
        **({"base": base(), "tuned": [tuned(0), tuned(1)], "data": scenes(), "questions": ASKED, "seed": 0} | changed)
    )


def _silent(step, done, total):
    pass


@pytest.fixture(scope="module", autouse=True)
def _few_random_sets():
    """Fewer than a study has: each takes a run of the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_head_ablation, "CONTROLS", 3)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study, and its folder."""
    out = tmp_path_factory.mktemp("study") / "run"
    run = opened(out, _settings())
    return color_result(_settings(), run, AS_STORED, _silent), out


def _figures(value):
    """Every figure of a result: a dict with a value and an interval."""
    if isinstance(value, dict):
        if {"value", "low", "high", "n"} <= value.keys() and isinstance(value["value"], float):
            yield value
        for one in value.values():
            yield from _figures(one)
    elif isinstance(value, list):
        for one in value:
            yield from _figures(one)


def test_every_figure_lies_in_its_interval_and_says_how_many_questions(made):
    result, _ = made
    figures = list(_figures({name: value for name, value in result.items() if name != "verdicts"}))
    assert len(figures) > 500
    for one in figures:
        if one["n"]:
            assert one["low"] <= one["value"] + 1e-9 and one["value"] <= one["high"] + 1e-9 and 1 <= one["n"] <= ASKED


def test_what_is_told_and_what_is_right(made):
    result, _ = made
    share = {(row["model"], row["condition"]): row["correct"] for row in result["accuracy"]}
    assert share["base", "TQA-base"] == share["tuned 1", "VQA"] == share["tuned 2", "TQA-tuned"] == ASKED
    assert share["tuned 1", "prior"] < ASKED
    assert result["counts"] == {"asked": 6, "kept": 6, "choosing": 3, "measuring": 3}
    assert [model["label"] for model in result["models"]] == ["base", "tuned 1", "tuned 2"]
    assert {(row["model"], row["condition"]) for row in result["accuracy"]} == {
        ("base", "TQA-base"), *((f"tuned {n}", name) for n in (1, 2) for name in ("VQA", "TQA-tuned", "prior")),
    }  # fmt: skip


def test_a_table_is_the_mean_of_its_questions(made):
    """Of one condition by hand, from the increases of every question."""
    result, _ = made
    llava, asked = load(base()), read_color_questions(scenes(), ASKED, 0)
    each = [head_increases(traced(llava, answered(llava, one.sample("text"), one.color)).at(0))[0] for one in asked]
    (table,) = (row for row in result["tables"] if row["model"] == "base" and row["measure"] == "increase")
    np.testing.assert_allclose(table["value"], np.mean(each, axis=0), atol=1e-5)
    heads = [list(head) for head in sorted(top(np.mean(each[0::2], axis=0), 5))]  # chosen on every other question
    found = [row for row in result["knocked"] if row["of"] == "base" and row["k"] == 5]
    assert found and all(row["heads"] == heads for row in found)


def test_a_model_compared_with_itself_shares_all_heads(tmp_path):
    of = _settings(tuned=[tuned(0), tuned(0)])
    study = Study(of, opened(tmp_path / "run", of))
    carry_out(islice(study.steps(_silent), len(study.cases)), _silent)  # the heads
    from lapilli.studies.color.interval_estimates import overlaps

    for row in overlaps(study):
        if row["kind"] == "seeds":
            assert row["value"] == row["low"] == row["high"] == row["k"]
            assert row["correlation"]["low"] == pytest.approx(1)
            assert row["p"] == pytest.approx(1 / math.comb(20, row["k"]))


def test_the_file_holds_what_is_returned(made):
    result, out = made
    assert RunDir.open(out).load("color") == json.loads(json.dumps(result))
    assert len(result["verdicts"]) == 3 and result["settings"]["versions"]["torch"]


def test_an_interrupted_study_goes_on_and_comes_to_the_same(made, tmp_path):
    out, told = tmp_path / "run", []

    def stopping(step, done, total):
        told.append(step)
        if step == "tuned 1, VQA: ways" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        color_result(_settings(), opened(out, _settings()), AS_STORED, stopping)
    before, told[:] = set(told), []
    again = color_result(_settings(), opened(out, _settings()), AS_STORED, lambda step, done, total: told.append(step))
    assert before & set(told) == {"tuned 1, VQA: ways"}  # begun again; what was done before is not
    assert {**again, "seconds": 0} == {**made[0], "seconds": 0}


def test_a_folder_with_another_study_is_refused(made):
    _, out = made
    with pytest.raises(LapilliError, match="another recipe"):
        opened(out, _settings(seed=1))


def test_models_that_answer_wrongly_are_refused(tmp_path):
    of = _settings(tuned=[base()])  # it has never seen a picture
    with pytest.raises(LapilliError, match="of 6 questions are answered rightly by all models"):
        color_result(of, opened(tmp_path / "run", of), AS_STORED, _silent)


def test_models_of_other_sizes_are_refused(tmp_path):
    of = _settings()
    run = opened(tmp_path / "run", of)
    fabricate(run, of)
    fabricate(run, of, shape=(6, 4), only="tuned-2")
    with pytest.raises(LapilliError, match=r"the models have 5 x 4, 6 x 4 layers and heads"):
        color_result(of, run, AS_STORED, _silent)
