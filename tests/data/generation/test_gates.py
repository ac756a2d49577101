"""What the gates drop, and what they let pass: 111 answers of GPT-4, and each of them spoilt in every way."""

import json

import pytest
from tests.data.generation.teacher import CONTEXTS, REAL

from lapilli.core.llm.call import Reply
from lapilli.data.contexts import Context, Instance, read_contexts
from lapilli.data.generation.gates import GATES, Checked, check
from lapilli.data.generation.kinds import Pair
from lapilli.data.generation.objects import mentions, named, supported, unsupported
from lapilli.data.generation.reply import MalformedError, read_pairs

KIND = {"conv": "conversation", "detail": "detail", "complex": "reasoning"}
KITCHEN = Context(
    "1", "1.jpg",
    ("A brown dog lies under a table in a kitchen.", "A dog sleeps next to a bowl."),
    tuple(Instance(name, (0.1, 0.2, 0.5, 0.8)) for name in ("dog", "bowl", "cup")),
)  # fmt: skip


def reply(text, finish="stop"):
    return Reply(text, finish, None, "")


def published():
    """The distinct questions and answers of LLaVA's own evaluation, with their contexts."""

    def read(name):
        return [json.loads(line) for line in (REAL / name).read_text().splitlines()]

    contexts = {context.id: context for context in read_contexts(CONTEXTS)}
    questions = {row["question_id"]: row for row in read("qa90_questions.jsonl")}
    rows = set()
    for row in read("qa90_gpt4_answer.jsonl"):
        question = questions[row["question_id"]]
        rows.add((question["image"][:-4], question["category"], question["text"], row["text"]))
    for row in read("coco2014_val_gpt4_qa_30x3.jsonl"):
        rows.add((row["id"], row["type"], row["instruction"], row["output"]))
    return [(contexts[name], KIND[kind], Pair(question, answer)) for name, kind, question, answer in sorted(rows)]


@pytest.mark.skipif(not CONTEXTS.is_file(), reason=f"{CONTEXTS}: no contexts there")
def test_111_answers_of_gpt_4_are_read_and_none_is_dropped():
    rows, flags = published(), []
    assert len(rows) == 111
    for context, kind, pair in rows:
        text = pair.answer if kind == "detail" else f"Question:\n{pair.question}\n===\nAnswer:\n{pair.answer}"
        assert read_pairs(kind, reply(text), pair.question) == [Pair(pair.question.strip(), pair.answer.strip())]
        verdicts = check(Checked(pair, kind, context))
        assert [verdict for verdict in verdicts if verdict.drops] == []
        flags += [verdict.gate for verdict in verdicts]
    assert len(flags) <= 6  # for people to look at


SPOILT = {
    "leak": lambda pair: Pair(pair.question, f"According to the caption, {pair.answer}"),
    "refusal": lambda pair: Pair(pair.question, f"I'm sorry, but I cannot see the image. {pair.answer}"),
    "coordinates": lambda pair: Pair(pair.question, f"{pair.answer} It lies at [0.12, 0.4, 0.5, 0.61]."),
    "format": lambda pair: Pair(pair.question, f"{pair.answer}</s>"),
    "unsupported object": lambda pair: Pair(pair.question, f"{pair.answer} A zebra and a toothbrush are there."),
    "answer in the question": lambda pair: Pair(f"Is it known that {pair.answer} Who says so?", pair.answer),
}


@pytest.mark.skipif(not CONTEXTS.is_file(), reason=f"{CONTEXTS}: no contexts there")
@pytest.mark.parametrize("gate", SPOILT)
def test_each_of_them_is_dropped_when_it_is_spoilt(gate):
    caught = 0
    for context, kind, pair in published():
        verdicts = check(Checked(SPOILT[gate](pair), kind, context))
        caught += any(verdict.gate == gate and (verdict.drops or kind == "reasoning") for verdict in verdicts)
    assert caught >= (100 if gate in ("unsupported object", "answer in the question") else 111)


@pytest.mark.parametrize(
    ("question", "answer", "gate"),
    [
        ("What is it?", "As mentioned in the description provided, a dog.", "leak"),
        ("Where is its bounding box?", "On the left side.", "leak"),
        ("What is it?", "Based on the sentences, it is a dog.", "leak"),
        ("What is it?", "I can't see the picture.", "refusal"),
        ("What is it?", "As an AI, I have no eyes.", "refusal"),
        ("Where is it?", "It is at (0.5, 0.25).", "coordinates"),
        ("Where is it?", "From 0.12, 0.55 to 0.7, 0.81.", "coordinates"),
        ("What is it?", " \n", "format"),
        ("???", "A dog.", "format"),
        ("What is it?", "A dog.\nUser: And this?", "format"),
        ("What is it?", "A dog <image>", "format"),
        ("What is it?", "A dog. <|im_end|>", "format"),
        ("What is it?", "A \x1b[31mdog.", "format"),
        ("What\x00 is it?", "A dog.", "format"),
        ("What is it?", "a" * 9_000, "format"),
        ("What is there?", "A dog and a laptop are there.", "unsupported object"),
        ("What is there?", "Two cats lie in the kitchen.", "unsupported object"),
        ("Which animal lies under the table, a brown dog?", "A brown dog.", "answer in the question"),
    ],
)
def test_what_is_dropped(question, answer, gate):
    verdicts = check(Checked(Pair(question, answer), "conversation", KITCHEN))
    assert (gate, True) in [(verdict.gate, verdict.drops) for verdict in verdicts]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there a cat?", "No, there is no cat in the kitchen."),
        ("Is the dog brown or black?", "The dog is brown."),
        ("Is a dog under the table?", "Yes, a dog is under the table."),
        ("What might come next?", "The dog could wait for a cat, or chase a ball."),
        ("What is next to the dog?", "There is a bottle next to it."),  # cups and bottles are taken for each other
        ("What is in front?", "A dog. It looks sorry for itself."),
        ("Does the sign give information?", "It informs about the kitchen."),
        ("How far is it?", "About 0.5 metres, or 1.5 steps."),
    ],
)
def test_what_passes(question, answer):
    assert check(Checked(Pair(question, answer), "conversation", KITCHEN)) == []


