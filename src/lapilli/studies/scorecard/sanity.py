"""Sanity tests: a map should follow the weights, the word, the question and the picture, and nothing else.

Every test makes each case's map again after one change, and compares it with the first one. The test of weights is that
of Adebayo et al. 2018, "Sanity Checks for Saliency Maps"; the other tests cover what it leaves open (Sundararajan and
Taly 2018; Yona and Greenfeld 2021).
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageOps
from torch import nn

from lapilli.data.sample import Sample
from lapilli.inspection.answer_words import answer_text
from lapilli.inspection.recording import answered
from lapilli.model.llava import Llava
from lapilli.studies.scorecard.case import Case, reshown, retold
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.metrics import overlap, rank_correlation
from lapilli.studies.scorecard.score import SHARE


@dataclass(frozen=True)
class Test:
    """One change, and the expected score of a good map under it.

    good    "low" where the new map should not rank the patches as the first one does, "high" where it should
    chance  the score of an uninformative map
    """

    name: str
    says: str
    good: Literal["low", "high"]
    chance: float = 0.0


CASCADE = ("head", "upper layers", "language model", "projector", "encoder")
"""The parts that are made random, cumulatively from the first on. The embeddings of words stay."""

TESTS = (
    *(
        Test(f"random {part}", f"rank correlation with the map after all down to the {part} was made random", "low")
        for part in CASCADE
    ),
    Test("other word", "rank correlation with the map of the likeliest other word", "low"),
    Test("other question", "rank correlation with the map of the same answer to another question", "low"),
    Test("other picture", "rank correlation with the map of the same answer about another picture", "low"),
    Test("mirrored", "rank correlation with the mirrored map of the mirrored picture", "high"),
    Test("bfloat16", "share of the strongest eighth that the map in half precision has too", "high", SHARE),
    Test("other seed", "rank correlation with the map that another seed draws", "high"),
)
"""The tests, in the order of the page."""


def file_of(test: str) -> str:
    """The name of a test's maps in a run folder."""
    return f"sanity-{test.replace(' ', '-')}"


def again(test: str, cases: Sequence[Case], methods: Sequence[Method]) -> NDArray[np.float64]:
    """The maps of the cases under one test's change, (case, map, patch); nan where a case has nothing to change.

    A method by layers has one map of each layer, as in `score`.
    """
    maps = [
        None if case is None else np.concatenate([method.maps(case) for method in methods])
        for case in _changes(test, cases)
    ]
    layers, several = cases[0].trace.decoder.depth, sum(method.by_layer for method in methods)
    nothing = np.full((len(methods) + several * (layers - 1), len(cases[0].patches)), np.nan)
    changed = np.array([nothing if some is None else some for some in maps])
    return mirrored(changed, cases[0].grid) if test == "mirrored" else changed


def likeness(test: str, first: Map, second: Map) -> float:
    """The score of a test from the first map and the one under its change, (patch,) each."""
    return overlap(first, second, SHARE) if test == "bfloat16" else rank_correlation(first, second)


def mirrored(maps: NDArray[np.float64], grid: tuple[int, int]) -> NDArray[np.float64]:
    """Maps (..., patch) with left and right exchanged."""
    return maps.reshape(*maps.shape[:-1], *grid)[..., ::-1].reshape(maps.shape)


def _changes(test: str, cases: Sequence[Case]) -> Iterator[Case | None]:
    """Yield the cases under a test's change; None where there is nothing to change."""
    llava = cases[0].llava
    if test == "bfloat16" and llava.model.dtype == torch.bfloat16:
        yield from [None] * len(cases)  # there is nothing to change
        return
    if test == "bfloat16" or test.startswith("random "):
        other = half(llava) if test == "bfloat16" else randomised(llava, test.removeprefix("random "), cases[0].seed)
        yield from (reshown(case, case.view, other) for case in cases)
    questions = [case.sample for case in cases]
    for number, case in enumerate(cases if test in _OF_ONE else ()):
        yield _OF_ONE[test](case, questions[(number + 1) % len(questions)])


def _other_word(case: Case, _: Sample) -> Case | None:
    """The case with the second likeliest token in the word's place; None for a word of several tokens."""
    if len(case.ids) > 1:
        return None  # all pieces' map would be compared with that of one token
    query = case.word.start
    logits = case.trace.logits[query].clone()
    logits[int(case.ids[0])] = -torch.inf
    ids = case.trace.ids.copy()
    ids[case.trace.queries[query] + 1] = int(logits.argmax())
    swapped = replace(case, trace=replace(case.trace, ids=ids))
    return replace(reshown(swapped, case.view), word=slice(query, query + 1))


def _other_question(case: Case, other: Sample) -> Case | None:
    sample = Sample(case.sample.id, case.sample.images, other.turns)
    if other.turns[0].text == case.sample.turns[0].text:
        return None
    return retold(case, answered(case.llava, sample, answer_text(case.trace)), case.word)


def _mirror(case: Case, _: Sample) -> Case | None:
    """The case with its picture mirrored; None where the text speaks of sides, which mirroring changes."""
    text = f"{case.sample.turns[0].text} {answer_text(case.trace)}".lower()
    return None if re.search(r"\b(left|right)\b", text) else reshown(case, ImageOps.mirror(case.view))


_OF_ONE: Mapping[str, Callable[[Case, Sample], Case | None]] = {
    "other word": _other_word,
    "other question": _other_question,
    "other picture": lambda case, _: reshown(case, case.other),
    "mirrored": _mirror,
    "other seed": lambda case, _: replace(case, seed=case.seed + 1_000_003),
}


def half(llava: Llava) -> Llava:
    """A copy of the model in bfloat16."""
    model: Any = copy.deepcopy(llava.model)
    model.to(torch.bfloat16)
    buffers = dict(llava.model.named_buffers())
    for name, buffer in model.named_buffers():  # position tables stay exact, as in a model that is loaded in bfloat16
        buffer.data = buffers[name].clone()
    return Llava(model, llava.processor, llava.card)


def randomised(llava: Llava, last: str, seed: int) -> Llava:
    """A copy of the model in which everything from the head down to `last`, one of CASCADE, is random.

    Every weight is drawn from a normal distribution with the mean and the standard deviation of its tensor.
    """
    random = Llava(copy.deepcopy(llava.model), llava.processor, llava.card)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in CASCADE[: CASCADE.index(last) + 1]:
            for module in _modules(random.model, part):
                for weight in module.parameters():
                    noise = torch.randn(weight.shape, generator=generator).to(weight)
                    weight.copy_(weight.mean() + noise * (weight.std() if weight.numel() > 1 else 0))
    return random


def _modules(model: Any, part: str) -> list[nn.Module]:
    layers = model.model.language_model.layers
    middle = len(layers) // 2
    parts: dict[str, list[nn.Module]] = {
        "head": [model.lm_head],  # where embeddings are tied, they are the same
        "upper layers": [model.model.language_model.norm, *layers[middle:]],
        "language model": [*layers[:middle]],
        "projector": [model.model.multi_modal_projector],
        "encoder": [model.model.vision_tower],
    }
    return parts[part]
