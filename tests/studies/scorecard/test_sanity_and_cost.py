"""What is changed under a sanity test, and what is counted of a method's work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.parts import picture
from tests.studies.scorecard import held

from lapilli.studies.scorecard.case import reshown
from lapilli.studies.scorecard.cost import cost, counting
from lapilli.studies.scorecard.methods.registry import METHODS
from lapilli.studies.scorecard.sanity import CASCADE, TESTS, _changes, again, half, likeness, mirrored, randomised

BY_NAME = {method.name: method for method in METHODS}


def changed(llava, other):
    """The parts in which two models differ."""
    parts = {"head": "lm_head", "projector": "multi_modal_projector", "encoder": "vision_tower"}
    parts |= {f"layer {number}": f"language_model.layers.{number}." for number in range(5)}
    pairs = list(zip(llava.model.named_parameters(), other.model.parameters(), strict=True))
    return {
        part
        for part, name in parts.items()
        if any(name in key and not torch.equal(one, two) for (key, one), two in pairs)
    }


def test_the_cascade_goes_down_and_leaves_the_model_alone():
    llava = held.case("deep").llava
    before = [weight.clone() for weight in llava.model.parameters()]
    expected, reached = (
        [{"head"}, {"layer 2", "layer 3", "layer 4"}, {"layer 0", "layer 1"}, {"projector"}, {"encoder"}],
        set(),
    )
    for part, new in zip(CASCADE, expected, strict=True):
        reached |= new
        assert changed(llava, randomised(llava, part, 1)) == reached
    assert all(torch.equal(one, two) for one, two in zip(before, llava.model.parameters(), strict=True))


def test_random_weights_keep_their_size():
    llava = held.case("deep").llava
    one = llava.model.lm_head.weight
    other = randomised(llava, "head", 1).model.lm_head.weight
    assert float(other.std()) == pytest.approx(float(one.std()), rel=0.1)
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.1


@pytest.mark.parametrize("test", [test.name for test in TESTS])
def test_what_knows_nothing_of_the_model_stays_the_same(test):
    cases = [held.case("deep", asked=held.COLOR), held.case("deep", 4)]
    methods = [BY_NAME[name] for name in ("centre", "direct")]
    found = again(test, cases, methods)
    assert found.shape == (2, 2, 9)
    left_out = {"mirrored": [False, True], "other word": [True, True]}  # the second is of a side; words of many pieces
    assert np.isnan(found).all((1, 2)).tolist() == left_out.get(test, [False, False])
    for case, (centre, _) in zip(cases, found, strict=True):
        assert np.isnan(centre).all() or likeness(test, methods[0](case), centre) == pytest.approx(1)


def test_the_map_of_a_mirrored_picture_is_mirrored_back():
    case = held.case("deep", asked=held.COLOR)
    methods = [BY_NAME[name] for name in ("edges", "raster order")]
    (found,) = again("mirrored", [case], methods)
    edges, raster = (likeness("mirrored", method(case), one) for method, one in zip(methods, found, strict=True))
    assert edges == pytest.approx(1)  # follows the picture
    assert raster == pytest.approx(1 - 6 * 3 * (2**2 + 2**2) / (9 * 80))  # two of each row's three change places
    (shown,) = _changes("mirrored", [case])
    assert shown.log_prob == pytest.approx(held.log_prob(case, case.pixels.flip(-1)), abs=2e-5)
    assert abs(shown.log_prob - case.log_prob) > 0.01


def test_a_side_in_the_answer_is_one_too():
    assert list(_changes("mirrored", [held.case("deep", asked=held.COLOR, said="the left one")])) == [None]


def test_another_question_is_the_next_cases():
    """Of cases with one picture and one answer, the maps change places."""
    color = held.case("deep", asked=held.COLOR)
    cases = [replace(held.case("deep"), word=color.word), color]
    expected = np.array([BY_NAME["direct"](case) for case in cases])
    assert abs(likeness("other question", *expected)) < 0.999
    found = again("other question", cases, [BY_NAME["direct"]])[:, 0]
    np.testing.assert_allclose(found, expected[::-1], rtol=1e-5, atol=1e-6)
    same = again("other question", [cases[0], held.case("deep", 4)], [BY_NAME["direct"]])
    assert np.isnan(same).all()  # nothing changes


def test_another_picture_is_the_cases_other():
    case = held.case("deep")
    (shown,) = _changes("other picture", [case])
    pixels = case.llava.pixels([picture(1)])
    assert shown.log_prob == pytest.approx(held.log_prob(case, pixels), abs=2e-5)
    assert abs(shown.log_prob - case.log_prob) > 0.01


def test_another_seed_changes_only_what_is_drawn():
    case, methods = held.case("deep"), [BY_NAME[name] for name in ("random", "direct")]
    (random, direct) = again("other seed", [case], methods)[0]
    assert not np.isclose(random, methods[0](case)).any()
    np.testing.assert_array_equal(direct, methods[1](case))


def test_direct_follows_the_head():
    case = held.case("deep")
    (found,) = again("random head", [case], [BY_NAME["direct"]])
    assert abs(likeness("random head", BY_NAME["direct"](case), found[0])) < 0.9


def test_other_word_is_the_likeliest_other_one():
    case = held.case("deep")
    logits = case.trace.logits[case.word.start]
    (swapped,) = _changes("other word", [replace(case, word=slice(case.word.start, case.word.start + 1))])
    assert list(_changes("other word", [case])) == [None]  # it has several pieces
    best = next(token for token in logits.argsort(descending=True).tolist() if token != case.ids[0])
    assert swapped.ids.tolist() == [best] and swapped.word == slice(case.word.start, case.word.start + 1)


def test_mirroring_is_its_own_inverse():
    maps = np.arange(24.0).reshape(2, 12)
    assert mirrored(maps, (3, 4))[0].tolist() == [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8]
    np.testing.assert_array_equal(mirrored(mirrored(maps, (3, 4)), (3, 4)), maps)


def test_half_precision_is_a_copy():
    llava = held.case("deep").llava
    assert half(llava).model.dtype == torch.bfloat16 and llava.model.dtype == torch.float32
    case = reshown(held.case("deep"), held.case("deep").view, half(llava))
    assert case.log_prob == pytest.approx(held.case("deep").log_prob, rel=0.1)


def test_passes_are_counted():
    case = held.case("deep")
    with counting(case) as passes:
        held.log_prob(case, case.pixels)
    assert passes.forwards == pytest.approx(1) and passes.backwards == 0
    with counting(case) as passes:
        held.centred(case, held.embeddings(case, case.pixels).repeat(3, 1, 1).requires_grad_()).sum().backward()
    assert passes.forwards == pytest.approx(3) and passes.backwards == 3
    case.llava.model.zero_grad()


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [("direct", 0, 0), ("T-MM relevancy", 1, 1), ("all paths, to tokens", 1, 3), ("integrated gradients", 34, 32)],
)
def test_costs_of_methods(name, forwards, backwards):
    """All paths go back once for each of the word's three pieces."""
    (found,) = cost(BY_NAME[name], [held.case("deep")])
    assert found.forwards == pytest.approx(forwards) and found.backwards == backwards
    assert found.seconds > 0


def test_what_comes_before_the_picture_is_not_read_again():
    (found,) = cost(BY_NAME["occlusion, every patch"], [held.case("deep")])
    patches, tokens = len(held.case("deep").patches), len(held.case("deep").trace.ids)
    shorter = (int(held.case("deep").trace.queries.max()) + 1 - int(held.case("deep").patches.min())) / tokens
    assert found.forwards <= patches * shorter + 1e-6 < patches