def test_a_caption_that_is_in_the_picture_may_be_spoken_of():
    comic = Context("2", "2.jpg", ("A cartoon with the caption Help.",))
    pair = Pair("What is below the drawing?", "The caption Help is below it.")
    assert check(Checked(pair, "conversation", comic)) == []
    assert check(Checked(pair, "conversation", KITCHEN)) != []


def test_what_is_only_flagged():
    flag = lambda kind, answer: [(v.gate, v.drops) for v in check(Checked(Pair("What?", answer), kind, KITCHEN))]  # noqa: E731
    assert flag("conversation", "There are four dogs.") == [("count", False)]
    assert flag("conversation", "There are two dogs.") == []
    assert flag("conversation", "It is there. It is there.") == []
    assert flag("conversation", "A dog lies there. A dog lies there.") == [("repetition", False)]
    assert flag("conversation", "a dog on a dog on a dog on a dog on a dog") == [("repetition", False)]
    assert flag("detail", "A dog.") == [("length", False)]
    assert flag("conversation", "Это большая коричневая собака на кухне.") == [("language", False)]
    long = " ".join(f"word{n}" for n in range(45)) + "."
    assert flag("reasoning", f"{long} A zebra stands beside it.") == [("unsupported object", False)]


def test_every_gate_has_been_tried():
    assert set(GATES) == {*SPOILT, "length", "repetition", "language", "count"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A hot dog lies on a plate.", {"hot dog"}),
        ("Two teddy bears sit there.", {"teddy bear"}),
        ("An orange cat crosses the road.", {"cat"}),
        ("She books a flight; he can tie it.", {"book"}),
        ("Buses, knives and doughnuts", {"bus", "donut"}),
        ("People with glasses sit at a table.", set()),
        ("a CELL PHONE, a wine-glass", {"cell phone", "wine glass"}),
        ("catalogue, carpet, dogma", set()),
    ],
)
def test_names_of_objects_are_found_in_texts(text, names):
    assert named(text) == names


def test_captions_and_boxes_support_what_is_said():
    assert supported(KITCHEN) >= {"dog", "bowl", "cup"} and "cat" not in supported(KITCHEN)
    assert unsupported("A cat sleeps. It could chase a bird. There is no oven.", KITCHEN) == [("cat", "A cat sleeps.")]
    assert mentions("Two men walk.", "person") and mentions("a red circle", "red circle")
    assert not mentions("a red square", "red circle") and not mentions("a catalogue", "cat")


BLOCK = "Question:\n{}\n===\nAnswer:\n{}"
TWO = "\n===\n".join([BLOCK.format("Who?", "A dog."), BLOCK.format("Why?", "Because:\n\n1. it\n- may")])


def test_the_form_is_read():
    assert read_pairs("conversation", reply(TWO), "") == [
        Pair("Who?", "A dog."),
        Pair("Why?", "Because:\n\n1. it\n- may"),
    ]
    assert read_pairs("conversation", reply(f"\n{TWO}\n===\n".replace("\n", "\r\n")), "")[1].question == "Why?"
    assert read_pairs("reasoning", reply(BLOCK.format("Why?", "So.")), "") == [Pair("Why?", "So.")]
    assert read_pairs("detail", reply("A dog.\n\nA cat.", ""), "Describe it.") == [
        Pair("Describe it.", "A dog.\n\nA cat.")
    ]


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        ("conversation", "", "empty"),
        ("conversation", " \n\t", "empty"),
        ("conversation", "Here you go:\n" + TWO, "does not begin with Question:"),
        ("conversation", TWO + "\n===\nQuestion:\nWhat?", "missing"),
        ("conversation", TWO.replace("\n===\nAnswer", "\nAnswer"), "===|missing"),
        ("conversation", "Answer:\na\n===\nQuestion:\nb", "does not begin with Question:"),
        ("conversation", "Question:\n\n===\nAnswer:\nb", "nothing follows"),
        ("conversation", '{"question": "Who?", "answer": "A dog."}', "missing"),
        ("conversation", BLOCK.format("Что это такое, скажите?", "Это кошка на столе."), "not in English"),
        ("reasoning", TWO, "2 questions"),
        ("detail", BLOCK.format("Who?", "A dog."), "description alone"),
        ("detail", "Sure! Here is a dog.", "begins with 'Sure'"),
        ("detail", "A kitchen:\n- a dog\n- a cat", "list"),
        ("detail", "# Kitchen\nA dog.", "heading"),
    ],
)
def test_another_form_is_refused_with_the_reason(kind, text, fault):
    with pytest.raises(MalformedError, match=fault):
        read_pairs(kind, reply(text), "Describe it.")


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls"])
def test_what_did_not_end_by_itself_is_refused(reason):
    with pytest.raises(MalformedError, match=reason):
        read_pairs("conversation", reply(TWO, reason), "")
