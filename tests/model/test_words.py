"""Tokens as words: both families of tokenizers, and Llama's own where it is at hand."""

import pytest
from tests.data.readers import AWKWARD, KINDS, llama, trained
from tests.parts import joined

from lapilli.model.llava import load
from lapilli.model.words import texts_of


@pytest.mark.parametrize("kind", [*KINDS, "llama, legacy"])
def test_the_words_of_a_text_are_the_text(kind):
    """Letter for letter, with every space; pieces of characters are told by their bytes."""
    tokenizer = llama(kind) if kind.startswith("llama") else trained(kind)
    for text in ("The red  circle,\n\nan answer.", "What is it? Yes", "a\tb [INST] 12", "café", *"abc?."):
        found = texts_of(tokenizer, tokenizer.encode(text, add_special_tokens=False))
        joined_up = "".join(found)
        assert joined_up.removeprefix(" ") == text or _spelled(joined_up) in (text, " " + text)


def _spelled(text):
    """What escaped bytes spell."""
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1").decode()


@pytest.mark.parametrize("kind", [*KINDS, "llama, legacy"])
def test_no_token_is_unsaid(kind):
    tokenizer = llama(kind) if kind.startswith("llama") else trained(kind)
    for text in AWKWARD:
        ids = tokenizer.encode(text, add_special_tokens=False)
        found = texts_of(tokenizer, ids)
        assert len(found) == len(ids)
        assert all(found)
        assert "�" not in "".join(found)


def test_pieces_of_llamas_own_tokenizer():
    tokenizer = llama("llama, legacy")
    ids = [1, 2, 29871, 278, 1552, 13, 3 + 0x41, 3 + 0xE4, 3 + 0x00]
    assert texts_of(tokenizer, ids) == ["<s>", "</s>", " ", " the", "the", "\n", "A", "\\xe4", "\x00"]
    assert texts_of(tokenizer, [len(tokenizer) + 5]) == [f"<{len(tokenizer) + 5}>"]
    spelled = ["\\xf0", "\\x9f", "\\x98", "\\x80", "<image>"]  # of no piece of its own
    assert texts_of(tokenizer, tokenizer.encode("😀<image>", add_special_tokens=False))[-5:] == spelled


def test_byte_level_tokens():
    llava = load(joined("siglip", "qwen2"))
    tokenizer = llava.processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids(["Ġ", "Ċ", "Ġa", "Ã", "ä", "<|im_end|>", "<image>"])
    assert texts_of(tokenizer, ids) == [" ", "\n", " a", "\\xc3", "\\xe4", "<|im_end|>", "<image>"]
    beyond = llava.model.config.text_config.vocab_size - 1
    assert texts_of(tokenizer, [beyond]) == [f"<{beyond}>"]
