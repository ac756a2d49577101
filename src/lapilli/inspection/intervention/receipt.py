"""The causal receipt: what an explanation predicts of removing the patches it names, and what then happens.

A map is a claim: these patches carry the answer. The claim is put to the test by taking them away, and as many at
random, scattered and in connected pieces of the same sizes. The random sets are drawn from all patches, those that the
map names among them: only then is a map that knows nothing as likely as any of them to move the word most (a
permutation test; sets are drawn without repeats, see Phipson & Smyth 2010, "Permutation P-values Should Never Be
Zero"). On deletion tests see Petsiuk et al. 2018 (RISE); on why masks need controls Jain et al. 2022, "Missingness Bias
in Model Debugging".
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.inspection.intervention.patch_sets import in_pieces, pieces, scattered, strongest
from lapilli.inspection.readings import Readings, joined

Verdict: TypeAlias = Literal[
    "confirmed", "confirmed-but-smaller", "confirmed-but-larger", "not-confirmed", "opposite", "not-tested"
]
Remove: TypeAlias = Callable[[Sequence[Positions]], Readings]
"""Reads the sequence again, once without each of the sets of patches."""

SHARE = 8
"""A receipt is about an eighth of the picture: 72 of 576 patches."""

FEWEST = 20
"""Controls without which nothing is said. Of so many a map that knows nothing lies beyond all in at most 1 of 11 cases
(`Receipt.chance`), of the usual 40 in 1 of 21."""

FACTOR = 2
"""How many times the predicted change the measured one may be, or the other way round."""

AT_ONCE = 8
"""Sets that are removed before the verdict is looked at: as many pictures as `removal.reread` reads in one batch."""

RULE = (
    "confirmed: the change lies beyond all controls, on the predicted side, and is between half of the predicted one "
    "and twice it; confirmed-but-smaller: beyond all controls, but less than half; confirmed-but-larger: beyond all "
    "controls, but more than twice; opposite: beyond all controls on the other side; not-confirmed: a control does as "
    "much; not-tested: no effect predicted, or fewer than 20 controls (few patches have no more different sets)"
)

_TRIES = 1000  # after so many repeats in a row there is no set left that was not drawn


@dataclass(frozen=True)
class Changes:
    """What removals changed: of the named patches, of those of the shuffled map, and of random ones of both kinds."""

    named: float
    shuffled: float
    scattered: tuple[float, ...]
    contiguous: tuple[float, ...]

    @property
    def controls(self) -> tuple[float, ...]:
        """Those of all random removals that were made."""
        return self.scattered + self.contiguous


@dataclass(frozen=True)
class Receipt:
    """What removing some patches did to one word, beside what was predicted and what chance does.

    shuffled    the patches that the same map names when its values are shuffled over the patches
    target      the change of the target's sum over the word's tokens, in logits: negative when the word lost; what
                `predicted` predicts
    log_prob    the change of the word's log-probability, in nats
    before      the word's log-probability with all patches
    said        the likeliest text in the word's place, before and after the named patches were removed
    turned      how many of the random removals change the likeliest text in the word's place
    drawn       how many random sets there were; of them as many were removed as settle both verdicts
    """

    map: str
    kind: str
    patches: tuple[int, ...]
    shuffled: tuple[int, ...]
    predicted: float
    target: Changes
    log_prob: Changes
    before: float
    said: tuple[str, str]
    turned: int
    drawn: int
    seed: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """By RULE."""
        return verdict(self.predicted, self.target.named, self.target.controls, self.drawn)

    @property
    def shuffled_verdict(self) -> Verdict:
        """The same of the shuffled map, which predicts as much of other patches."""
        return verdict(self.predicted, self.target.shuffled, self.target.controls, self.drawn)

    @property
    def chance(self) -> float:
        """How often, at most, a map that knows nothing is confirmed; and how often it is opposite.

        Its patches are as likely as the random ones of one kind to move the word most. They are as likely as those of
        both, twice as many, only where scattered patches do as much as connected ones.
        """
        return 1 / (self.drawn // 2 + 1)


def verdict(predicted: float, measured: float, controls: Sequence[float], drawn: int) -> Verdict:
    """What RULE says of a predicted and a measured change and those of random removals, of which `drawn` are planned.

    Of a part of them the verdict is that of all if it is not-confirmed, which more controls never change.
    """
    if drawn < FEWEST or predicted == 0:
        return "not-tested"
    side = np.sign(predicted)
    gain, gains = side * measured, side * np.asarray(controls)
    if gain > gains.max(initial=0):
        return _sized(gain / abs(predicted))
    return "opposite" if gain < gains.min(initial=0) else "not-confirmed"


def _sized(times: float) -> Verdict:
    """What is confirmed when a change is so many times the predicted one."""
    if times > FACTOR:
        return "confirmed-but-larger"
    return "confirmed" if times >= 1 / FACTOR else "confirmed-but-smaller"


@dataclass(frozen=True, eq=False)
class Claim:
    """What a map says of one word.

    map      the map's name
    values   (patch,) what it gives every patch, summed over the word's tokens
    word     the word's rows in the trace
    """

    map: str
    values: NDArray[np.float64]
    word: slice


@dataclass(frozen=True, eq=False)
class Draw:
    """The patches that a map names, those that it names when shuffled, and random ones.

    All are as many. The random ones are scattered, and in pieces of the same sizes as the named ones, as many of either
    kind; no two sets are the same, and none is the named or the shuffled one.
    """

    named: Positions
    shuffled: Positions
    scattered: list[Positions]
    contiguous: list[Positions]
    seed: int

    @property
    def sets(self) -> list[Positions]:
        """The named, the shuffled, and the random ones, of both kinds in turn."""
        pairs = zip(self.scattered, self.contiguous, strict=True)
        return [self.named, self.shuffled, *(one for pair in pairs for one in pair)]


def draw(named: Positions, grid: tuple[int, int], controls: int, seed: int) -> Draw:
    """`controls` random sets of either kind beside the patches `named` of a grid of (rows, columns).

    They are drawn from all patches, and are fewer where there are not so many different sets. The shuffled set is where
    the values of the named patches come to lie when those of all patches are shuffled.
    """
    rng = np.random.default_rng(seed)
    every = np.arange(grid[0] * grid[1])
    shuffled = np.flatnonzero(np.isin(rng.permutation(every), named))
    ways = partial(scattered, rng, every, len(named)), partial(in_pieces, rng, every, pieces(named, grid), grid)
    taken = {tuple(named.tolist()), tuple(shuffled.tolist())}
    found = list(_pairs(ways, controls, taken, comb(len(every), len(named))))
    return Draw(named, shuffled, [one for one, _ in found], [other for _, other in found], seed)


def _pairs(
    ways: tuple[Callable[[], Positions], Callable[[], Positions]],
    count: int,
    taken: set[tuple[int, ...]],
    possible: int,
) -> Iterator[tuple[Positions, Positions]]:
    """At most `count` pairs of sets, one of either way, all of them different and none of those `taken`."""
    while count and len(taken) + 2 <= possible:
        one, other = (_another(way, taken) for way in ways)
        if one is None or other is None:
            return
        yield one, other
        count -= 1


def _another(way: Callable[[], Positions], taken: set[tuple[int, ...]]) -> Positions | None:
    """A set that is not in `taken`, entered there; None where there is none left."""
    for _ in range(_TRIES):
        found = way()
        if (key := tuple(found.tolist())) not in taken:
            taken.add(key)
            return found
    return None


def take(
    claim: Claim,
    kind: str,
    remove: Remove,
    drawn: Draw,
    say: Callable[[NDArray[np.int64]], str],
    all_controls: bool = False,
) -> Receipt:
    """Remove what the claim's map names, and the random sets, and write down what the word's target did.

    No more random sets are removed once the verdict, and that of the shuffled map, can only be not-confirmed; all of
    them with `all_controls`. The verdicts are the same. `kind` names the way of removing; `say` turns ids to text.
    """
    begun = time.perf_counter()
    predicted = -float(claim.values[drawn.named].sum())
    read = _until_settled(remove, drawn, claim.word, None if all_controls else predicted)
    word = claim.word
    return Receipt(
        map=claim.map,
        kind=kind,
        patches=tuple(drawn.named.tolist()),
        shuffled=tuple(drawn.shuffled.tolist()),
        predicted=predicted,
        target=_changes(read.target_change, word),
        log_prob=_changes(read.log_prob_change, word),
        before=float(read.clean_log_prob[word].sum()),
        said=(say(read.clean_likeliest[word]), say(read.likeliest[0, word])),
        turned=int((read.likeliest[2:, word] != read.clean_likeliest[word]).any(1).sum()),
        drawn=len(drawn.sets) - 2,
        seed=drawn.seed,
        seconds=time.perf_counter() - begun,
    )


def _until_settled(remove: Remove, drawn: Draw, word: slice, predicted: float | None) -> Readings:
    """Read without one set after the other, a batch at a time, as long as a verdict about what is predicted is open.

    Without a prediction all are read. Batches are the same wherever it stops, and so is rounding.
    """
    sets, parts = drawn.sets, list[Readings]()
    for begin in range(0, len(sets), AT_ONCE):
        parts.append(remove(sets[begin : begin + AT_ONCE]))
        found = _changes(joined(parts).target_change, word)
        if predicted is not None and _is_settled(predicted, found, len(sets) - 2):
            break
    return joined(parts)


def _is_settled(predicted: float, found: Changes, drawn: int) -> bool:
    """Whether no further control can change the verdicts: of the map and of the shuffled one, one has done as much."""
    verdicts = [verdict(predicted, change, found.controls, drawn) for change in (found.named, found.shuffled)]
    return verdicts == ["not-confirmed"] * 2


def _changes(of_rows: NDArray[np.float32], word: slice) -> Changes:
    """Of changes (set, row), in the order of `Draw.sets`, the word's."""
    named, shuffled, *others = of_rows[:, word].sum(1).tolist()
    return Changes(named, shuffled, tuple(others[::2]), tuple(others[1::2]))


def top(values: NDArray[np.float64]) -> Positions:
    """The patches that a receipt for a map of (patch,) is about: the strongest eighth, on the side of the whole map.

    Of a picture that speaks for a word, those that speak for it most, and of one that speaks against it, as it does in
    a contrast to what it shows, those that speak against it most. None of the other side is among them.
    """
    towards = values if values.sum() >= 0 else -values
    count = min(max(1, round(len(values) / SHARE)), max(1, int((towards > 0).sum())))
    return strongest(towards, count)
