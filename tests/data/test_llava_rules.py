"""Ids and labels against LLaVA's own training code, as `llava_rules` restates it, with Llama's real tokenizer.

Its code runs with the slow tokenizer, in either manner: Llama 2's and Vicuna 1.5's folders say `legacy=False`, which is
the newer one, and those that say nothing have the legacy one. Ours agrees with both, each with its own kind, but where
LLaVA tokenises what comes after an image as a text of its own. In the newer manner that leaves a lone "▁" behind every
image, in the legacy manner only where a space comes next, that is where the question is nothing but the image. Under
plain the legacy manner agrees wholly, and in the newer one the "▁" is glued to the first word of the caption.
"""

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data import llava_rules
from tests.data.readers import GRID as PLACES
from tests.data.readers import LLAMA, make_processor, real_llama

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.codec import codec_from
from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.data.learnable import Requirements
from lapilli.data.sample import Sample, Turn, faults
from lapilli.training.feed import Examples

COCO = Path(__file__).parents[3] / "shared/data/coco80"
pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not LLAMA.exists(), reason=f"{LLAMA}: no tokenizer of Llama's own there"),
]
needs_coco = pytest.mark.skipif(not COCO.exists(), reason=f"{COCO}: not the 180 questions and answers of coco80 there")
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["newer manner", "legacy manner"])
PATCHES = PLACES[0] * PLACES[1]
SPACE = 29871  # the lone "▁"
IMAGE_ID = 32_000  # of <image>, the first token after Llama's own
PICTURE = Image.new("RGB", (PLACES[1] * 8, PLACES[0] * 8))


@cache
def tokenizers(legacy):
    """Ours and LLaVA's."""
    tokenizer = real_llama(legacy)
    tokenizer.add_special_tokens({"pad_token": "<unk>"})
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return tokenizer, llava_rules.SlowLlama(LLAMA, legacy)


@cache
def reader(legacy, template="vicuna_v1"):
    """Our processor and codec, and LLaVA's tokenizer."""
    tokenizer, slow = tokenizers(legacy)
    processor = make_processor(tokenizer, template)
    return processor, codec_from(processor, template, PLACES), slow


def sample(texts, name="it"):
    turns = tuple(Turn(("user", "assistant")[index % 2], text) for index, text in enumerate(texts))
    return Sample(name, ("a.png",) * sum(text.count("<image>") for text in texts), turns)


def theirs(texts, legacy, template="vicuna_v1", **options):
    _, codec, tokenizer = reader(legacy, template)
    turns = [(("human", "gpt")[index % 2], text) for index, text in enumerate(texts)]
    files = sum(text.count("<image>") for text in texts)
    return llava_rules.trained(template, turns, tokenizer, codec.image_token_id, PATCHES, files, **options)


def ours(texts, legacy, template="vicuna_v1"):
    return encode(sample(texts), reader(legacy, template)[1])


def processors(texts, legacy, template="vicuna_v1"):
    messages = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    pictures = [PICTURE] * sum(text.count("<image>") for text in texts)
    options = {"processor_kwargs": {"images": pictures}} if pictures else {}
    read = reader(legacy, template)[0].apply_chat_template(messages, tokenize=True, return_dict=True, **options)
    return np.ravel(read["input_ids"]).tolist()


def difference(mine, other):
    """Either "none", or "space" where a lone "▁" behind an image is all that LLaVA has more, or "other"."""
    pairs = list(zip(other.ids, other.labels, strict=True))
    own = list(zip(mine.ids.tolist(), mine.labels.tolist(), strict=True))
    if pairs == own:
        return "none"
    behind = [at for at in range(1, len(pairs)) if pairs[at] == (SPACE, -100) and pairs[at - 1][0] == IMAGE_ID]
    return "space" if [pair for at, pair in enumerate(pairs) if at not in behind] == own else "other"


