"""The decision between yes and no: the query that makes it, its margin, and what the margin is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lapilli.core.layout import Role
from lapilli.data.questions import PictureQuestion
from lapilli.data.sample import Sample
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.sources import READ, direct_sources, groups, summed
from lapilli.inspection.intervention.patch_knockout import read_knockout
from lapilli.inspection.intervention.patch_sets import scattered, strongest
from lapilli.inspection.intervention.removal import blurred
from lapilli.inspection.intervention.replacement_pictures import blank
from lapilli.inspection.readings import clean
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava

Words: TypeAlias = tuple[str, str]
"""How a model says yes and no."""

WORDS: tuple[Words, ...] = (("yes", "no"), ("Yes", "No"))

PICTURES = ("full", "blank", "blurred", "swapped")
"""What a question is asked about: its picture, a mid-grey blank, it blurred beyond recognition, another."""

PARTS = ("image", "question", "prior")
"""What a margin is made of. The prior is all the rest: template, begin token, MLPs, biases."""

WAYS = ("direct", "all_paths")

CONTROLS = 20
"""Random sets of patches beside those that the map names; of all patches, so that a map which knows nothing is one."""

NAMED = 8
"""One patch in so many is named."""


@dataclass(frozen=True, eq=False)
class Decision:
    """One question, read up to the query that decides between yes and no; `trace` has that query alone."""

    trace: Trace
    target: Target
    pixels: torch.Tensor


def decision(llava: Llava, sample: Sample, picture: Image.Image, words: Words) -> Decision:
    """The model at the query where its answer parts into `words`, recorded whole.

    The target is the logit of yes less that of no, of their first different tokens.
    """
    yes, no = (answered(llava, sample, word) for word in words)
    shared = min(len(yes.ids), len(no.ids))
    apart = int(np.flatnonzero(yes.ids[:shared] != no.ids[:shared])[0])
    pixels = llava.pixels([picture])
    trace = traced(llava, yes, pixels, whole=True)
    query = int(np.flatnonzero(trace.queries == apart - 1)[0])
    return Decision(trace.at(query), Target("difference", int(no.ids[apart])), pixels)


def wording(llava: Llava, questions: Sequence[tuple[Sample, Image.Image]]) -> Words:
    """Those of WORDS to which the model gives the most probability, over some questions."""

    def weight(words: Words) -> float:
        probabilities = [_probabilities(decision(llava, sample, picture, words)) for sample, picture in questions]
        return sum(by_word["p_yes"] + by_word["p_no"] for by_word in probabilities)

    return max(WORDS, key=weight)


def measured(
    llava: Llava, question: PictureQuestion, picture: Image.Image, *, other: Image.Image, words: Words, seed: int
) -> dict[str, Any]:
    """All that is asked of one question, as plain values; logits, but for probabilities and the entropy in nats.

    p_yes, p_no, entropy   of the query that decides
    readings               of each of PICTURES: the margin d = logit(yes) - logit(no), and its PARTS by each of WAYS,
                           which sum to it but for `missed`
    maps                   the image's part by patch, by each of WAYS
    knockout               d when the text no longer looks at the picture
    removed                d when it no longer looks at the eighth of the patches that spoke most for the answer by all
                           paths (`named`), and at as many that `seed` draws from all patches (`random`)

    `other` is a picture of another question.
    """
    view = llava.pixels.view(picture)
    shown = {"full": picture, "blank": blank(view.width), "blurred": blurred(view), "swapped": other}
    read = {name: decision(llava, question.sample, one, words) for name, one in shown.items()}
    full = read["full"]
    parts = {name: _parts(llava, one) for name, one in read.items()}
    maps = {way: parts["full"][way].pop("map") for way in WAYS}
    for name in PICTURES[1:]:
        for way in WAYS:
            del parts[name][way]["map"]
    return {
        **_probabilities(full),
        "readings": parts,
        "maps": maps,
        "grid": full.trace.layout.grid(0),
        **_removals(full, np.array(maps["all_paths"]) * np.sign(parts["full"]["d"]), seed),
    }


def margin(llava: Llava, question: PictureQuestion, picture: Image.Image, words: Words) -> float:
    """logit(yes) - logit(no) alone."""
    one = decision(llava, question.sample, picture, words)
    return float(clean(one.trace, one.target)[0][0])


def _probabilities(one: Decision) -> dict[str, float]:
    """The probabilities of the first tokens of yes and no at the query, and the entropy of all its probabilities."""
    log_prob = one.trace.logits[0].log_softmax(-1).double()
    yes, no = int(one.trace.next_ids[0]), one.target.against
    return {
        "p_yes": float(log_prob[yes].exp()),
        "p_no": float(log_prob[no].exp()),
        "entropy": float(-(log_prob.exp() * log_prob.clamp(min=-1e4)).sum()),
    }


def _parts(llava: Llava, one: Decision) -> dict[str, Any]:
    """The margin, and by each way its PARTS, the patches' shares and how far all miss the margin."""
    trace = one.trace
    within = groups(trace.ids, trace.layout, llava.processor.tokenizer.bos_token_id)
    direct = decompose(trace, one.target)
    paths = all_paths(llava, trace.ids, trace.layout, one.pixels, trace.queries, target=one.target, to_pixels=False)
    sources = direct_sources(direct, within)[0]
    through = np.append(summed(paths.positions, within)[0], paths.biases[0])
    patches = trace.layout.positions(Role.IMAGE)
    margin = float(clean(trace, one.target)[0][0])
    return {
        "d": margin,
        "direct": _shares(sources, direct.positions[0, patches], margin),
        "all_paths": _shares(through, paths.positions[0, patches], margin),
    }


def _shares(sources: NDArray[np.float64], patches: NDArray[np.float64], margin: float) -> dict[str, Any]:
    image, question = (float(sources[READ.index(name)]) for name in ("image", "question"))
    prior = float(sources.sum()) - image - question
    missed = abs(float(sources.sum()) - margin)
    return {"image": image, "question": question, "prior": prior, "missed": missed, "map": patches.tolist()}


def _removals(full: Decision, turned: NDArray[np.float64], seed: int) -> Mapping[str, Any]:
    """The margin without the picture, without the strongest patches of a map, and without random ones.

    Random sets may hold patches of the map's: a shuffled map's set is then as likely as any of them to do the most.
    """
    count = max(1, len(turned) // NAMED)
    rng = np.random.default_rng(seed)
    every = np.arange(len(turned))
    chosen = [every, strongest(turned, count), *(scattered(rng, every, count) for _ in range(CONTROLS))]
    sets = np.zeros((len(chosen), len(turned)), np.bool_)
    for row, patches in zip(sets, chosen, strict=True):
        row[patches] = True
    margins = read_knockout(full.trace, sets, full.target).target[:, 0].tolist()
    return {"knockout": margins[0], "removed": {"named": margins[1], "random": margins[2:]}}
