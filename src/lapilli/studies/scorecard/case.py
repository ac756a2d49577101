"""A case: one answered question about one picture, with all the inputs of a method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.data.encode import Encoded
from lapilli.data.sample import Sample
from lapilli.inspection.answer_words import answer_words, key_word
from lapilli.inspection.intervention.removal import blurred, reread
from lapilli.inspection.recording import traced
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava


@dataclass(frozen=True, eq=False)
class Case:
    """The inputs of a method to explain one word of an answer, the key word.

    sample   the question
    trace    the trace of the whole sequence, its answer included, recorded with `whole`
    view     the picture as the encoder gets it, side x side
    pixels   (1, 3, side, side) its pixel values
    word     the key word's queries in the trace: all its pieces
    visual   the nats that the key word loses when the picture is blurred beyond recognition
    other    the view of another picture, for controls
    seed     the seed of the method's random numbers
    """

    sample: Sample
    trace: Trace
    view: Image.Image
    pixels: Tensor
    word: slice
    visual: float
    other: Image.Image
    seed: int

    @property
    def llava(self) -> Llava:
        """The model."""
        return self.trace.llava

    @property
    def target(self) -> Target:
        """The target of white-box methods, summed over the word's pieces: each one's logit less the mean of all."""
        return Target()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.trace.layout.grid(0)

    @property
    def patches(self) -> Positions:
        """The positions of the picture's patches in the sequence, row by row, (patch,)."""
        return self.trace.layout.patches(0).ravel()

    @property
    def queries(self) -> Positions:
        """The positions that predict the key word's pieces."""
        return self.trace.queries[self.word]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The key word's pieces."""
        return self.trace.next_ids[self.word]

    @property
    def log_prob(self) -> float:
        """The key word's log-probability: the sum over its pieces, in nats."""
        chosen = self.trace.logits[self.word].log_softmax(-1)
        return float(chosen[torch.arange(len(self.ids)), torch.from_numpy(self.ids)].sum())

    @property
    def logit(self) -> float:
        """The key word's logit less the mean of all logits: the sum over its pieces."""
        return float(self.target.of_logits(self.trace.logits[self.word], torch.from_numpy(self.ids)).sum())

    @property
    def text(self) -> str:
        """The key word, without the spaces around it."""
        return "".join(answer_words(self.trace)[0][self.word]).strip()

    def random(self) -> np.random.Generator:
        """A new generator for this case, with the same numbers for every method."""
        return np.random.default_rng(self.seed)

    def again(self) -> "Case":
        """A copy of the case without cached results of its trace, for timing."""
        return replace(self, trace=replace(self.trace))


def case_of(
    llava: Llava, sample: Sample, encoded: Encoded, *, picture: Image.Image, other: Image.Image, seed: int
) -> Case:
    """Make the case of an answered sample; its key word is the one that a blurred picture costs most."""
    pixels = llava.pixels([picture])
    trace, view = traced(llava, encoded, pixels, whole=True), llava.pixels.view(picture)
    blurred_readings = reread(trace, [blurred(view)], Target(), pixels)
    _, words = answer_words(trace)
    word = slice(*words[key_word(words, blurred_readings.log_prob_change)])
    return Case(
        sample=sample,
        trace=trace,
        view=view,
        pixels=pixels,
        word=word,
        visual=-float(blurred_readings.log_prob_change[0, word].sum()),
        other=llava.pixels.view(other),
        seed=seed,
    )


def reshown(case: Case, view: Image.Image, llava: Llava | None = None) -> Case:
    """Trace the case again with another picture, or by another model; the key word stays."""
    llava = llava or case.llava
    pixels = llava.pixels([view])
    return replace(case, trace=traced(llava, _encoded(case), pixels, whole=True), view=view, pixels=pixels)


def retold(case: Case, encoded: Encoded, word: slice) -> Case:
    """Trace the case again with another question or answer, whose `word` is explained."""
    return replace(case, trace=traced(case.llava, encoded, case.pixels, whole=True), word=word)


def _encoded(case: Case) -> Encoded:
    names: Sequence[Any] = case.sample.images
    return Encoded(case.sample.id, tuple(names), case.trace.ids, case.trace.ids, case.trace.layout)
