"""From a trace to findings: every view of one answer about one picture, and what holds when it is put to the test."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions
from lapilli.core.progress import Progress
from lapilli.inspection.answer_words import alone, answer_words, key_word
from lapilli.inspection.attribution.all_paths import AllPaths, all_paths
from lapilli.inspection.attribution.direct import Direct, decompose
from lapilli.inspection.attribution.increase import head_increases, layer_increases
from lapilli.inspection.attribution.lens import Lens, lens
from lapilli.inspection.attribution.sinks import registers, sinks
from lapilli.inspection.decoder import require_sums
from lapilli.inspection.intervention.dependence import Dependence, dependence, survives
from lapilli.inspection.intervention.knockout import read_knockout
from lapilli.inspection.intervention.receipt import Claim, Receipt, Remove, draw, take, top
from lapilli.inspection.intervention.removal import blurred, replaced, reread
from lapilli.inspection.intervention.routes import Routes, routes
from lapilli.inspection.intervention.swapped import blank, shipped
from lapilli.inspection.readings import Readings, beside
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace, require_keys

LENS_WORDS = 5
"""How many words are kept of what a patch says."""

WAYS = ("read-knockout", "blur")
"""The ways in which receipts remove patches."""

CHEAP = WAYS[:1]
"""Those that read the text alone again, not the picture."""

LEADING = "all paths"
"""The map that is tested in all ways: its receipts are confirmed as often as the other's or more often, and more often
at the predicted size (benchmarks/receipts.py). Of a word's two maps it nearly always gives the picture more."""


def _back(progress: Progress, rows: int, done: int) -> None:
    progress("all paths, back to the pixels", done, rows)


def silent(step: str, done: int, total: int) -> None:
    """To be told of progress, and say nothing."""


@dataclass(frozen=True, eq=False)
class Findings:
    """All that was found out about one answer.

    target       what was taken apart
    pieces       (row,) the text of every token of the answer
    words        the answer's words, from which row to before which; what ends the answer is in none
    focus        the number of the word that `receipts` and `dependence` are about
    sinks        patches that gather attention whatever is asked, and
    registers    patches whose vectors are unusually long; both by their numbers in the picture
    """

    trace: Trace
    target: Target
    pieces: list[str]
    words: list[tuple[int, int]]
    focus: int
    direct: Direct
    all_paths: AllPaths
    layer_increases: NDArray[np.float32]
    head_increases: NDArray[np.float32]
    lens: Lens
    sinks: Positions
    registers: Positions
    routes: Routes
    dependence: Dependence
    receipts: list[Receipt]
    removed: Positions | None
    seed: int
    seconds: float


