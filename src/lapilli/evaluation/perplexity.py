"""Perplexity of running text: how well a model predicts it, whatever it would answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.clusters import clustered_mean
from lapilli.core.statistics.estimate import Estimate

Likelihood: TypeAlias = Callable[[str], tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Of a text, where each token ends (in characters) and its negative log-likelihood in nats, (token,) each."""


@dataclass(frozen=True)
class Perplexity:
    """How well a text is predicted per `unit`, "token" or "word".

    nats        the mean negative log-likelihood of a unit
    perplexity  its exponential, with the exponentials of its ends
    """

    unit: str
    nats: Estimate
    perplexity: Estimate


def perplexities(likelihood: Likelihood, text: str) -> list[Perplexity]:
    """Return the perplexity of a text per token and per word; paragraphs end at empty lines.

    A word is what stands between white space. A token counts to the word in which it ends, one that is white space to
    the word before; the loss of a word is the sum of its tokens'. Per token it is the sum of all losses by the number
    of tokens that have one, per word by the number of words with such a token. Tokens are cut differently by different
    tokenizers, words are the same for all. The bootstrap draws paragraphs. nan for a text without two tokens.
    """
    ends, losses = likelihood(text)
    last = np.maximum(ends - 1, 0)
    word = _containing(r"\S+", text, last)
    words = np.unique(word)
    sums = np.bincount(word, losses)[words]
    starts = np.array([match.start() for match in re.finditer(r"\S+", text)], np.int64)[words]
    by_unit = {"token": (losses, last), "word": (sums, starts)}
    return [
        _perplexity(unit, clustered_mean(values, _containing(r"(?:.|\n(?!\s*\n))+", text, at).tolist()))
        for unit, (values, at) in by_unit.items()
    ]


def _containing(pattern: str, text: str, at: NDArray[np.int64]) -> NDArray[np.intp]:
    """The number of the part of a text in which each character lies, or of the part before it."""
    starts = [match.start() for match in re.finditer(pattern, text)]
    return np.maximum(np.searchsorted(starts, at, side="right") - 1, 0)


def _perplexity(unit: str, nats: Estimate) -> Perplexity:
    with np.errstate(over="ignore"):  # of a model that rules out what is there
        value, low, high = np.exp([nats.value, nats.low, nats.high]).tolist()
    return Perplexity(unit, nats, Estimate(value, low, high, nats.n))
