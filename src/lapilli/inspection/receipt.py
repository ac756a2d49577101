"""The causal receipt: what an explanation predicts of removing the patches it names, and what then happens.

A map is a claim: these patches carry the answer. The claim is put to the test by taking them away, and as many others
at random, scattered and in connected pieces of the same sizes. See research on deletion tests: Petsiuk et al. 2018
(RISE); on why masks need controls: Jain et al. 2022, "Missingness Bias in Model Debugging".
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions
from lapilli.inspection.readings import Readings
from lapilli.inspection.regions import in_pieces, pieces, scattered, strongest

Verdict: TypeAlias = Literal["confirmed", "weaker", "not-confirmed", "opposite", "not-tested"]
Remove: TypeAlias = Callable[[Sequence[Positions]], Readings]
"""Reads the sequence again, once without each of the sets of patches."""

SHARE = 8
"""A receipt is about an eighth of the picture: 72 of 576 patches."""

FEWEST = 20
"""Controls without which nothing is said: of so many, one alone lies beyond the others by chance in 5 of 100 cases."""

RULE = (
    "confirmed: the change lies beyond all controls, on the predicted side, and is at least half of the predicted; "
    "weaker: beyond all controls, but less than half; opposite: beyond all controls on the other side; "
    "not-confirmed: among the controls; not-tested: no effect predicted, or fewer than 20 controls (more than half "
    "of the patches named leave none)"
)


@dataclass(frozen=True)
class Changes:
    """What removals changed: of the named patches, and of random ones, scattered and in connected pieces."""

    named: float
    scattered: tuple[float, ...]
    contiguous: tuple[float, ...]

    @property
    def controls(self) -> tuple[float, ...]:
        """Those of all random removals."""
        return self.scattered + self.contiguous


@dataclass(frozen=True)
class Receipt:
    """What removing some patches did to one word, beside what was predicted and what chance does.

    target      the change of the target's sum over the word's tokens, in logits: negative when the word lost; what
                `predicted` predicts
    log_prob    the change of the word's log-probability, in nats
    before      the word's log-probability with all patches
    said        the likeliest text in the word's place, before and after the named patches were removed
    turned      how many of the random removals change the likeliest text in the word's place
    """

    map: str
    kind: str
    patches: tuple[int, ...]
    predicted: float
    target: Changes
    log_prob: Changes
    before: float
    said: tuple[str, str]
    turned: int
    seed: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """By RULE."""
        return verdict(self.predicted, self.target.named, self.target.controls)


def verdict(predicted: float, measured: float, controls: Sequence[float]) -> Verdict:
    """What RULE says of a predicted and a measured change and those of random removals."""
    if len(controls) < FEWEST or predicted == 0:
        return "not-tested"
    side = np.sign(predicted)
    gains = side * np.asarray(controls)
    if side * measured > max(gains.max(), 0):
        return "confirmed" if side * measured >= abs(predicted) / 2 else "weaker"
    return "opposite" if side * measured < min(gains.min(), 0) else "not-confirmed"


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


@dataclass(frozen=True)
class Draw:
    """The patches that a map names, and random ones: as many, scattered and in pieces of the same sizes.

    The random ones are drawn from those that the map does not name: the claim is that these matter, not others.
    """

    named: Positions
    scattered: list[Positions]
    contiguous: list[Positions]
    seed: int


def draw(named: Positions, grid: tuple[int, int], controls: int, seed: int) -> Draw:
    """`controls` random sets of either kind for the patches `named` of a grid of (rows, columns).

    Sets of a kind may come twice, where few are possible. There are none when more than half of the patches are named:
    the others are fewer.
    """
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(grid[0] * grid[1]), named)
    sizes = pieces(named, grid)
    controls = controls if len(named) <= len(others) else 0
    return Draw(
        named,
        [scattered(rng, others, len(named)) for _ in range(controls)],
        [in_pieces(rng, others, sizes, grid) for _ in range(controls)],
        seed,
    )


def take(claim: Claim, kind: str, remove: Remove, drawn: Draw, say: Callable[[NDArray[np.int64]], str]) -> Receipt:
    """Remove what the claim's map names, and the random sets, and write down what the word's target did.

    `kind` names the way of removing; `say` turns ids to text.
    """
    begun = time.perf_counter()
    read = remove([drawn.named, *drawn.scattered, *drawn.contiguous])
    word = claim.word
    return Receipt(
        map=claim.map,
        kind=kind,
        patches=tuple(drawn.named.tolist()),
        predicted=-float(claim.values[drawn.named].sum()),
        target=_changes(read.target_change, drawn, word),
        log_prob=_changes(read.log_prob_change, drawn, word),
        before=float(read.clean_log_prob[word].sum()),
        said=(say(read.clean_likeliest[word]), say(read.likeliest[0, word])),
        turned=int((read.likeliest[1:, word] != read.clean_likeliest[word]).any(1).sum()),
        seed=drawn.seed,
        seconds=time.perf_counter() - begun,
    )


def _changes(of_rows: NDArray[np.float32], drawn: Draw, word: slice) -> Changes:
    """Of changes (set, row), the word's."""
    named, *others = of_rows[:, word].sum(1).tolist()
    count = len(drawn.scattered)
    return Changes(named, tuple(others[:count]), tuple(others[count:]))


def top(values: NDArray[np.float64]) -> Positions:
    """The patches that a receipt for a map of (patch,) is about: the strongest eighth, on the side of the whole map.

    Of a picture that speaks for a word, those that speak for it most, and of one that speaks against it, as it does in
    a contrast to what it shows, those that speak against it most. None of the other side is among them.
    """
    towards = values if values.sum() >= 0 else -values
    count = min(max(1, round(len(values) / SHARE)), max(1, int((towards > 0).sum())))
    return strongest(towards, count)
