"""Whether a word needs its picture: the rule on readings, and the whole on models that do and that cannot."""

import numpy as np
import pytest
import torch
from tests.parts import IMAGE_SIZE, joined, picture

from lapilli.data.sample import Sample, Turn
from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.intervention.dependence import dependence, survives
from lapilli.inspection.intervention.removal import blurred, reread
from lapilli.inspection.intervention.replacement_pictures import blank, shipped
from lapilli.inspection.readings import Readings
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.model.llava import load
from lapilli.studies.explain.findings import TracedPicture

CLEAN = np.zeros(2), np.log([0.9, 0.8]), np.array([5, 6])
KEPT, RARER, OTHER = ((0.9, 0.8), (5, 6)), ((0.9, 0.39), (5, 6)), ((0.9, 0.8), (5, 7))
"""A word of two pieces, 0.72 probable: as it was; less than half as probable, 0.351; and another word."""


def readings(*pictures, clean=CLEAN):
    probs, likeliest = zip(*pictures, strict=True)
    return Readings(np.zeros((len(pictures), len(clean[0]))), np.log(probs), np.array(likeliest), *clean)


def verdict(*pictures):
    return dependence(readings(*pictures), slice(0, 2), ("blur", "blank")).verdict


@pytest.mark.parametrize("blurred", [RARER, OTHER, ((0.5, 0.5), (1, 2))])
@pytest.mark.parametrize("others", [[], [KEPT] * 5, [OTHER] * 5], ids=["none", "kept", "changed"])
def test_a_word_that_the_blurred_picture_changes_depends_on_it_whatever_others_do(blurred, others):
    assert verdict(blurred, KEPT, *others) == "visual"


@pytest.mark.parametrize(
    ("blank", "others"),
    [
        (KEPT, [OTHER] * 5),
        (KEPT, [RARER] * 5),
        (KEPT, [KEPT] * 2 + [OTHER] * 3),
        (KEPT, [KEPT] * 2 + [RARER] * 3),
        (KEPT, [KEPT] * 8 + [OTHER]),  # one that changes the word is enough to show that pictures do
        (OTHER, [KEPT] * 5),
        (RARER, [KEPT] * 5),
        (RARER, [OTHER] * 5),
    ],
)
def test_of_a_word_that_only_blurring_leaves_the_overall_color_is_enough(blank, others):
    assert verdict(KEPT, blank, *others) == "overall color"


@pytest.mark.parametrize("others", [[KEPT] * 5, [KEPT] * 3 + [RARER] * 2, [KEPT] * 5 + [RARER] * 4])
@pytest.mark.parametrize("kept", [KEPT, ((0.9, 0.41), (5, 6))], ids=["as it was", "more than half"])  # 0.369 of 0.72
def test_what_every_picture_leaves_has_no_visual_dependence(others, kept):
    assert verdict(kept, kept, *others) == "no visual dependence"


def test_without_other_pictures_nothing_is_said_of_a_word_that_survives_blurring():
    with pytest.raises(ValueError, match="no other pictures"):
        verdict(KEPT, KEPT)


def test_a_word_that_the_model_would_not_say_depends_no_more_on_the_picture_than_what_it_would_say():
    clean = np.zeros(1), np.log([0.01]), np.array([5])
    read = readings(*[((0.01,), (5,))] * 7, clean=clean)
    assert survives(read, slice(0, 1))
    assert dependence(read, slice(0, 1), ("", "")).verdict == "no visual dependence"


def test_the_numbers_are_those_of_the_word():
    found = dependence(readings(KEPT, RARER, KEPT, OTHER, KEPT), slice(0, 2), ("blur", "blank"))
    assert np.allclose([found.full, found.blurred, found.blank], np.log([0.72, 0.72, 0.351]))
    assert np.allclose(found.swapped, np.log(0.72)) and found.same == 2
    assert (found.text_blurred, found.text_blank) == ("blur", "blank")


SEEN = picture(7, IMAGE_SIZE, IMAGE_SIZE)
OWN = [picture(number, 30, 20) for number in range(20, 26)]


def shown(pair, strength):
    """A tiny model that gets `strength` times what its projector makes of a picture, and the words of an answer."""
    llava = load(joined(*pair))
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(llava.model.model.multi_modal_projector.linear_2, name).mul_(strength)
    asked = Sample("question", ("noise",), (Turn("user", "<image>\nWhat color is the circle?"),))
    pixels = llava.pixels([SEEN])
    trace = traced(llava, answered(llava, asked, "a small blue triangle"), pixels, whole=True)
    return TracedPicture(trace, SEEN, pixels, Target()), answer_words(trace)[1]


@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")], ids="-".join)
def test_a_model_that_gets_nothing_of_its_picture_has_no_visual_dependence(pair):
    blind, words = shown(pair, 0)
    for focus in range(len(words)):
        _, found = blind.dependence(words, focus)
        assert found.verdict == "no visual dependence" and found.same == len(found.swapped) == 9
        assert np.allclose([found.blurred, found.blank, *found.swapped], found.full, atol=1e-4)


@pytest.mark.parametrize("own", [None, OWN], ids=["shipped", "own"])
@pytest.mark.parametrize("strength", [1, 30, 1_000])
def test_the_verdict_and_the_word_are_those_of_the_pictures_read_one_by_one(strength, own):
    one, words = shown(("clip", "llama"), strength)
    pictures = [blurred(SEEN), blank(IMAGE_SIZE), *(own or shipped(IMAGE_SIZE))]
    read = [reread(one.trace, [picture], one.target, one.pixel_values) for picture in pictures]
    lost = np.array([[-some.log_prob_change[0, first:end].sum() for first, end in words] for some in read])
    kept = np.array(
        [[(some.likeliest[0] == some.clean_likeliest)[slice(*word)].all() for word in words] for some in read]
    )
    leaves = (lost < np.log(2)) & kept
    by_blur, by_others = int(lost[0].argmax()), int(np.median(lost[2:], axis=0).argmax())
    focus, _ = one.dependence(words, None, own)
    assert focus == (by_others if leaves[0, by_blur] else by_blur)
    for number in range(len(words)):
        _, of = one.dependence(words, number, own)
        others = np.median(lost[2:, number]) < np.log(2) and kept[2:, number].all()
        wanted = "no visual dependence" if leaves[1, number] and others else "overall color"
        assert of.verdict == (wanted if leaves[0, number] else "visual")
        if of.swapped:
            assert np.allclose(of.full - np.array(of.swapped), lost[2:, number], atol=1e-4)
        assert bool(of.swapped) == (own is not None or bool(leaves[0, number]))  # else they decide nothing
