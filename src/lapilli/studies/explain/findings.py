"""From a trace to findings: all decompositions of one answer about one picture, and their removal tests."""

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
from lapilli.inspection.answer_words import answer_words, isolate_query, key_word
from lapilli.inspection.attribution.all_paths import AllPaths, all_paths
from lapilli.inspection.attribution.direct import Direct, decompose
from lapilli.inspection.attribution.increase import head_increases, layer_increases
from lapilli.inspection.attribution.lens import Lens, lens
from lapilli.inspection.attribution.sinks import registers, sinks
from lapilli.inspection.decoder import require_sums
from lapilli.inspection.intervention.dependence import Dependence, dependence, survives
from lapilli.inspection.intervention.image_routes import Routes, routes
from lapilli.inspection.intervention.patch_knockout import read_knockout
from lapilli.inspection.intervention.receipt import Claim, Receipt, Remove, draw_sets, removal_receipt, top
from lapilli.inspection.intervention.removal import blurred, replaced, reread
from lapilli.inspection.intervention.replacement_pictures import blank, shipped
from lapilli.inspection.readings import Readings, joined
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace, require_keys

LENS_WORDS = 5
"""The number of words that the lens reads at a patch."""

REMOVALS = ("read-knockout", "blur")
"""The ways of removing patches in receipts."""

CHEAP = REMOVALS[:1]
"""The ways that run the text alone again, without encoding the picture."""

LEADING = "all paths"
"""The map that is tested in all ways. Its receipts are confirmed at least as often as the other map's, and more often
at the predicted size (benchmarks/receipts.py); it nearly always credits the picture with more."""


def _back(progress: Progress, queries: int, done: int) -> None:
    progress("all paths, back to the pixels", done, queries)


def silent(step: str, done: int, total: int) -> None:
    """To be told of progress, and say nothing."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """What the logits of an answer are made of, and what stands in the model's hidden states; nothing is removed.

    sinks        the numbers of patches that gather attention for any question
    registers    the numbers of patches whose vectors are unusually long
    """

    direct: Direct
    all_paths: AllPaths
    layer_increases: NDArray[np.float32]
    head_increases: NDArray[np.float32]
    lens: Lens
    sinks: Positions
    registers: Positions
    routes: Routes


@dataclass(frozen=True, eq=False)
class Findings:
    """All findings about one answer.

    target       the target that was decomposed
    pieces       (query,) the text of every token of the answer
    words        the answer's words, as (first query, query behind the last); the answer's end is in no word
    focus        the number of the word that `receipts` and `dependence` are about
    """

    trace: Trace
    target: Target
    pieces: list[str]
    words: list[tuple[int, int]]
    focus: int
    decomposition: Decomposition
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

    Receipts are about the word of query number `at`; by default about the word that a blurred picture costs most, or,
    if that word survives it, the word that other pictures cost most: `swapped`, or else the shipped ones. A difference
    target is about one token: with `at`, that token is a word of its own. Receipts remove the patches that each map
    claims, or `removed`, beside `controls` random sets of either kind, drawn by `seed`. The LEADING map is tested by
    all ways of removal, the other by the cheap one.
    Raises LapilliError for a sequence without an answer, and for one with other than one picture.
    """
    start = time.perf_counter()
    _require_explainable(trace)
    target = target or Target()
    pixel_values = trace.llava.pixels([picture])
    decomposition = _decomposition(trace, target, pixel_values, progress)
    pieces, words = answer_words(trace)
    words = words if at is None or target.kind != "difference" else isolate_query(words, at)
    traced_picture = TracedPicture(trace, trace.llava.pixels.view(picture), pixel_values, target)
    focus, depends = traced_picture.dependence(words, None if at is None else _holding(words, at), swapped)
    claims = _claims(decomposition, trace.layout.patches(0).ravel(), slice(*words[focus]))
    receipts = traced_picture.receipts(claims, removed, controls, seed, progress)
    return Findings(
        trace=trace,
        target=target,
        pieces=pieces,
        words=words,
        focus=focus,
        decomposition=decomposition,
        dependence=depends,
        receipts=receipts,
        removed=removed,
        seed=seed,
        seconds=time.perf_counter() - start,
    )


def _decomposition(trace: Trace, target: Target, pixel_values: Tensor, progress: Progress) -> Decomposition:
    progress("what was added at the last position", 0, 1)
    direct = decompose(trace, target)
    by_layer, by_head = layer_increases(trace), head_increases(trace)
    back = partial(_back, progress, len(trace.queries))
    back(0)
    paths = all_paths(
        trace.llava, trace.ids, trace.layout, pixel_values, queries=trace.queries, target=target, progress=back
    )
    progress("what the patches say", 0, 1)
    readouts = lens(trace, trace.layout.patches(0).ravel(), LENS_WORDS)
    sink_patches = sinks(trace, direct).images[0].patches
    register_patches = registers(trace.llava, pixel_values).patches[0]
    progress("routes", 0, 1)
    return Decomposition(
        direct=direct,
        all_paths=paths,
        layer_increases=by_layer,
        head_increases=by_head,
        lens=readouts,
        sinks=sink_patches,
        registers=register_patches,
        routes=routes(trace, target),
    )


