"""The tokenizer spells anything, begins with <s>, and learns words from what it reads."""

import random

import pytest
from tests.training.small import MAX_LENGTH, VOCABULARY, texts, tokenizer, tokenizer_folder
from transformers import AutoTokenizer

from lapilli.training.pebble.tokenizer import SPECIAL, train_tokenizer


def random_text(seed):
    rng = random.Random(seed)
    planes = [(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    return "".join(chr(rng.randint(*rng.choice(planes))) for _ in range(rng.randint(1, 60)))


@pytest.mark.parametrize(
    "text",
    [
        "a small red circle",
        " leading and trailing ",
        "two  spaces\n\n\tand breaks\r\n",
        "Größe, 色, 🎲, e\u0301, \u200d",
        "a .b ,c",
    ],
)
def test_text_comes_back_as_it_was(text):
    ids = tokenizer()(text)["input_ids"]
    assert tokenizer().decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_random_unicode_comes_back_as_it_was():
    for seed in range(200):
        text = random_text(seed)
        ids = tokenizer()(text)["input_ids"]
        assert tokenizer().decode(ids[1:], clean_up_tokenization_spaces=False) == text
        assert tokenizer().unk_token_id not in ids


def test_special_tokens_have_the_first_ids_and_every_sequence_begins_with_bos():
    ours = tokenizer()
    assert [ours.convert_tokens_to_ids(token) for token in SPECIAL] == [0, 1, 2, 3]
    assert (ours.unk_token_id, ours.bos_token_id, ours.eos_token_id, ours.pad_token_id) == (0, 1, 2, 3)
    assert ours("")["input_ids"] == [1]
    assert ours("red</s>")["input_ids"] == [1, *ours("red")["input_ids"][1:], 2]
    assert ours("red", "blue")["input_ids"].count(1) == 1


def test_a_frequent_word_is_one_token_and_the_vocabulary_keeps_its_limit():
    ours = tokenizer()
    assert len(ours) == VOCABULARY
    assert ours.tokenize("a large circle at the top") == ["a", "Ġlarge", "Ġcircle", "Ġat", "Ġthe", "Ġtop"]
    assert ours.model_max_length == MAX_LENGTH
    assert ours.padding_side == "left"


def test_offsets_are_those_of_the_characters():
    text = "What color is the circle? Größe"
    read = tokenizer()(text, return_offsets_mapping=True)
    assert "".join(text[a:b] for a, b in read["offset_mapping"][1:26]).startswith("What color is the circle?")


def test_the_same_texts_make_the_same_tokenizer_and_saving_keeps_it():
    again = train_tokenizer(texts(), VOCABULARY, MAX_LENGTH)
    assert again.backend_tokenizer.to_str() == tokenizer().backend_tokenizer.to_str()
    loaded = AutoTokenizer.from_pretrained(tokenizer_folder())
    for text in texts(5):
        assert loaded(text)["input_ids"] == tokenizer()(text)["input_ids"]
    assert loaded.is_fast
