"""The balance of CC3M's captions (LLaVA, arXiv 2304.08485, appendix): rare phrases first, frequent ones cut.

Each caption has noun phrases. A phrase that fewer than three captions have is skipped: its captions have others. The
rest are gone through from the rarest to the most frequent, and the captions of each enter the pool; of a phrase with
more than a hundred, a random hundred. What the paper leaves open is an option here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from lapilli.core.fields import Range

_EDGES = (2, 10, 100, 1_000, 10_000, 100_000, 10**9)
"""The largest frequencies of the bands of a report."""


@dataclass(frozen=True)
class Balance:
    """How captions are chosen.

    `counted` says whether captions that are in the pool already count towards a phrase's `most`: without it, a phrase
    always adds up to `most` new ones.
    """

    least: Annotated[int, "Phrases of fewer captions are skipped.", Range(1)] = 3
    most: Annotated[int, "The most captions of a phrase.", Range(1)] = 100
    counted: Annotated[bool, "Captions in the pool count towards it."] = False
    seed: Annotated[int, "Draws the captions of frequent phrases.", Range(0)] = 0


@dataclass(frozen=True, eq=False)
class PhraseTable:
    """Which captions have which phrases, in the order of the phrases.

    names   the phrases, in the order in which they first occur
    starts  int64 (phrase + 1,)  where a phrase's captions begin in `rows`
    rows    int32 (pair,)  the captions of each phrase, ascending
    count   the number of captions
    """

    names: Sequence[str]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    count: int

    @property
    def frequencies(self) -> NDArray[np.int64]:
        """How many captions have each phrase, (phrase,)."""
        return np.diff(self.starts)


def phrase_table(captions: Iterable[Iterable[str]]) -> PhraseTable:
    """The table of the phrases of each caption; a phrase that a caption has twice counts once."""
    numbers: dict[str, int] = {}
    phrases, lengths = [], []
    for some in captions:
        own = np.fromiter({numbers.setdefault(phrase, len(numbers)) for phrase in some}, dtype=np.int32)
        own.sort()
        phrases.append(own)
        lengths.append(len(own))
    flat = np.concatenate(phrases) if phrases else np.empty(0, dtype=np.int32)
    return _sorted_table(list(numbers), flat, np.array(lengths, dtype=np.int64))


def _sorted_table(names: Sequence[str], phrases: NDArray[np.int32], lengths: NDArray[np.int64]) -> PhraseTable:
    """The table from the phrases of one caption after the other."""
    rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    order = np.argsort(phrases, kind="stable")
    starts = np.zeros(len(names) + 1, dtype=np.int64)
    np.cumsum(np.bincount(phrases, minlength=len(names)), out=starts[1:])
    return PhraseTable(names, starts, rows[order], len(lengths))


def chosen_captions(table: PhraseTable, balance: Balance) -> NDArray[np.bool_]:
    """Whether each caption is chosen, (caption,): always the same for a table and a balance.

    Phrases of one frequency are gone through in the order in which they first occur.
    """
    pool = np.zeros(table.count, dtype=np.bool_)
    generator = np.random.default_rng(balance.seed)
    frequencies = table.frequencies
    order = np.argsort(frequencies, kind="stable")
    for phrase in order[np.searchsorted(frequencies[order], balance.least) :]:
        rows = table.rows[table.starts[phrase] : table.starts[phrase + 1]]
        if len(rows) > balance.most:
            rows = _drawn(rows, pool, balance, generator)
        pool[rows] = True
    return pool


def _drawn(
    rows: NDArray[np.int32], pool: NDArray[np.bool_], balance: Balance, generator: np.random.Generator
) -> NDArray[np.int32]:
    """Some of the captions of a frequent phrase."""
    if not balance.counted:
        return generator.choice(rows, balance.most, replace=False, shuffle=False)
    inside = pool[rows]
    wanted = max(0, balance.most - int(inside.sum()))
    outside = rows[~inside]
    return generator.choice(outside, min(wanted, len(outside)), replace=False, shuffle=False)


def control(count: int, size: int, seed: int) -> NDArray[np.bool_]:
    """A random choice of `size` of `count` captions, to compare any other choice of that size with."""
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[np.random.default_rng([seed, 1]).choice(count, size, replace=False, shuffle=False)] = True
    return chosen


@dataclass(frozen=True)
class Band:
    """Phrases of a range of frequencies: how many there are, and the captions that have them, before and after."""

    least: int
    most: int
    phrases: int
    before: int
    after: int
    control: int


def by_frequency(table: PhraseTable, chosen: NDArray[np.bool_], random: NDArray[np.bool_]) -> list[Band]:
    """What a choice, and a random one, keep of phrases that are rare and of those that are not."""
    frequencies = table.frequencies
    if not len(frequencies):
        return []
    kept = [np.add.reduceat(mask[table.rows], table.starts[:-1], dtype=np.int64) for mask in (chosen, random)]
    bands, least = [], 1
    for most in (edge for edge in _EDGES if least <= frequencies.max()):
        inside = (frequencies >= least) & (frequencies <= most)
        before, after, by_chance = (int(numbers[inside].sum()) for numbers in (frequencies, *kept))
        bands.append(Band(least, most, int(inside.sum()), before=before, after=after, control=by_chance))
        least = most + 1
    return bands
