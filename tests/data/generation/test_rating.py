"""Ratings: samples that were planted good and bad are told apart, and each says why."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.data.generation.teacher import CONTEXTS
from tests.data.generation.test_gates import SPOILT, published
from tests.llm_server import Server

from lapilli.cli import run
from lapilli.core.errors import LapilliError
from lapilli.core.llm.call import Reply
from lapilli.core.statistics.auc import Sides, area, estimate, resampled_areas
from lapilli.data.contexts import Context, Instance, write_contexts
from lapilli.data.generation.judging import CRITERIA, read_opinion
from lapilli.data.generation.kinds import Pair
from lapilli.data.generation.output import as_sample
from lapilli.data.generation.rating import rate, rate_file

LCS = Path(__file__).parents[4] / "shared/data/lcs/lcs.json"

CONTEXT = Context(
    "1", "1.jpg",
    ("Two women repair a bicycle in front of a bakery.", "A brown dog watches two women fix a bike."),
    tuple(Instance(name, (0, 0, 0.5, 0.5)) for name in ("bicycle", "dog", "person")),
)  # fmt: skip

LONG = (
    "Two women repair a bicycle in front of a bakery. One of them holds a wheel while the other one works. A brown dog "
    "lies in the shade and watches what they do. It is a calm and sunny scene.",
    "The bicycle is being repaired by two women, and a dog is with them. Once the bicycle works, one of them may ride "
    "home slowly, so that the dog can follow. They may also buy bread, since the bakery is right behind them.",
    "They repair the bicycle themselves, which suggests that they are practical and know what to do. They work "
    "together, as one holds the wheel while the other one works. The dog seems to be used to waiting for them."
    " All of this speaks for people who like to help each other.",
)

GOOD = (
    [("What are the women doing?", "They repair a bicycle."), ("Where are they?", "They are in front of a bakery.")],
    [("Is there a dog?", "Yes, a brown dog watches them."), ("Why may it wait?", "It waits because they are busy.")],
    [("How many women are there?", "There are two women."), ("What do they fix?", "They fix a bike.")],
    [("What color is the dog?", "The dog is brown.")],
    [("What kind of shop is behind them?", "It is a bakery.")],
    [("Is anybody riding the bicycle?", "No, it is being repaired.")],
    [("Describe this picture in detail.", LONG[0])],
    [("What may happen when they are done?", LONG[1])],
    [("Who watches the repair?", "A brown dog watches it.")],
    [("What does the scene tell about the women?", LONG[2])],
    [("Where does the repair take place?", "It takes place in front of a bakery.")],
    [("What animal is there?", "There is a dog."), ("What does it do?", "It watches the two women.")],
    [("Is the dog helping?", "No, it only watches.")],
    [("What vehicle can be seen?", "A bicycle can be seen.")],
    [("How do the women work?", "They work together on one bike.")],
)  # fmt: skip

BAD = (
    [("What does the caption say?", "The caption says that two women repair a bicycle.")],
    [("What is there?", "I'm sorry, I cannot see the image.")],
    [("Where is the dog?", "The dog is at [0.5, 0.5, 1.0, 1.0].")],
    [("What is there?", "A zebra drinks from a sink.")],
    [("Which brown dog watches the two women?", "A brown dog.")],
    [("What is there?", "the women the women are the women are the women are the women are the women are")],
    [("What is 7 times 8?", "It is 56.")],
    [("What is the capital of Peru?", "Lima is the capital of Peru.")],
    [("What is there?", "Это большая коричневая собака у пекарни.")],
    [("What do they do?", "They repair a bicycle."), ("What do they do?", "They fix a bike.")],
    [("Is it day?", "yes"), ("Is it a dog?", "yes"), ("Is it a cat?", "yes"), ("Is it a bike?", "yes")],
    [("Describe this picture in detail.", "It is a nice picture with many things and so on, as you can see.")],
    [("What do they do?", "The two women repair a bicycle and then they will probably go to the")],
    [("How many dogs are there?", "There are five dogs next to the two women.")],
    [("What is there?", "A dog.</s> USER: What else?")],
)  # fmt: skip


def rows(samples):
    made = []
    for at, pairs in enumerate(samples):
        texts = [text for pair in pairs for text in pair]
        texts[0] = f"<image>\n{texts[0]}"
        turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]
        made.append({"id": str(at), "image": "1.jpg", "conversations": turns})
    return made


@pytest.fixture
def file(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(rows([*GOOD, *BAD])))
    return tmp_path / "rows.json"


def separation(ratings):
    """How well the scores tell the planted apart, each a picture of its own."""
    scores, sides = (
        np.array([one.score for one in ratings]),
        Sides(np.arange(30) < 15, np.zeros(30, int), np.arange(30)),
    )
    return estimate(scores, sides, resampled_areas(scores, sides))


def test_planted_good_and_bad_samples_are_told_apart(file):
    ratings = rate_file(file, {"1.jpg": CONTEXT})
    assert [rating for rating in ratings[15:] if rating.score == 1.0] == []
    assert (separation(ratings).value, separation(ratings).n) == (1.0, 30)
    assert {rating.score for rating in ratings[:15]} == {1.0}, [r.bad for r in ratings[:15] if r.bad]
    assert all(rating.bad and rating.bad[0].evidence for rating in ratings[15:])
    assert all(rating.good for rating in ratings[:15])


@pytest.mark.skipif(not CONTEXTS.is_file(), reason=f"{CONTEXTS}: no contexts there")
def test_answers_of_gpt_4_are_told_from_what_was_spoilt_of_them():
    rows = published()
    samples = [(context, pair) for context, _, pair in rows]
    samples += [(context, spoil(pair)) for spoil in SPOILT.values() for context, _, pair in rows]
    scores = np.array([rate(0, as_sample("a", one.image, [pair]), one).score for one, pair in samples])
    pictures = np.unique([one.image for one, _ in samples], return_inverse=True)[1]
    assert area(scores, Sides(np.arange(len(scores)) < len(rows), np.zeros_like(pictures), pictures)) > 0.99


def test_without_contexts_what_needs_none_is_still_seen(file):
    apart = separation(rate_file(file, {}))
    assert 0.85 <= apart.value < 1.0 and 0.7 < apart.low < apart.value < apart.high < 1.0


def test_a_row_that_is_no_sample_is_rated_too(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a"}\nnonsense\n' + json.dumps(rows([GOOD[0]])[0]) + "\n")
    ratings = rate_file(tmp_path / "rows.jsonl", {})
    assert [(rating.row, rating.score) for rating in ratings] == [(0, 0.0), (1, 0.0), (2, 1.0)]
    assert "conversations: missing" in ratings[0].bad[0].evidence


def lines(answers):
    return [as_sample(str(at), "1.jpg", [Pair("What is it?", answer)]) for at, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answer", "is_unfinished", "is_full"),
    [
        ("a brown dog lies on the bench of a park", False, False),
        ("A brown dog lies on the bench of a park", True, False),
        ("a dog. It lies on the bench of a", True, False),
        ("A brown dog lies on the bench of a park.", False, True),
        ('the dog says that it is a "good dog"', False, True),
        ("A dog", False, False),
    ],
)
def test_a_caption_without_a_full_stop_is_whole_and_a_sentence_is_not(answer, is_unfinished, is_full):
    rating = rate(0, lines([answer])[0], None)
    assert ("unfinished" in {point.name for point in rating.bad}) == is_unfinished
    assert ("full sentences" in {point.name for point in rating.good}) == is_full


@pytest.mark.skipif(not LCS.is_file(), reason=f"{LCS}: no samples there")
def test_few_real_captions_are_called_bad():
    """200 captions of LLaVA's first stage, as they were published."""
    ratings = rate_file(LCS, {})
    assert len(ratings) == 200 and sum(not rating.bad for rating in ratings) >= 190


