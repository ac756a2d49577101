"""The texts of the package: what they promise, read from their own words."""

import re
from collections import Counter, defaultdict
from itertools import combinations

from lapilli.data.plain.texts import CONVERSATIONS, held_out_prose, instructions
from lapilli.data.sample import read_samples


def words(text):
    return re.findall(r"[\w']+", text.lower())


def runs(text, length):
    found = words(text)
    return {tuple(found[at : at + length]) for at in range(len(found) - length + 1)}


def conversations():
    return list(read_samples(CONVERSATIONS))


def test_there_are_420_different_conversations_of_one_to_three_exchanges_without_a_fault():
    samples = conversations()
    assert len(samples) == len({sample.id for sample in samples}) == 420
    assert len({sample.turns[0].text for sample in samples}) == 420
    for sample in samples:
        assert not sample.images and len(sample.turns) in (2, 4, 6)
        assert [turn.role for turn in sample.turns] == ["user", "assistant"] * (len(sample.turns) // 2)
        assert all(turn.text == turn.text.strip() != "" for turn in sample.turns)
    text = "\n".join(turn.text for sample in samples for turn in sample.turns)
    assert not re.search(r"https?:|www\.|<image>|\.com\b", text)


def test_no_conversation_repeats_another():
    rows = defaultdict(set)
    for sample in conversations():
        for turn in sample.turns:
            for run in runs(turn.text, 8):
                rows[run].add(sample.id)
    assert max(map(len, rows.values())) <= 3
    answers = [set(words(turn.text)) for sample in conversations() for turn in sample.turns[1::2]]
    assert all(len(one & other) <= 0.6 * len(one | other) for one, other in combinations(answers, 2))


def test_answers_are_of_every_length():
    answers = [turn.text for sample in conversations() for turn in sample.turns[1::2]]
    sentences = [max(1, len(re.findall(r"[.!?][\"')]?(?=\s|$)", answer))) for answer in answers]
    lengths = Counter("one" if count == 1 else "few" if count <= 4 else "many" for count in sentences)
    assert all(0.25 <= lengths[kind] / len(answers) <= 0.4 for kind in ("one", "few", "many"))
    assert max(sentences) <= 8


def test_prose_and_instructions_are_not_among_the_conversations():
    turns = [turn.text for sample in conversations() for turn in sample.turns]
    prose, known = held_out_prose(), set().union(*(runs(text, 7) for text in turns))
    assert 1_750 <= len(prose.split()) <= 1_900 and len(prose.split("\n\n")) > 10
    assert not runs(prose, 7) & known
    asked = [one.question for one in instructions()]
    assert len(set(asked)) == len({one.id for one in instructions()}) == 50
    assert not {" ".join(words(one)) for one in asked} & {" ".join(words(one)) for one in turns}
