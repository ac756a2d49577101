"""The receipt, a removal test of a map: the change that it predicts for its strongest patches, and the measured one.

A map claims that some patches carry the answer. The test removes them, and as many at random, scattered and in
connected pieces of the same sizes. The random sets are drawn from all patches, claimed ones included: only then is an
uninformative map as likely as any random set to change the word most (a permutation test; sets are drawn without
repeats, see Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero"). On deletion tests see Petsiuk et al.
2018 (RISE); on controls for masks Jain et al. 2022, "Missingness Bias in Model Debugging".
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
"""A function that reads the sequence again, once without each of the sets of patches."""

SHARE = 8
"""One patch in so many is claimed: 72 of 576."""

FEWEST = 20
"""The least number of controls for a verdict. An uninformative map lies beyond all of so many in at most 1 of 11 cases
(`Receipt.chance`), beyond the usual 40 in 1 of 21."""

FACTOR = 2
"""The largest ratio of the measured to the predicted change, or of the predicted to the measured one."""

AT_ONCE = 8
"""Sets that are removed before the verdict is checked: as many pictures as `removal.reread` reads in one batch."""

RULE = (
    "confirmed: the change lies beyond all controls, on the predicted side, and is between half of the predicted one "
    "and twice it; confirmed-but-smaller: beyond all controls, but less than half; confirmed-but-larger: beyond all "
    "controls, but more than twice; opposite: beyond all controls on the other side; not-confirmed: a control does as "
    "much; not-tested: no effect predicted, or fewer than 20 controls (few patches have no more different sets)"
)

_TRIES = 1000  # after so many repeats in a row no new set is left


@dataclass(frozen=True)
class Changes:
    """The changes by removing the claimed patches, those of the shuffled map, and random ones of both kinds."""

    claimed: float
    shuffled: float
    scattered: tuple[float, ...]
    contiguous: tuple[float, ...]

    @property
    def controls(self) -> tuple[float, ...]:
        """The changes by all random removals that were run."""
        return self.scattered + self.contiguous


@dataclass(frozen=True)
class Receipt:
    """The result of a removal test of one word: the measured change, the predicted one, and those by chance.

    shuffled           the patches that the map claims when its values are shuffled over the patches
    target             the change of the target's sum over the word's tokens, in logits; below 0 when the word lost
    predicted          the prediction for `target`
    log_prob           the change of the word's log-probability, in nats
    before             the word's log-probability with all patches
    texts              the likeliest text in the word's place, before and after the claimed patches were removed
    changed_controls   the number of random removals that change the likeliest text in the word's place
    control_count      the number of random sets; only as many were removed as settle both verdicts
    """

    map: str
    kind: str
    patches: tuple[int, ...]
    shuffled: tuple[int, ...]
    predicted: float
    target: Changes
    log_prob: Changes
    before: float
    texts: tuple[str, str]
    changed_controls: int
    control_count: int
    seed: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The verdict by RULE."""
        return verdict(self.predicted, self.target.claimed, self.target.controls, self.control_count)

    @property
    def shuffled_verdict(self) -> Verdict:
        """The verdict about the shuffled map, which predicts as much of other patches."""
        return verdict(self.predicted, self.target.shuffled, self.target.controls, self.control_count)

    @property
    def chance(self) -> float:
        """The largest probability that an uninformative map is confirmed; also that it is opposite.

        Its patches are as likely as the random ones of one kind to change the word most. They are as likely as those
        of both kinds, twice as many, only where scattered patches do as much as connected ones.
        """
        return 1 / (self.control_count // 2 + 1)


def verdict(predicted: float, measured: float, controls: Sequence[float], planned: int) -> Verdict:
    """The verdict by RULE about a predicted and a measured change, beside `controls`, the changes by random removals.

    `planned` is the number of random removals that are planned. A verdict of not-confirmed is final: more controls
    never change it.
    """
    if planned < FEWEST or predicted == 0:
        return "not-tested"
    side = np.sign(predicted)
    gain, gains = side * measured, side * np.asarray(controls)
    if gain > gains.max(initial=0):
        return _sized(gain / abs(predicted))
    return "opposite" if gain < gains.min(initial=0) else "not-confirmed"


def _sized(times: float) -> Verdict:
    """The verdict about a change beyond all controls that is `times` the predicted one."""
    if times > FACTOR:
        return "confirmed-but-larger"
    return "confirmed" if times >= 1 / FACTOR else "confirmed-but-smaller"


@dataclass(frozen=True, eq=False)
class Claim:
    """A map of one word.

    map      the map's name
    values   (patch,) its value for every patch, summed over the word's tokens
    word     the word's queries in the trace
    """

    map: str
    values: NDArray[np.float64]
    word: slice


@dataclass(frozen=True, eq=False)
class RemovalSets:
    """The patches that a map claims, those that it claims when shuffled, and random sets.

    All sets have the same size. As many random sets are scattered as are in pieces of the claimed ones' sizes; no two
    sets are the same, and none is the claimed or the shuffled one.
    """

    claimed: Positions
    shuffled: Positions
    scattered: list[Positions]
    contiguous: list[Positions]
    seed: int

    @property
    def sets(self) -> list[Positions]:
        """The claimed set, the shuffled one, and the random ones, alternating between the two kinds."""
        pairs = zip(self.scattered, self.contiguous, strict=True)
        return [self.claimed, self.shuffled, *(patches for pair in pairs for patches in pair)]


def draw_sets(claimed: Positions, grid: tuple[int, int], controls: int, seed: int) -> RemovalSets:
    """Draw `controls` random sets of either kind beside the patches `claimed` of a grid of (rows, columns).

    They are drawn from all patches; there are fewer where not so many different sets exist. The shuffled set is where
    the values of the claimed patches lie after a shuffle of the whole map.
    """
    rng = np.random.default_rng(seed)
    every = np.arange(grid[0] * grid[1])
    shuffled = np.flatnonzero(np.isin(rng.permutation(every), claimed))
    ways = partial(scattered, rng, every, len(claimed)), partial(in_pieces, rng, every, pieces(claimed, grid), grid)
    used = {tuple(claimed.tolist()), tuple(shuffled.tolist())}
    pairs = list(_pairs(ways, controls, used, comb(len(every), len(claimed))))
    return RemovalSets(claimed, shuffled, [first for first, _ in pairs], [second for _, second in pairs], seed)


def _pairs(
    ways: tuple[Callable[[], Positions], Callable[[], Positions]],
    count: int,
    used: set[tuple[int, ...]],
    possible: int,
) -> Iterator[tuple[Positions, Positions]]:
    """Yield at most `count` pairs of sets, one of either way, all of them different and none of those `used`."""
    while count and len(used) + 2 <= possible:
        first, second = (_another(way, used) for way in ways)
        if first is None or second is None:
            return
        yield first, second
        count -= 1


def _another(way: Callable[[], Positions], used: set[tuple[int, ...]]) -> Positions | None:
    """Return a set that is not in `used`, and add it there; None where none is left."""
    for _ in range(_TRIES):
        candidate = way()
        if (key := tuple(candidate.tolist())) not in used:
            used.add(key)
            return candidate
    return None


def removal_receipt(
    claim: Claim,
    kind: str,
    remove: Remove,
    sets: RemovalSets,
    decode: Callable[[NDArray[np.int64]], str],
    all_controls: bool = False,
) -> Receipt:
    """Remove the claimed patches and the random sets, and measure the word's target.

    Random removals stop once both verdicts, the claim's and the shuffled map's, can only be not-confirmed, or at once
    where no change is predicted; with `all_controls` all are run, and the verdicts are the same. `kind` names the way
    of removing; `decode` turns ids to text.
    """
    start = time.perf_counter()
    predicted = -float(claim.values[sets.claimed].sum())
    read = _until_settled(remove, sets, claim.word, None if all_controls else predicted)
    word = claim.word
    return Receipt(
        map=claim.map,
        kind=kind,
        patches=tuple(sets.claimed.tolist()),
        shuffled=tuple(sets.shuffled.tolist()),
        predicted=predicted,
        target=_changes(read.target_change, word),
        log_prob=_changes(read.log_prob_change, word),
        before=float(read.clean_log_prob[word].sum()),
        texts=(decode(read.clean_likeliest[word]), decode(read.likeliest[0, word])),
        changed_controls=int((read.likeliest[2:, word] != read.clean_likeliest[word]).any(1).sum()),
        control_count=len(sets.sets) - 2,
        seed=sets.seed,
        seconds=time.perf_counter() - start,
    )


def _until_settled(remove: Remove, removals: RemovalSets, word: slice, predicted: float | None) -> Readings:
    """Read without each set, a batch at a time, until the verdicts about `predicted` are settled; all sets if None.

    Batches, and so rounding, are the same wherever it stops.
    """
    sets, parts = removals.sets, list[Readings]()
    for begin in range(0, len(sets), AT_ONCE):
        parts.append(remove(sets[begin : begin + AT_ONCE]))
        changes = _changes(joined(parts).target_change, word)
        if predicted is not None and _is_settled(predicted, changes, len(sets) - 2):
            break
    return joined(parts)


def _is_settled(predicted: float, changes: Changes, planned: int) -> bool:
    """Whether no further control can change the verdicts: both are not-confirmed, or nothing is predicted to test."""
    if predicted == 0:
        return True
    verdicts = [verdict(predicted, change, changes.controls, planned) for change in (changes.claimed, changes.shuffled)]
    return verdicts == ["not-confirmed"] * 2


def _changes(of_queries: NDArray[np.float32], word: slice) -> Changes:
    """The word's changes, from the queries' (set, query) in the order of `RemovalSets.sets`."""
    claimed, shuffled, *others = of_queries[:, word].sum(1).tolist()
    return Changes(claimed, shuffled, tuple(others[::2]), tuple(others[1::2]))


def top(values: NDArray[np.float64]) -> Positions:
    """The patches that a map (patch,) claims: the strongest eighth of the sign of the map's sum.

    A picture that speaks against its word, as in a contrast to what it shows, is tested by the patches that speak
    against it most. No patch of the other sign is among them.
    """
    towards = values if values.sum() >= 0 else -values
    count = min(max(1, round(len(values) / SHARE)), max(1, int((towards > 0).sum())))
    return strongest(towards, count)
