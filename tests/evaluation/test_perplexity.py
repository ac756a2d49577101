"""Perplexity from losses that are known."""

import math

import numpy as np
import pytest

from lapilli.evaluation.perplexity import perplexities

TEXT = "One two three.\n\nFour  five,\nsix\n \nseven"


def by_character(losses, first=0):
    """A likelihood whose tokens are the characters from `first` on."""
    return lambda text: (np.arange(first, len(text)) + 1, np.asarray(losses, np.float64)[: len(text) - first])


def test_even_losses_give_their_own_perplexity_and_that_of_words():
    token, word = perplexities(by_character(np.full(100, math.log(8))), TEXT)
    assert (token.unit, word.unit) == ("token", "word")
    assert (token.nats.n, word.nats.n) == (len(TEXT), 7)
    for end in ("value", "low", "high"):
        assert getattr(token.perplexity, end) == pytest.approx(8)
    assert word.nats.value == pytest.approx(math.log(8) * len(TEXT) / 7)
    assert word.perplexity.value == pytest.approx(8 ** (len(TEXT) / 7))


def test_losses_belong_to_the_word_in_which_their_token_ends_and_white_space_to_the_word_before():
    losses = np.zeros(len(TEXT))
    losses[TEXT.index("five") - 2 : TEXT.index("five")] = 3.0  # the two spaces behind "Four"
    (_, word) = perplexities(by_character(losses), TEXT)
    assert word.nats.value == pytest.approx(6 / 7)
    assert perplexities(by_character(losses, 4), TEXT)[1].nats.n == 6  # nothing is scored of the first word
    assert perplexities(by_character(losses, 3), TEXT)[1].nats.n == 7  # but the space behind it


def test_the_interval_is_that_of_paragraphs_drawn():
    rng = np.random.default_rng(1)
    text = "\n\n".join(" ".join(["word"] * 20) for _ in range(30))
    offsets = rng.normal(0, 1, 30)
    level = np.repeat(offsets, len(text.split("\n\n")[0]) + 2)[: len(text)]
    between = perplexities(by_character(5 + level), text)[0].nats
    within = perplexities(by_character(5 + rng.normal(0, 1, len(text))), text)[0].nats
    expected = 2 * 2.045 * offsets.std(ddof=1) / math.sqrt(30)
    assert between.high - between.low == pytest.approx(expected, rel=0.1)
    assert within.high - within.low < 0.3 * (between.high - between.low)


def test_a_line_break_ends_no_paragraph_and_an_empty_line_does():
    losses = np.random.default_rng(2).exponential(size=400)
    lines, spaces = ("\n\n".join(["a few words" + end + "in a line"] * 12) for end in ("\n", " "))
    assert perplexities(by_character(losses), lines) == perplexities(by_character(losses), spaces)
    (token, _) = perplexities(by_character(losses), lines.replace("\n\n", " \n"))
    assert math.isnan(token.nats.low) and token.nats.value > 0  # a single paragraph has no interval


def test_a_model_of_no_use_has_no_finite_perplexity_and_no_text_has_none():
    assert perplexities(by_character(np.full(100, 800.0)), TEXT)[0].perplexity.value == math.inf
    for unit in perplexities(by_character([]), "A" * 0):
        assert math.isnan(unit.perplexity.value) and unit.nats.n == 0
