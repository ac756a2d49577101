"""Descriptions and captions read back and held against the scene."""

import random
import re
from collections import Counter

import pytest
from tests.data.scenes.oracle import COLORS, NUMBERS, PLACES, SHAPES, facts, read_description, read_nouns

from lapilli.data.scenes.describe import CAPTIONS, DESCRIPTIONS, caption, describe, listed, short_caption, with_article
from lapilli.data.scenes.scene import sample_scene

SCENES = [sample_scene(f"describe-{index}") for index in range(200)]


def what(fact):
    return (fact.size, fact.texture, fact.color, fact.shape, fact.character, fact.place)


@pytest.mark.parametrize("form", DESCRIPTIONS)
def test_every_form_of_description_tells_everything_in_its_order(form):
    for index, scene in enumerate(SCENES):
        told = read_description(form(scene.things, random.Random(index)))
        assert [what(fact) for fact in told] == [what(fact) for fact in facts(scene.things)]


def test_a_description_is_in_reading_order():
    for index, scene in enumerate(SCENES):
        told = read_description(describe(scene, random.Random(index)))
        assert [fact.place for fact in told] == sorted((fact.place for fact in told), key=list(PLACES).index)
        assert Counter(map(what, told)) == Counter(map(what, facts(scene.things)))


def test_shuffled_it_tells_the_same_in_any_order():
    scene = next(scene for scene in SCENES if len(scene.things) == 3)
    orders = set()
    for index in range(60):
        told = read_description(describe(scene, random.Random(index), shuffled=True))
        assert Counter(map(what, told)) == Counter(map(what, facts(scene.things)))
        orders.add(tuple(fact.place for fact in told))
    assert len(orders) == 6


def test_a_count_at_the_start_is_right():
    seen = 0
    for index, scene in enumerate(SCENES):
        found = re.match(r"(?:There (are|is) )?(\w+) objects?:", describe(scene, random.Random(index)))
        if found:
            seen += 1
            assert found[2].lower() == NUMBERS[len(scene.things)]
            assert found[1] in (None, "is" if len(scene.things) == 1 else "are")
    assert seen > 20


def test_brief_captions_name_every_thing():
    for text, scene in said_by("_brief"):
        named = [(noun["color"], noun["shape"]) for noun in read_nouns(text)]
        assert named == [(thing.color, thing.shape) for thing in in_reading_order(scene)]


def test_grouped_captions_count_right_and_know_the_background():
    singular = {plural: shape for shape, plural in SHAPES.items()} | {shape: shape for shape in SHAPES}
    grounds = []
    for text, scene in said_by("_grouped"):
        parts = re.findall(rf"({'|'.join(NUMBERS)}) ({'|'.join(COLORS)}) (\w+)", text.lower())
        assert all((number == "one") == (word in SHAPES) for number, _, word in parts)
        said = {(color, singular[word]): NUMBERS.index(number) for number, color, word in parts}
        assert said == Counter((thing.color, thing.shape) for thing in scene.things)
        if found := re.search(r" on a (\w+) background\.$", text):
            grounds.append(found[1] == scene.background)
    assert len(grounds) > 50
    assert all(grounds)


def test_captions_of_two_things_say_how_they_lie():
    """Of the pairs that the two nouns may mean, one lies as the words say, and more so than in any other direction."""
    for text, scene in said_by("_beside"):
        if len(scene.things) > 1:
            first, word, second = re.fullmatch(
                r"(.+) (above|below|to the left of|to the right of) (.+)\.", text
            ).groups()
            pairs = [(one, other) for one in meant(first, scene) for other in meant(second, scene) if one is not other]
            assert any(prevailing(one, other) == word for one, other in pairs)


def test_captions_of_totals_count_the_colors_right():
    for text, scene in said_by("_totals"):
        parts = re.findall(rf"({'|'.join(NUMBERS)}) ({'|'.join(COLORS)})\b", text.lower())
        assert text.lower().startswith(f"{NUMBERS[len(scene.things)]} object")
        said = {color: NUMBERS.index(number) for number, color in parts}
        assert said == Counter(thing.color for thing in scene.things)


def test_half_of_the_captions_tell_everything():
    full, forms = 0, set()
    for index, scene in enumerate(SCENES * 4):
        text = caption(scene, random.Random(index))
        rng = random.Random(index)
        whole = rng.random() < 0.5
        assert text == (describe(scene, rng) if whole else short_caption(scene, rng))
        full += whole
        forms.add(re.sub(r"\W.*", "", text))
    assert full / (4 * len(SCENES)) == pytest.approx(0.5, abs=0.06)
    assert {"There", "I", "The", "A", "This"} <= forms


def test_the_words_of_a_known_scene():
    """Guards the stream of random draws, on which trained models and stored results depend."""
    rng = random.Random(7)
    scene = sample_scene("lapilli")
    assert [describe(scene, rng), short_caption(scene, rng)] == [
        "A large pink star is in the top-right corner. A large striped blue cross is in the center. "
        "A small dotted purple cross is at the bottom. A small red star is in the bottom-right corner.",
        "Four objects, one pink, one blue, one purple and one red.",
    ]


def test_articles_and_lists():
    assert [with_article(words) for words in ("orange ring", "red ring")] == ["an orange ring", "a red ring"]
    assert [listed(list("abc")[:count]) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def said_by(form):
    """What one form of caption says about every scene; the form is named, since captions are drawn at random."""
    (chosen,) = [one for one in CAPTIONS if one.__name__ == form]
    return [(chosen(in_reading_order(scene), scene, random.Random(index)), scene) for index, scene in enumerate(SCENES)]


def in_reading_order(scene):
    return sorted(scene.things, key=lambda thing: list(PLACES).index(thing.place))


def meant(words, scene):
    (noun,) = read_nouns(words)
    wanted = (
        noun["color"],
        noun["shape"],
        noun["size"] or "large",
        noun["texture"] or "plain",
        noun["character"] or "",
    )
    return [t for t in scene.things if (t.color, t.shape, t.size, t.texture, t.character) == wanted]


def prevailing(one, other):
    across, down = one.x - other.x, one.y - other.y
    if abs(down) > abs(across):
        return "above" if down < 0 else "below"
    return "to the left of" if across < 0 else "to the right of"