def compared(talks, legacy, template="vicuna_v1"):
    """How many talks differ in which way, from LLaVA's, and from what its rules make of the images where they stand.

    In the newer manner the ids of every talk, as it stands, are also the processor's.
    """
    counts = [{"none": 0, "space": 0, "other": 0} for _ in range(2)]
    for texts in talks:
        mine, standing = ours(texts, legacy, template), theirs(texts, legacy, template, moved=False)
        assert legacy or mine.ids.tolist() == processors(texts, legacy, template)
        assert not standing.mismatch and any(label != -100 for label in standing.labels)
        counts[1][difference(mine, standing)] += 1
        moved = [llava_rules.images_first(text) if index % 2 == 0 else text for index, text in enumerate(texts)]
        if moved != list(texts):
            mine, standing = ours(moved, legacy, template), theirs(texts, legacy, template)
        counts[0][difference(mine, standing)] += 1
    return counts


@cache
def real_talks():
    """The 180 questions and answers, and those about one picture as one talk: each with its picture and without."""
    lines = {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in COCO.glob("*.jsonl")}
    asked, answered = lines["qa90_questions"], lines["qa90_gpt4_answer"]
    pairs = [(q["image"], q["text"], a["text"]) for q, a in zip(asked, answered, strict=True)]
    pairs += [(row["image"], row["instruction"], row["output"]) for row in lines["coco2014_val_gpt4_qa_30x3"]]
    of_picture = {}
    for picture, question, answer in pairs:
        of_picture.setdefault(picture, []).extend([question, answer])
    talks = [pair[1:] for pair in pairs] + list(of_picture.values())
    return [(mark + talk[0], *talk[1:]) for talk in talks for mark in ("<image>\n", "")]


WORDS = [
    "red",
    "the kite",
    "a  gap",
    "12",
    "3.5",
    "café",
    "中文",
    "😀",
    "👨‍👩‍👧",
    "e\u0301",
    "\n",
    "\n\n",
    "?",
    ".",
    ",",
    "USER",
    "USER:",
]
WORDS += [
    "Is",
    "What color",
    "\t",
    "-",
    "(x)",
    "#1",
    "100%",
    "_",
    "ASSISTANT",
    "ASSISTANT:x",
    "don't",
    "<b>",
    "\u00a0",
    "ﬁ",
]


