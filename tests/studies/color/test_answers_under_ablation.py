"""Heads knocked out of many questions at a time, against one at a time; and heads that were planted."""

import copy

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of
from tests.parts import picture

from lapilli.core.statistics.sets import least_rank_p, rank_p
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.intervention.ablation import ablated_heads
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.sites import watching
from lapilli.studies.color import answers_under_ablation
from lapilli.studies.color.answers_under_ablation import batches, head_means, outcomes_under_ablation
from lapilli.studies.color.heads import read_heads, said_right
from lapilli.studies.color.overlap import top
from lapilli.studies.color.top_head_ablation import HeadAblations, ablate_top_heads

WORDS = ("red", "blue square", "a green circle", "red", "three", "no")
D_HEAD = 12


def _sequences(llava, shown):
    """Six answered questions of different lengths, with and without a picture."""
    rows, pixels = [], []
    for number, word in enumerate(WORDS):
        mark = "<image>\n" if shown else ""
        asked = Sample(str(number), ("0",) * shown, (Turn("user", mark + "Is it red? " * (number % 4 + 1)),))
        rows.append(answered(llava, asked, word))
        pixels.append(llava.pixels([picture(number)]) if shown else None)
    return rows, pixels


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("name", ["deep", "mistral", "qwen2"])
@pytest.mark.parametrize("heads", [(), ((0, 1), (1, 2))])
def test_in_batches_it_is_what_it_is_one_by_one(name, shown, heads, monkeypatch):
    llava = llava_of(name)
    rows, pixels = _sequences(llava, shown)
    monkeypatch.setattr(
        answers_under_ablation, "_AT_ONCE", 150
    )  # in several batches, of other orders than the questions'
    read = batches(llava, rows, pixels)
    assert len(read) > 1
    values = head_means(llava, read)
    found = outcomes_under_ablation(llava, read, heads, "mean", values)
    with ablated_heads(llava.model, heads, "mean", values):
        alone = [said_right(traced(llava, row, some)) for row, some in zip(rows, pixels, strict=True)]
    np.testing.assert_allclose(found.log_prob, [log_prob for _, log_prob in alone], atol=2e-4)
    assert found.right.tolist() == [right for right, _ in alone]


@pytest.mark.parametrize("name", ["deep", "qwen2"])
def test_means_are_over_all_tokens_but_padding(name):
    llava = llava_of(name)
    rows, pixels = _sequences(llava, True)
    found = head_means(llava, batches(llava, rows, pixels))
    kept = []
    with watching(llava.model, {"llm.layers.1.attn_heads": lambda passing: kept.append(passing[0].clone())}):
        for row, some in zip(rows, pixels, strict=True):
            traced(llava, row, some)
    expected = torch.cat(kept).mean(0)
    for head in range(4):
        np.testing.assert_allclose(found[1, head], expected[head], atol=1e-5)


PLANTED = [(1, 3), (3, 0), (4, 2), (2, 2), (4, 1)]


@pytest.fixture(scope="module")
def planted():
    """A model in which five heads alone add anything to the stream."""
    llava = copy.deepcopy(llava_of("deep"))
    with torch.no_grad():
        for layer, block in enumerate(llava.model.model.language_model.layers):
            for head in range(4):
                if (layer, head) not in PLANTED:
                    block.self_attn.o_proj.weight[:, head * D_HEAD : (head + 1) * D_HEAD] = 0
    return llava


def test_planted_heads_are_found_and_cost_what_no_other_set_does(planted):
    rows, pixels = _sequences(planted, True)
    traces = [traced(planted, row, some) for row, some in zip(rows, pixels, strict=True)]
    table = np.abs([read_heads(trace, np.array([1, 2])).increases for trace in traces]).mean(0)
    assert set(top(table, 5)) == set(PLANTED) and (table > 0).sum() == 5
    read, told = batches(planted, rows, pixels), []
    knocking = HeadAblations(planted, read, head_means(planted, read), lambda done, total: told.append((done, total)))
    found = ablate_top_heads(knocking, {"increase": [*PLANTED, (0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]}, (5, 4), 0)
    assert [(one.k, one.how, one.null) for one in found] == [
        (1, "mean", "any"), (2, "mean", "any"), (5, "mean", "any"), (10, "mean", "any"), (5, "mean", "layers"),
        (5, "zero", "any"),
    ]  # fmt: skip
    assert told[-1][0] == told[-1][1] == len({done for done, _ in told})  # every set once, as many as were announced
    for one in found:
        with ablated_heads(planted.model, one.heads, one.how, knocking.means):
            alone = [said_right(traced(planted, row, some))[1] for row, some in zip(rows, pixels, strict=True)]
        before = [said_right(trace)[1] for trace in traces]
        np.testing.assert_allclose(one.log_prob, np.subtract(alone, before), atol=2e-4)
        assert one.sets.shape[1] == 2 and one.random.shape == (len(rows), 2)
        np.testing.assert_allclose(one.sets.mean(0), one.random.mean(0), atol=1e-9)
    single = found[0]
    assert len(single.sets) == 19  # all other heads: 15 of them add nothing, and change nothing
    assert (np.abs(single.sets[:, 0]) < 1e-5).sum() == 15


def test_p_is_the_rank_among_random_sets():
    random = np.array([-1.0, -2.0, 0.0, -0.5])
    assert [rank_p(value, random) for value in (-3.0, -1.5, 0.5)] == pytest.approx([1 / 5, 2 / 5, 1])
    assert least_rank_p(len(random)) == rank_p(-3.0, random)


def test_p_is_even_when_the_set_is_one_of_the_random_ones():
    """Of 20 random sets and one more of the same kind, it is 0.05 or less in one case of 21."""
    rng = np.random.default_rng(0)
    found = np.array([rank_p(*_one_and_others(rng)) for _ in range(4000)])
    assert (found < 0.05).mean() == pytest.approx(1 / 21, abs=0.012) and found.mean() == pytest.approx(
        11 / 21, abs=0.02
    )


def _one_and_others(rng):
    drawn = rng.standard_normal(21)
    return drawn[0], drawn[1:]
