"""True and almost true phrases about things, by reading them back."""

import random

import numpy as np
import pytest
from tests.data.scenes.oracle import SAID, read_nouns

from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.phrases import caption_seed, draw_seed
from lapilli.data.scenes.scene import sample_scene

SEEDS = [f"phrases-{index}" for index in range(300)]


def parts(phrase):
    """What a phrase says, by name; what it does not say is left out."""
    (noun,) = read_nouns(phrase)
    del noun["kind"]
    places = {place for place, said in SAID.items() if phrase.endswith(" " + said)}
    said = noun | {"place": places.pop() if places else None}
    if said["shape"] != "card":
        said["texture"] = said["texture"] or "plain"
    return {name: value for name, value in said.items() if value}


@pytest.fixture(scope="module")
def said():
    return [(sample_scene(seed), caption_seed(seed, random.Random(seed))) for seed in SEEDS]


def test_every_thing_has_a_phrase_that_is_true_of_it(said):
    for scene, captioned in said:
        assert len(captioned.phrases) == len(captioned.wrong) == len(scene.things)
        for thing, phrase in zip(scene.things, captioned.phrases, strict=True):
            for name, value in parts(phrase).items():
                assert getattr(thing, name) == value


def test_a_wrong_phrase_differs_in_one_fact_and_every_fact_has_its_turn(said):
    changed = []
    for _, captioned in said:
        for right, wrong in zip(captioned.phrases, captioned.wrong, strict=True):
            ours, theirs = parts(right), parts(wrong)
            assert ours.keys() == theirs.keys()
            (fact,) = [name for name in ours if ours[name] != theirs[name]]
            changed.append(fact)
    shares = {fact: changed.count(fact) / len(changed) for fact in set(changed)}
    assert shares.keys() == {"colour", "shape", "place", "size", "texture", "character"}
    assert min(shares.values()) > 0.05


def test_few_wrong_phrases_are_true_of_another_thing(said):
    """Two things may differ in the one fact that was changed: then both phrases are true, of two things."""
    wrong = true = 0
    for scene, captioned in said:
        for phrase in captioned.wrong:
            wrong += 1
            true += any(fits(parts(phrase), thing) for thing in scene.things)
    assert true / wrong < 0.03


def fits(said, thing):
    if thing.shape == "card" and "character" not in said:
        return False
    return all(getattr(thing, name) == value for name, value in said.items())


def test_words_are_fresh_with_fresh_random_numbers_and_the_same_with_the_same():
    rng = random.Random(0)
    first, second = caption_seed(SEEDS[0], rng), caption_seed(SEEDS[0], rng)
    assert first != second
    assert first == caption_seed(SEEDS[0], random.Random(0))


def test_the_picture_of_a_seed_is_that_of_its_scene():
    assert np.array_equal(draw_seed(SEEDS[0]), np.asarray(draw_scene(sample_scene(SEEDS[0]))[0]))
    assert draw_seed(SEEDS[0]).dtype == np.uint8