@cache
def made_talks(count=1_000):
    """Talks of one to six exchanges, a fifth without a picture, the others with one first or last in a question."""
    chance = random.Random(11)

    def words(longest):
        return " ".join(chance.choices(WORDS, k=chance.randint(1, longest)))

    talks = []
    for _ in range(count):
        texts = [words(8) for _ in range(2 * chance.randint(1, 6))]
        texts[1::2] = [text + chance.choice([" yes", "x", ".", " 中 "]) for text in texts[1::2]]  # never nothing
        texts[::2] = [
            chance.choice(["", " ", "  ", "\n"]) + text + chance.choice(["", " ", "\n "]) for text in texts[::2]
        ]
        asking = 2 * chance.randrange(len(texts) // 2) if chance.random() < 0.2 else 0
        place = chance.choice(["first", "first", "last", "last", "none"])
        texts[asking] = {"first": f"<image>\n{texts[asking]}", "last": f"{texts[asking]}\n<image>"}.get(
            place, texts[asking]
        )
        talks.append(tuple(texts))
    return talks


@needs_coco
@LEGACY
def test_the_480_talks_of_coco80_are_llava_s_but_for_the_space_behind_the_image(legacy):
    """In figures: 180 questions and 60 talks of them, each with its picture and without."""
    counts, _ = compared(real_talks(), legacy)
    expected = {"none": 480, "space": 0, "other": 0} if legacy else {"none": 240, "space": 240, "other": 0}
    assert counts == expected, f"{counts} of {len(real_talks())} talks"


@LEGACY
def test_1000_made_talks_are_llava_s_but_for_the_space_behind_the_image(legacy):
    """In figures: 793 talks show a picture, 12 of them in a question of no words.

    LLaVA's code first moves an image to the front of its question. If it did not, its rules would agree as well.
    """
    moved, standing = compared(made_talks(), legacy)
    expected = {"none": 988, "space": 12, "other": 0} if legacy else {"none": 207, "space": 793, "other": 0}
    assert moved == expected, f"{moved} of {len(made_talks())} talks"
    assert (standing["other"], sum(standing.values())) == (0, 1_000), f"{standing} with the images where they stand"


@needs_coco
@LEGACY
def test_the_401_captions_of_coco80_are_llava_s_but_for_the_space_glued_to_the_first_word(legacy):
    rows = [json.loads(line) for line in (COCO / "caps_boxes_coco2014_val_80.jsonl").read_text().splitlines()]
    captions = [caption for row in rows for caption in row["captions"]]
    talks = [("<image>\nDescribe it.", caption) for caption in captions]
    counts, _ = compared(talks, legacy, "plain")
    glued = [_spelled_as_llava(texts, legacy) for texts in talks]
    expected = {"none": 401, "space": 0, "other": 0} if legacy else {"none": 0, "space": 0, "other": 401}
    assert (counts, sum(glued), len(talks)) == (expected, 401, 401)


def _spelled_as_llava(texts, legacy):
    """Whether a caption's labels are LLaVA's, but for the space before the first word."""
    tokenizer = reader(legacy, "plain")[1].tokenizer
    both = (ours(texts, legacy, "plain").labels.tolist(), theirs(texts, legacy, "plain").labels)
    words = ["".join(tokenizer.convert_ids_to_tokens([id for id in labels if id != -100])) for labels in both]
    return words[0].removeprefix("▁") == words[1].removeprefix("▁")


# What follows is where LLaVA's code drops or shifts without an error.


def learned(encoded):
    """The text of what is learned, exchange by exchange."""
    tokenizer = reader(False)[1].tokenizer
    turns = range(int(encoded.layout.turn.max()) + 1)
    at = [(encoded.labels != -100) & (encoded.layout.turn == turn) for turn in turns]
    return [tokenizer.decode(encoded.ids[one]).strip() for one in at]


@LEGACY
@pytest.mark.parametrize(
    "texts",
    [
        ("Q", "He says ASSISTANT: yes"),
        ("Q", "First", "Say ASSISTANT: yes", "No"),
        ("<image>\nQ", "Fine", "R", "so ASSISTANT: no", "S", "T"),
        ("What is <unk>?", "A token"),
        ("Q", "The token for nothing is <unk>"),
        ("Read </s>, please", "An end"),
        ("<image>\nQ", "Good", "And <unk>?", "Not"),
    ],
)
def test_a_sample_that_llava_masks_wholly_is_learned(texts, legacy):
    """Its marks in an answer or a question, and the padding token in a text, which here is <unk>."""
    other, mine = theirs(texts, legacy), ours(texts, legacy)
    assert other.mismatch and set(other.labels) == {-100}
    behind = "space" if "<image>" in texts[0] and not legacy else "none"
    assert difference(mine, llava_rules.Trained(other.ids, other.labels)) == "other"
    assert learned(mine) == [answer + "</s>" for answer in texts[1::2]]
    masked = llava_rules.Trained(other.ids, [-100] * len(other.ids))
    unlearned = type(mine)(mine.id, mine.images, mine.ids, np.full(len(mine.ids), -100), mine.layout)
    assert difference(unlearned, masked) == behind  # the ids are the same


def test_the_padding_token_in_a_text_is_attended_to():
    mine = ours(("What is <unk>?", "A token"), False)
    unknown = mine.ids.tolist().index(llava_rules.PAD)
    batch = collate([mine, ours(("Q", "A"), False)], pad_id=llava_rules.PAD)
    assert batch["attention_mask"][0, unknown] == 1
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(mine.ids), len(ours(("Q", "A"), False).ids)]


@LEGACY
def test_an_answer_that_holds_the_stop_is_refused(legacy):
    texts = ("<image>\nQ", "It ends</s> here")
    other = theirs(texts, legacy)
    assert other.mismatch and set(other.labels) == {-100}
    with pytest.raises(LapilliError, match=r"^sample 'it': turn 1: the answer holds '</s>'; remove it"):
        ours(texts, legacy)


@LEGACY
@pytest.mark.parametrize("mark", ["", "<image>\n"])
def test_a_text_over_the_maximum_length_is_refused(mark, legacy):
    """LLaVA cuts it without a word: of the second answer nothing is learned, or of neither."""
    texts = (mark + "Q", "red " * 40, "R", "The end.")
    whole = theirs(texts, legacy)
    for longest in (len(whole.ids) - 6, 45):
        cut = theirs(texts, legacy, max_length=longest)
        assert len(cut.ids) == longest and not cut.mismatch
        assert cut.labels == whole.labels[:longest]
        with pytest.raises(LapilliError, match=rf"^row 0, sample 'it': \d+ tokens, .* at most {longest}; shorten"):
            Examples([sample(texts)], Requirements(reader(legacy)[1], longest, False))
    assert {-100} == set(theirs(texts, legacy, max_length=40).labels)


