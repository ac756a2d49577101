"""True phrases about things and facts about patches, by reading them back."""

import math
import random

import numpy as np
import pytest
from tests.data.scenes.oracle import SAID, read_nouns

from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.phrases import FACTS, UNSAID, caption_seed, draw_seed, facts_seed
from lapilli.data.scenes.scene import sample_scene

SEEDS = [f"phrases-{index}" for index in range(300)]
PATCH = 16
COUNTS = ("color_count", "shape_count", "count")


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
    return [(sample_scene(seed), caption_seed(seed, random.Random(seed), PATCH)) for seed in SEEDS]


def test_every_thing_has_a_phrase_that_is_true_of_it_and_the_patch_of_its_centre(said):
    for scene, captioned in said:
        assert len(captioned.phrases) == len(captioned.patches) == len(scene.things)
        for thing, phrase, patch in zip(scene.things, captioned.phrases, captioned.patches, strict=True):
            for name, value in parts(phrase).items():
                assert getattr(thing, name) == value
            row, column = divmod(patch, 96 // PATCH)
            assert column * PATCH <= thing.x < (column + 1) * PATCH
            assert row * PATCH <= thing.y < (row + 1) * PATCH


def spoken(facts):
    """The phrases that the facts of one patch say, by the name of their line."""
    lines = zip(FACTS.items(), facts, strict=True)
    return {name: line[fact] for (name, line), fact in lines if fact != UNSAID}


def test_the_facts_of_a_thing_are_all_that_can_be_said_of_it_and_true():
    for seed in SEEDS[:100]:
        facts = facts_seed(seed, PATCH)
        things = sample_scene(seed).things
        for thing, patch in zip(things, caption_seed(seed, random.Random(0), PATCH).patches, strict=True):
            found = spoken(facts[patch])
            size_or_sign = {"character"} if thing.shape == "card" else {"size", "texture"}
            assert found.keys() == {"color", "shape", "place", "spot", *COUNTS} | size_or_sign
            for name in found.keys() - {"spot", "place", *COUNTS}:
                assert found[name].split()[-1 if name in ("shape", "character") else 1] == getattr(thing, name)
            assert found["place"] == f"an object {SAID[thing.place]}"
            assert found["spot"] == "the middle of an object"


def test_a_thing_is_told_with_how_many_are_like_it():
    for seed in SEEDS[:100]:
        facts, things = facts_seed(seed, PATCH), sample_scene(seed).things
        for thing, patch in zip(things, caption_seed(seed, random.Random(0), PATCH).patches, strict=True):
            found = spoken(facts[patch])
            alike = {
                "color_count": sum(other.color == thing.color for other in things),
                "shape_count": sum(other.shape == thing.shape for other in things),
                "count": len(things),
            }
            for name, count in alike.items():
                assert found[name].startswith("the only object" if count == 1 else f"one of {count} objects")


def test_other_patches_speak_of_their_spot_alone_and_the_background_is_empty():
    seen = set()
    for seed in SEEDS[:100]:
        facts, scene = facts_seed(seed, PATCH), sample_scene(seed)
        covered = draw_scene(scene)[1].any(0).reshape(6, PATCH, 6, PATCH).any((1, 3)).ravel()
        middles = set(caption_seed(seed, random.Random(0), PATCH).patches)
        for patch in set(range(36)) - middles:
            found = spoken(facts[patch])
            assert found.keys() == {"spot"}
            if found["spot"] == "the background":
                assert not covered[patch]
            seen.add(found["spot"])
            row, column = divmod(patch, 6)
            distance = min(
                math.hypot(t.x - (column + 0.5) * PATCH, t.y - (row + 0.5) * PATCH) - t.radius for t in scene.things
            )
            assert (found["spot"] == "the background") == (distance > 15) or 11 < distance < 15
    assert seen == {"beside the middle of an object", "the background"}


def test_no_two_lines_share_a_phrase_and_no_line_repeats_itself():
    phrases = [phrase for line in FACTS.values() for phrase in line]
    assert len(set(phrases)) == len(phrases) == 8 + 7 + 2 + 3 + 15 + 9 + 3 * 6 + 3


def test_words_are_fresh_with_fresh_random_numbers_and_the_same_with_the_same():
    rng = random.Random(0)
    first, second = caption_seed(SEEDS[0], rng, PATCH), caption_seed(SEEDS[0], rng, PATCH)
    assert first != second
    assert first == caption_seed(SEEDS[0], random.Random(0), PATCH)


def test_the_picture_of_a_seed_is_that_of_its_scene():
    assert np.array_equal(draw_seed(SEEDS[0]), np.asarray(draw_scene(sample_scene(SEEDS[0]))[0]))
    assert draw_seed(SEEDS[0]).dtype == np.uint8