def _claims(decomposition: Decomposition, patches: Positions, word: slice) -> list[Claim]:
    """What each map claims about every patch for a word: the LEADING map's claim first."""
    maps = {LEADING: decomposition.all_paths.positions, "direct": decomposition.direct.positions}
    return [Claim(name, relevance[word][:, patches].sum(0), word) for name, relevance in maps.items()]


@dataclass(frozen=True, eq=False)
class TracedPicture:
    """A traced sequence and its picture, to be read again without parts of the picture.

    view           the picture as the encoder gets it
    pixel_values   (1, 3, side, side)
    """

    trace: Trace
    view: Image.Image
    pixel_values: Tensor
    target: Target

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.trace.layout.grid(0)

    def blurred(self, sets: Sequence[Positions]) -> Readings:
        """Read again with the cells of each set of patches blurred in the picture, and encoded again."""
        soft, cell = blurred(self.view), self.trace.llava.pixels.cell
        return self._reread([replaced(self.view, soft, patches, self.grid, cell) for patches in sets])

    def hidden(self, sets: Sequence[Positions]) -> Readings:
        """Read again where no text attends to each set of patches; what other patches took from them stays."""
        positions = self.trace.layout.patches(0).ravel()
        return read_knockout(self.trace, [positions[patches] for patches in sets], self.target)

    def dependence(
        self, words: Sequence[tuple[int, int]], focus: int | None = None, swapped: Sequence[Image.Image] | None = None
    ) -> tuple[int, Dependence]:
        """The number of the word in focus, by default chosen as `explain` does, and its dependence on the picture.

        The shipped pictures are read only where they decide: for a word that survives the blurred one.
        """
        replaced = self._reread([blurred(self.view), blank(self.view.width), *(swapped or ())])
        chosen = key_word(words, replaced.log_prob_change[:1]) if focus is None else focus
        if swapped is None and survives(replaced, slice(*words[chosen])):
            replaced = joined([replaced, self._reread(shipped(self.view.width))])
        if focus is None and survives(replaced, slice(*words[chosen])):
            chosen = key_word(words, replaced.log_prob_change[2:])
        word = slice(*words[chosen])
        blurry, nothing = (self._decode(replaced.likeliest[picture, word]) for picture in (0, 1))
        return chosen, dependence(replaced, word, (blurry, nothing))

    def receipts(
        self, claims: Sequence[Claim], removed: Positions | None, controls: int, seed: int, progress: Progress = silent
    ) -> list[Receipt]:
        """The receipts of every claim by read knock-out, which is cheap, and of the first claim by blurring as well.

        They remove the patches that a claim's map claims, or `removed`.
        """
        receipts: list[Receipt] = []
        plan = [(claim, kind) for claim in claims for kind in REMOVALS if kind in CHEAP or claim is claims[0]]
        for claim, kind in plan:
            progress("receipts", len(receipts), len(plan))
            receipts.append(self.receipt(claim, kind, removed, controls, seed))
        return receipts

    def receipt(
        self, claim: Claim, kind: str, removed: Positions | None, controls: int, seed: int, all_controls: bool = False
    ) -> Receipt:
        """The receipt of one claim by one of REMOVALS; `all_controls` as in `removal_receipt`."""
        removals: dict[str, Remove] = dict(zip(REMOVALS, (self.hidden, self.blurred), strict=True))
        sets = draw_sets(top(claim.values) if removed is None else removed, self.grid, controls, seed)
        return removal_receipt(claim, kind, removals[kind], sets, decode=self._decode, all_controls=all_controls)

    def _reread(self, views: Sequence[Image.Image]) -> Readings:
        return reread(self.trace, views, self.target, self.pixel_values)

    def _decode(self, ids: NDArray[np.int64]) -> str:
        """The text of tokens, up to the end of the answer."""
        (ends,) = np.nonzero(ids == self.trace.llava.stop_id)
        tokenizer: Any = self.trace.llava.processor.tokenizer
        text: str = tokenizer.decode(ids[: ends[0] if ends.size else None].tolist(), clean_up_tokenization_spaces=False)
        return text.strip()


def _holding(words: list[tuple[int, int]], query: int) -> int:
    return next(number for number, (first, end) in enumerate(words) if first <= query < end)


def _require_explainable(trace: Trace) -> None:
    require_sums(trace.resid, trace.attn_out, trace.mlp_out)
    require_keys(trace, range(trace.decoder.depth))
    if trace.layout.image_count != 1:
        raise LapilliError(f"{trace.layout.image_count} pictures in the sequence; an explanation is of one")
    if not answer_words(trace)[1]:
        raise LapilliError("the answer is empty: there is no word to explain; ask something else, or give the answer")