@pytest.mark.parametrize(
    ("marks", "taken", "message"),
    [
        ((0, 1, 1), [[], [1], [2]], "0 <image> in the questions, 1 images"),  # trained without its picture
        ((2, 1, 1), [[0, 1], [2], None], "2 <image> in the questions, 1 images"),  # with its neighbour's
        ((1, 2, 0), [[0], [1, 2], []], "2 <image> in the questions, 1 images"),
    ],
)
def test_marks_that_are_not_as_many_as_the_pictures_are_refused(marks, taken, message):
    if None in taken:
        with pytest.raises(IndexError):
            llava_rules.pictures_taken(marks)
        assert llava_rules.pictures_taken([*marks[:-1], 0])[:-1] == taken[:-1]  # and with a text behind, no error
    else:
        assert llava_rules.pictures_taken(marks) == taken
    wrong = next(count for count in marks if count != 1)
    turns = [text for turn in range(max(wrong, 1)) for text in ("<image>\nQ" if wrong else "Q", "A")]
    one = Sample("it", ("a.png",), sample(turns).turns)
    with pytest.raises(LapilliError, match=f"^sample 'it': {message}"):
        encode(one, reader(False)[1])


@LEGACY
def test_two_pictures_in_one_question_stay_two(legacy):
    """LLaVA's code makes one of them, and drops the other picture."""
    texts = ("<image><image>\nWhich?", "The first.")
    assert theirs(texts, legacy).ids.count(IMAGE_ID) == PATCHES
    mine = ours(texts, legacy)
    assert mine.layout.image_count == 2 and mine.ids.tolist().count(IMAGE_ID) == 2 * PATCHES
    assert learned(mine) == ["The first.</s>"]


@LEGACY
def test_a_talk_that_the_assistant_begins_is_refused(legacy):
    """LLaVA drops what was said first, and here what it was said about."""
    _, codec, tokenizer = reader(legacy)
    turns = [("gpt", "Look, a kite."), ("human", "Where?"), ("gpt", "There.")]
    other = llava_rules.trained("vicuna_v1", turns, tokenizer, codec.image_token_id, PATCHES)
    assert other == theirs(("Where?", "There."), legacy)
    said = tuple(Turn("assistant" if speaker == "gpt" else "user", text) for speaker, text in turns)
    with pytest.raises(LapilliError, match=r"^sample 'it': turn 0: user expected, assistant found"):
        encode(Sample("it", (), said), codec)
    row = {"id": "it", "conversations": [{"from": speaker, "value": text} for speaker, text in turns]}
    assert next(faults(row)).message == "the first turn is the assistant's"


@LEGACY
def test_a_talk_that_ends_with_a_question_is_refused(legacy):
    texts = ("Q", "A", "R")
    other = theirs(texts, legacy)
    assert other.mismatch and set(other.labels) == {-100}
    with pytest.raises(LapilliError, match=r"^sample 'it': the last of 3 turns must be the assistant's"):
        ours(texts, legacy)


@LEGACY
def test_plain_drops_what_a_question_says_as_llava_does_but_no_picture_and_no_turn(legacy):
    asked = [("<image>", "a kite"), ("Describe it.\n<image>", "a kite"), ("<image>\nWhat is it?", "a kite")]
    assert len({tuple(theirs(texts, legacy, "plain").ids) for texts in asked}) == 1
    assert len({tuple(ours(texts, legacy, "plain").ids.tolist()) for texts in asked}) == 1
    both = ("<image><image>", "two kites")
    assert theirs(both, legacy, "plain").ids.count(IMAGE_ID) == PATCHES
    assert ours(both, legacy, "plain").ids.tolist().count(IMAGE_ID) == 2 * PATCHES
    with pytest.raises(LapilliError, match="template plain: one picture and its caption expected, 4 turns found"):
        ours(("<image>", "a kite", "Q", "A"), legacy, "plain")
