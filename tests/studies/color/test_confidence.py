"""Sharpness matched: against solving by hand; a model whose logits alone are sharper has heads that did not grow."""

import copy
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from tests.studies.color.taught import ASKED, base, scenes

from lapilli.core.statistics.bootstrap import draws
from lapilli.inspection.attribution.increase import head_increases
from lapilli.model.llava import load
from lapilli.studies.color.conditions import read_color_questions
from lapilli.studies.color.confidence import LEVEL, certain, width
from lapilli.studies.color.overlap import top
from lapilli.studies.color.question_measures import QuestionSet, head_measures
from lapilli.studies.color.verdicts import _above


@pytest.mark.parametrize("ahead", [1e-3, 0.5, 3.0, 40.0])
def test_the_factor_gives_the_answer_the_probability(ahead):
    logits = np.random.default_rng(0).normal(size=300)
    logits[7] = np.delete(logits, 7).max() + ahead
    assert np.exp(log_softmax(certain(logits, 7) * logits)[7]) == pytest.approx(LEVEL, abs=1e-9)
    assert certain(3 * logits, 7) == pytest.approx(certain(logits, 7) / 3)


def test_of_a_word_before_three_alike_the_factor_is_what_can_be_solved_by_hand():
    logits = np.array([1.0, 0.0, 0.0, 0.0])
    assert certain(logits, 0) == pytest.approx(np.log(3))


@pytest.mark.parametrize("token", [0, 1])
def test_of_what_is_not_the_likeliest_there_is_none(token):
    assert np.isnan(certain(np.array([0.0, 2.0, 2.0]), token))


def test_a_width_is_a_standard_deviation():
    assert width(np.array([1.0, 3.0], np.float32)) == 1


@pytest.fixture(scope="module")
def rows():
    """Of the base, what `head_measures` finds; and of itself with the logits of all words, or of some, made sharper."""
    asked, plain = read_color_questions(scenes(), ASKED, 0), load(base())
    found = {"base": head_measures(QuestionSet(plain, asked, "text", scenes() / "images"), _silent)}
    for name, changed in CHANGES.items():
        llava = copy.deepcopy(plain)
        with torch.no_grad():
            changed(llava.model)
        asking = QuestionSet(llava, asked, "text", scenes() / "images")
        found[name] = head_measures(asking, _silent, found["base"]["width"])
    return found


CHANGES = {
    "head x 0.7": lambda model: model.lm_head.weight.mul_(0.7),
    "head x 1.3": lambda model: model.lm_head.weight.mul_(1.3),
    "head x 2": lambda model: model.lm_head.weight.mul_(2),
    "norm x 1.3": lambda model: model.model.language_model.norm.weight.mul_(1.3),
    "heads x 1.5": lambda model: _stronger(model, 1.5),
}


def _stronger(model, factor):
    for block in model.model.language_model.layers:
        block.self_attn.o_proj.weight.mul_(factor)


def _silent(done, total):
    pass


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "heads x 1.5"])
def test_sharper_logits_alone_are_no_growth_when_matched(rows, name):
    """As they are, the increases of all heads change by more than a tenth of what they are."""
    before, after = rows["base"], rows[name]
    assert before["right"].all() and after["right"].all()
    raw = np.abs(after["increase"] - before["increase"]).sum() / np.abs(before["increase"]).sum()
    assert raw > 0.1
    for matched in ("certain", "wide"):
        np.testing.assert_allclose(after[matched], before[matched], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "as_it_is"), [("head x 1.3", "holds"), ("head x 2", "holds"), ("head x 0.7", "contradicted")]
)
def test_the_rule_shows_no_growth_of_sharper_logits(rows, name, as_it_is):
    """The test of the verdict, of the top five heads, on as many questions as it asks for; and what it said before."""
    heads = top(rows["base"]["increase"].mean(0), 5)
    layers, numbers = map(list, zip(*heads, strict=True))
    found = {}
    for measure in ("increase", "certain", "wide"):
        grown = (rows[name][measure] - rows["base"][measure]).astype(np.float64)
        tops = grown[:, layers, numbers].sum(1)
        for part, values in (("top", tops / 5), ("beyond", tops / 5 - (grown.sum((1, 2)) - tops) / 15)):
            figure = draws(4 * ASKED, 0).mean(np.tile(values, 4))
            found[measure, part] = _above("", asdict(figure)).finding
    assert found["increase", "top"] == as_it_is
    assert {found[measure, part] for measure in ("certain", "wide") for part in ("top", "beyond")} == {"not shown"}


def test_stronger_heads_are_growth_both_ways(rows):
    before, after = rows["base"], rows["heads x 1.5"]
    for matched in ("certain", "wide"):
        grown = (after[matched] - before[matched]).sum((1, 2))
        assert np.abs(grown).max() > 0.01


def test_the_base_is_compared_with_itself_as_it_is(rows):
    np.testing.assert_array_equal(rows["base"]["wide"], rows["base"]["increase"])


def test_increases_of_multiplied_logits_are_those_of_a_model_with_such_a_head():
    plain, one = load(base()), read_color_questions(scenes(), ASKED, 0)[0]
    sharper = copy.deepcopy(plain)
    with torch.no_grad():
        sharper.model.lm_head.weight.mul_(1.7)
    trace, other = (
        QuestionSet(llava, [one], "text", scenes() / "images").traced(one)[0].at(0) for llava in (plain, sharper)
    )
    np.testing.assert_allclose(head_increases(trace, 1.7), head_increases(other), rtol=1e-4, atol=1e-6)
