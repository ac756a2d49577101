"""The losses of a text's tokens: those of transformers on the same windows, each once."""

import numpy as np
import pytest
import torch
from tests.parts import joined

from lapilli.core.errors import LapilliError
from lapilli.data.plain.texts import held_out_prose
from lapilli.inference.likelihood import token_losses
from lapilli.model.llava import load

TEXT = held_out_prose()[:400]
PAIRS = [("clip", "llama"), ("siglip", "qwen2")]  # with a token at the beginning, and without


def expected(llava, text, size):
    """The mean of transformers' own losses on windows of at most `size` tokens, and how many tokens it is of.

    The first window scores all that it can; the later ones score the half that is new to them.
    """
    ids = torch.tensor(llava.processor.tokenizer(text)["input_ids"])
    total, scored, start = 0.0, 0, 0
    done = 1
    while done < len(ids):
        window = ids[start : start + size]
        labels = window.clone()
        labels[: done - start] = -100
        with torch.inference_mode():
            loss = llava.model(input_ids=window[None], labels=labels[None]).loss
        count = int((labels != -100).sum())
        total, scored, done = total + float(loss) * count, scored + count, start + len(window)
        start = done - size // 2
    return total / scored, scored


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("size", [10_000, 64, 33, 2])
def test_it_is_the_loss_of_transformers_on_the_same_windows(pair, size):
    llava = load(joined(*pair))
    _, losses = token_losses(llava, TEXT, size)
    mean, count = expected(llava, TEXT, min(size, 256))
    assert len(losses) == count and losses.dtype == np.float64
    assert losses.mean() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("pair", PAIRS)
def test_ends_are_those_of_the_tokens(pair):
    llava = load(joined(*pair))
    tokenizer, text = llava.processor.tokenizer, "A café.\n\nTwo  words"
    ends, losses = token_losses(llava, text)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    begins = tokenizer("")["input_ids"] != []
    assert len(ends) == len(losses) == len(ids) - (not begins)
    assert ends[-1] == len(text) and (np.diff(ends) >= 0).all()
    for end, known in zip(ends, range(1 + (not begins), len(ids) + 1), strict=True):
        if "\N{REPLACEMENT CHARACTER}" not in (decoded := tokenizer.decode(ids[:known])):
            assert text[:end] == decoded


def test_what_is_too_short_has_no_losses():
    llava = load(joined("siglip", "qwen2"))
    for text in ("", "A"):
        assert [len(array) for array in token_losses(llava, text)] == [0, 0]


def test_a_model_that_computes_no_numbers_is_refused():
    llava = load(joined("clip", "llama"))
    with torch.no_grad():
        llava.model.model.language_model.norm.weight.fill_(torch.nan)
    with pytest.raises(LapilliError, match="computes no numbers"):
        token_losses(llava, TEXT)