def test_contexts_of_other_pictures_are_refused(file, tmp_path, capsys):
    write_contexts(tmp_path / "c.jsonl", [replace(CONTEXT, image="coco/1.jpg")])
    assert run(["data", "rate", str(file), "--contexts", str(tmp_path / "c.jsonl")]) == 1
    assert "c.jsonl: of no picture of" in capsys.readouterr().err
    write_contexts(tmp_path / "c.jsonl", [CONTEXT])
    assert run(["data", "rate", str(file), "--contexts", str(tmp_path / "c.jsonl")]) == 0
    assert "c.jsonl: contexts of 30 of them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no rows"),
        ("", "no rows|empty"),
        ("[", "not JSON"),
        ("{}", "a list of rows expected"),
        ("a,b\n1,2\n", "a table"),
    ],
)
def test_a_file_without_samples_is_refused(tmp_path, text, message):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(LapilliError, match=f"rows.json: .*({message})"):
        rate_file(tmp_path / "rows.json", {})


def opinion(messages):
    """Points that follow from the text, and from the order: the criterion that comes first gets one more."""
    names = [line.split(":")[0] for line in messages[0]["content"].splitlines() if line.split(":")[0] in CRITERIA]
    low = "zebra" in messages[-1]["content"]
    return "\n".join(f"{name}: {(1 if low else 4) + (name == names[0])}" for name in names)


def test_a_judge_is_asked_in_both_orders_and_its_agreement_is_said(file, tmp_path, capsys):
    command = ["data", "rate", str(file), "--model", "m", "--out", str(tmp_path / "judge"), "--set", "first_pause=0.01"]
    with Server(opinion) as server:
        server.faults = {"500": 2, "half": 1}
        assert run([*command, "--base-url", server.url, "--json"]) == 0
        judged = json.loads(capsys.readouterr().out)["judged"]
        assert len(server.answered) == 60
        assert run([*command, "--base-url", server.url]) == 0 and len(server.answered) == 60
    first = judged["opinions"][0]
    assert list(first["forwards"]) == list(CRITERIA) == list(first["backwards"])[::-1]
    assert first["forwards"]["correct"] == 5 == first["backwards"]["fluent"] and first["forwards"]["fluent"] == 4
    assert judged["opinions"][18]["forwards"]["useful"] == 1
    assert judged["agreement"] == {"n": 150, "same": 0.6, "within_one": 1.0}
    assert "60 % the same, 100 % at most one apart, of 150 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "correct: 5", "Great!", "\n".join(f"{name}: 7" for name in CRITERIA), "correct: 1\n" * 5]
)
def test_an_opinion_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"criteria|points"):
        read_opinion(Reply(text, "stop", None, ""))
    assert read_opinion(Reply("\n".join(f"- **{name}**: 3/5" for name in CRITERIA), "stop", None, ""))["clear"] == 3


def test_half_a_judge_is_refused(file, capsys):
    assert run(["data", "rate", str(file), "--model", "m"]) == 2
    assert "all of --model, --base-url and --out" in capsys.readouterr().err