def explain(
    trace: Trace,
    picture: Image.Image,
    target: Target | None = None,
    at: int | None = None,
    controls: int = 20,
    removed: Positions | None = None,
    seed: int = 0,
    progress: Progress = silent,
    swapped: Sequence[Image.Image] | None = None,
) -> Findings:
    """Explain the answer of a trace, recorded with `whole`, of a sequence with the one `picture`.

    Receipts are of the word that row `at` belongs to; if none is given, of the one that a blurred picture costs most,
    or if that one survives it, of the one that other pictures cost most: `swapped`, or else the shipped ones.
    A difference is one of two tokens, at one row: with `at` given, that token is a word of its own.
    They are for the patches that each map names, or for `removed`, beside `controls` random sets of either kind, which
    `seed` draws. The LEADING map is tested by all ways of removing, the other by the cheap one.
    Raises LapilliError for a sequence without an answer, and for one with other than one picture.
    """
    begun = time.perf_counter()
    _require_explainable(trace)
    target = target or Target()
    pixel_values = trace.llava.pixels([picture])
    progress("what was added at the last position", 0, 1)
    direct = decompose(trace, target)
    increases = layer_increases(trace), head_increases(trace)
    back = partial(_back, progress, len(trace.rows))
    back(0)
    paths = all_paths(trace.llava, trace.ids, trace.layout, pixel_values, trace.rows, target, progress=back)
    progress("what the patches say", 0, 1)
    patches = trace.layout.patches(0)
    said = lens(trace, patches.ravel(), LENS_WORDS)
    marked = sinks(trace, direct).images[0].patches, registers(trace.llava, pixel_values).patches[0]
    progress("routes", 0, 1)
    ways = routes(trace, target)
    pieces, words = answer_words(trace)
    words = words if at is None or target.kind != "difference" else alone(words, at)
    shown = Shown(trace, trace.llava.pixels.view(picture), pixel_values, target)
    focus, depends = shown.dependence(words, None if at is None else _holding(words, at), swapped)
    word = slice(*words[focus])
    maps = {LEADING: paths.positions, "direct": direct.positions}
    claims = [Claim(name, found[word][:, patches.ravel()].sum(0), word) for name, found in maps.items()]
    return Findings(
        trace, target, pieces, words, focus, direct, paths, *increases, said, *marked, ways,
        depends, shown.receipts(claims, removed, controls, seed, progress), removed, seed,
        time.perf_counter() - begun,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shown:
    """A traced sequence and the picture it shows, to be read again without parts of it.

    view           the picture as the encoder got it
    pixel_values   (1, 3, side, side)
    """

    trace: Trace
    view: Image.Image
    pixel_values: Tensor
    target: Target

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.trace.layout.patches(0).shape
        return rows, columns

    def blurred(self, sets: Sequence[Positions]) -> Readings:
        """Read again with the cells of each set of patches blurred in the picture; the encoder sees it anew."""
        soft, cell = blurred(self.view), self.trace.llava.pixels.cell
        return self._reread([replaced(self.view, soft, patches, self.grid, cell) for patches in sets])

    def unread(self, sets: Sequence[Positions]) -> Readings:
        """Read again where no text looks at each set of patches; what they gave other patches stays."""
        positions = self.trace.layout.patches(0).ravel()
        return read_knockout(self.trace, [positions[patches] for patches in sets], self.target)

    def dependence(
        self, words: Sequence[tuple[int, int]], focus: int | None = None, swapped: Sequence[Image.Image] | None = None
    ) -> tuple[int, Dependence]:
        """The number of the word in focus, chosen as `explain` does if none is given, and whether it needs the picture.

        The shipped pictures are read only where they decide: for a word that survives the blurred one.
        """
        gone = self._reread([blurred(self.view), blank(self.view.width), *(swapped or ())])
        chosen = key_word(words, gone.log_prob_change[:1]) if focus is None else focus
        if swapped is None and survives(gone, slice(*words[chosen])):
            gone = beside(gone, self._reread(shipped(self.view.width)))
        if focus is None and survives(gone, slice(*words[chosen])):
            chosen = key_word(words, gone.log_prob_change[2:])
        word = slice(*words[chosen])
        blurry, nothing = (self._say(gone.likeliest[picture, word]) for picture in (0, 1))
        return chosen, dependence(gone, word, (blurry, nothing))

    def receipts(
        self, claims: Sequence[Claim], removed: Positions | None, controls: int, seed: int, progress: Progress = silent
    ) -> list[Receipt]:
        """Of every claim by read knock-out, which is cheap, and of the first one by blurring as well.

        For the patches that a claim's map names, or for `removed`.
        """
        found: list[Receipt] = []
        plan = [(claim, kind) for claim in claims for kind in WAYS if kind in CHEAP or claim is claims[0]]
        for claim, kind in plan:
            progress("receipts", len(found), len(plan))
            found.append(self.receipt(claim, kind, removed, controls, seed))
        return found

    def receipt(
        self, claim: Claim, kind: str, removed: Positions | None, controls: int, seed: int, all_controls: bool = False
    ) -> Receipt:
        """Of one claim by one of WAYS of removing; `all_controls` as of `take`."""
        ways: dict[str, Remove] = dict(zip(WAYS, (self.unread, self.blurred), strict=True))
        drawn = draw(top(claim.values) if removed is None else removed, self.grid, controls, seed)
        return take(claim, kind, ways[kind], drawn, self._say, all_controls)

    def _reread(self, views: Sequence[Image.Image]) -> Readings:
        return reread(self.trace, views, self.target, self.pixel_values)

    def _say(self, ids: NDArray[np.int64]) -> str:
        """What tokens spell, as far as the answer goes on."""
        (ends,) = np.nonzero(ids == self.trace.llava.stop_id)
        tokenizer: Any = self.trace.llava.processor.tokenizer
        text: str = tokenizer.decode(ids[: ends[0] if ends.size else None].tolist(), clean_up_tokenization_spaces=False)
        return text.strip()


def _holding(words: list[tuple[int, int]], at: int) -> int:
    return next(number for number, (first, end) in enumerate(words) if first <= at < end)


def _require_explainable(trace: Trace) -> None:
    require_sums(trace.resid, trace.attn_out, trace.mlp_out)
    require_keys(trace, range(trace.decoder.depth))
    if trace.layout.image_count != 1:
        raise LapilliError(f"{trace.layout.image_count} pictures in the sequence; an explanation is of one")
    if not answer_words(trace)[1]:
        raise LapilliError("the answer is empty: there is no word to explain; ask something else, or give the answer")
