"""What `lapilli explain` says of answers whose right map is known: its receipts, and whether the picture is needed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from maps import Question, case, known
from numpy.typing import NDArray
from proof import share

from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.intervention.receipt import Claim, Verdict
from lapilli.model.llava import Llava
from lapilli.studies.explain.findings import REMOVALS, TracedPicture
from lapilli.studies.scorecard.case import Case

DECOY = {"patch": "object", "frame": "object", "object": "patch", "question": "object"}
"""Where a wrong map would point: at what the question means, or at what catches the eye."""

CONTROLS = 20
"""Of either kind, as `lapilli explain` has them."""

Verdicts = dict[str, Counter[str]]


def verdicts(llava: Llava, plant: str, asked: Sequence[Question], advance: Callable[[], None]) -> dict[str, Any]:
    """The shares of every verdict, each with n and interval: of receipts by map, set and way of removing; of need."""
    found: Verdicts = {}
    for question in asked:
        one = case(llava, plant, question)
        for name, verdict in _receipts(one, plant, question):
            found.setdefault(name, Counter())[verdict] += 1
        found.setdefault("dependence", Counter())[_dependence(one)] += 1
        advance()
    return {name: _shares(counts, name) for name, counts in found.items()}


def _receipts(one: Case, plant: str, question: Question) -> Iterator[tuple[str, str]]:
    """Of the patches that each map names, of the plant's, and of the decoy's; and of the shuffled map."""
    shown = _shown(one)
    sets = {"own": None, "plant": known(plant, question.row), "decoy": decoy(plant, question)}
    for claim in _claims(one):
        for which, patches in sets.items():
            if patches is not None and not len(patches):
                continue
            for way in REMOVALS:
                receipt = shown.receipt(claim, way, patches, CONTROLS, question.number)
                yield f"{claim.map}, {which}, {way}", receipt.verdict
                if which == "own":
                    yield f"{claim.map}, shuffled, {way}", receipt.shuffled_verdict


def decoy(plant: str, question: Question) -> NDArray[np.intp]:
    """The patches of the plant's decoy that are none of its own."""
    return np.setdiff1d(known(DECOY[plant], question.row), known(plant, question.row))


def _shown(one: Case) -> TracedPicture:
    return TracedPicture(one.trace, one.view, one.pixels, one.target)


def _claims(one: Case) -> list[Claim]:
    """What both maps of `explain` say of the key word."""
    trace, target = one.trace, one.target
    paths = all_paths(one.llava, trace.ids, trace.layout, one.pixels, trace.queries, target, to_pixels=False)
    maps = {"direct": decompose(trace, target).positions, "all paths": paths.positions}
    return [Claim(name, values[one.word][:, one.patches].sum(0), one.word) for name, values in maps.items()]


def _dependence(one: Case) -> str:
    words = answer_words(one.trace)[1]
    focus = next(number for number, (first, _) in enumerate(words) if first == one.word.start)
    return _shown(one).dependence(words, focus)[1].verdict


def _shares(counts: Mapping[str, int], name: str) -> dict[str, Any]:
    known_names = get_args(Verdict) if name != "dependence" else ()
    total = sum(counts.values())
    names = dict.fromkeys([*known_names, *counts])
    return {one: share([True] * counts.get(one, 0) + [False] * (total - counts.get(one, 0))) for one in names}
