"""Rules of replies: each kind with replies that follow it and replies that do not, and each instruction with both."""

import pytest

from lapilli.data.plain.rules import RULES, follows
from lapilli.data.plain.texts import instructions

KINDS = [
    ("any_of", ["carbon dioxide", "CO2"], ["It is Carbon Dioxide.", "co2"], ["carbon", "dioxide carbon", "CO23"]),
    ("any_of", ["7"], ["7", "There are 7 days.", "(7)"], ["77", "x7", "seven"]),
    ("all_of", ["dog", "park"], ["The park has a dog."], ["The dog runs.", "A dogged parking"]),
    ("none_of", ["blue"], ["It is gray.", "bluebells"], ["It is BLUE.", "blue"]),
    ("in_order", ["2", "5", "9"], ["2, 5, 9", "9 and 2 and 5: 2, 5, 9"], ["9, 5, 2", "2, 5", "29 5"]),
    ("answer", ["yes"], ["Yes.", " yes "], ["Yes, it is.", "no", "yes!"]),
    ("items", 3,
     ["apple, pear and fig", "Fruits: a, b, c.", "1. a\n2. b, c\n3. d", "Here:\na\nb\nc", "Sure!\n- a\n* b\n• c"],
     ["apple and pear", "1. a\n2. b", "a\nb", "1. a, b, c", "a, b, c, d"]),
    ("items", 1, ["apple", "1. apple and pear"], ["apple and pear"]),
    ("most_words", 2, ["two words", "one"], ["three whole words"]),
    ("fewest_words", 2, ["two words", "three whole words"], ["one"]),
    ("first_word", "Because", ["Because it is.", '"because" it is'], ["It is because", "Becauses it"]),
    ("last_word", "goodbye", ["Thanks and Goodbye!", "goodbye"], ["Goodbye, friend.", "good bye"]),
    ("ends_with", "?", ["Why?", 'He asked: "Why?"', "Why? \n"], ["Why.", "? no", "Why?."]),
    ("uppercase", True, ["ROME.", "A1"], ["Rome", "12"]),
    ("uppercase", False, ["Rome"], ["ROME"]),
    ("letters", False, ["12", "1, 2!"], ["12 x", "é"]),
    ("letters", True, ["12 x"], ["12"]),
    ("number", [10, 20], ["10", "It is 20.", "5 + 6 = 11", "15.5"], ["9", "21", "ten", "-15", "1,500"]),
    ("number", [1500, 1500], ["1,500", "1500"], ["1.5", "1,500.5"]),
]  # fmt: skip

REPLIES = {
    "capital-france": ("It is Paris.", "It is Lyon."),
    "capital-japan": ("Tokyo", "Kyoto"),
    "opposite-hot": ("The opposite is cold.", "It is warm."),
    "mixed-color": ("You get green.", "You get greenish brown."),
    "days-week": ("A week has seven days.", "A week has 5 days."),
    "red-planet": ("It is Mars.", "It is Venus."),
    "our-planet": ("We live on Earth.", "We live on Mars, which is like Earth in" + " some way" * 10),
    "next-even": ("10", "12"),
    "after-march": ("April comes next.", "May"),
    "cow-gives": ("They give us milk.", "They give us wool."),
    "day-star": ("The Sun does.", "The moon."),
    "hamlet": ("William Shakespeare wrote it.", "Goethe"),
    "gold": ("Au", "Gold is Ag."),
    "brazil": ("Portuguese.", "Spanish"),
    "sunrise": ("It rises in the east.", "In the west."),
    "plants-gas": ("CO2.", "They take oxygen."),
    "freezing": ("At 0°C.", "At 100 degrees."),
    "past-go": ("went", "goed"),
    "plural-foot": ("The plural is feet.", "foots"),
    "french-hello": ('It is "bonjour".', "hola"),
    "bens-bike": ("Ben's bike is blue.", "Ben's bike is red, and Anna's is blue."),
    "key-mat": ("It is under the mat.", "It is at work."),
    "love-song": ("Positive.", "Positive, not negative."),
    "which-animal": ("horse", "table, horse"),
    "five-three": ("5 + 3 = 8.", "5 plus 3"),
    "rhyme-cat": ("hat", "dog"),
    "dog-park": ("A dog ran through the park.", "A dog ran."),
    "repeat": ("The rain has stopped.", "The rain stopped."),
    "three-fruits": ("Apples, pears and plums.", "1. Apple\n2. Pear"),
    "five-countries": ("Italy\nSpain\nFrance\nPoland\nMalta", "Italy, Spain"),
    "two-colors": ("Red and blue.", "Two colors that I like are red and blue."),
    "four-tools": ("1. Saw\n2. File\n3. Axe\n4. Drill", "Saw, file, axe, drill"),
    "grass-word": ("Green.", "It is green."),
    "fire-hot": ("Yes.", "Yes, fire is hot."),
    "sun-planet": ("no", "Yes."),
    "only-ready": ("Ready.", "I am ready."),
    "sea-short": ("The sea is calm and gray today.", "The sea."),
    "ask-cats": ("Why do cats purr?", "Cats purr."),
    "ask-day": ("How was your day?", "How was your day? I hope well."),
    "hello-capitals": ("HELLO", "Hello"),
    "rome-capitals": ("ROME", "The capital is ROME."),
    "because-sleep": ("Because they are tired.", "They are tired."),
    "first-month": ("January", "It is March."),
    "last-goodbye": ("Thank you for it all, and goodbye!", "Goodbye and thank you"),
    "ten-twenty": ("15", "10, 20"),
    "sum-digits": ("21", "12 + 9"),
    "count-five": ("1, 2, 3, 4, 5", "5, 4, 3, 2, 1"),
    "week-order": ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday", "Sunday, Monday"),
    "small-large": ("2, 5, 9", "9, 5, 2"),
    "sky-without": ("It is wide and gray.", "It is a blue dome."),
}


@pytest.mark.parametrize(("kind", "value", "passing", "failing"), KINDS)
def test_a_rule_tells_replies_that_follow_it_from_others(kind, value, passing, failing):
    assert [reply for reply in passing if not follows(reply, {kind: value})] == []
    assert [reply for reply in failing if follows(reply, {kind: value})] == []


def test_every_kind_is_tried_and_used():
    assert {kind for kind, *_ in KINDS} == set(RULES)
    assert {kind for one in instructions() for kind in one.rules} == set(RULES)


def test_all_rules_must_hold_and_nothing_follows_none():
    both = {"first_word": "no", "most_words": 2}
    assert follows("No way.", both) and not follows("No way out.", both) and not follows("Way.", both)
    for reply in ("", " \n\t"):
        assert not follows(reply, {}) and not follows(reply, {"most_words": 3})
    with pytest.raises(KeyError):
        follows("Yes", {"length": 3})


def test_every_instruction_tells_a_good_reply_from_a_bad_one():
    assert [one.id for one in instructions()] == list(REPLIES)
    for one in instructions():
        good, bad = REPLIES[one.id]
        assert follows(good, one.rules), one.id
        assert not follows(bad, one.rules), one.id
