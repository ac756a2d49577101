"""Maps from the answer's own forward pass: contributions to its logit or log-probability, and read-outs at patches."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import generic_filter
from torch import Tensor

from lapilli.core.layout import Role
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.increase import head_increases, position_increases
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.methods.building_blocks import numbers, of_word, whole

TOP = 10
"""Heads that the increase is summed over, as Yu & Ananiadou count their important ones."""


def direct(case: Case) -> Map:
    """The exact part of the word's centred logit that attention brings in one step from each patch, over all heads.

    Paper: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", carried on to positions.
    """
    return of_word(case, decompose(case.trace, case.target).positions)


def increase_top(case: Case) -> Map:
    """The log-probability increase of each patch in the one head that raises the word most.

    Paper: Yu and Ananiadou 2024, "Understanding Multimodal LLMs: the Mechanistic Interpretability of Llava in Visual
    Question Answering" (arXiv 2411.10950).
    """
    return _increase(case, 1)


def increase_top_ten(case: Case) -> Map:
    """The same summed over the ten heads that raise the word most, however many there are.

    Paper: Yu and Ananiadou 2024 (arXiv 2411.10950), who list ten heads but map one.
    """
    return _increase(case, TOP)


def _increase(case: Case, count: int) -> Map:
    heads = head_increases(case.trace)
    increases = np.zeros(len(case.patches))
    for query in range(*case.word.indices(len(case.trace.queries))):
        for number in np.argsort(-heads[query].ravel(), kind="stable")[:count]:
            layer, head = divmod(int(number), heads.shape[2])
            increases += position_increases(case.trace, query, layer, head)[case.patches]
    return increases


def lens(case: Case) -> Map:
    """How likely the word's pieces are at each patch when the last layer there is read as if it were an answer.

    Paper: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    shares = _readings(case, case.patches).log_softmax(-1).exp()
    return numbers(shares[:, torch.from_numpy(case.ids)].mean(1))


def tam(case: Case) -> Map:
    """The word's activation at each patch, less what earlier words would have activated there, smoothed by ranks.

    Paper: Li et al. 2025, "Token Activation Map to Visually Explain Multimodal LLMs" (arXiv 2506.23270), without its
    joint scaling with the scores of words, which changes no order. Of a word, the mean over its pieces.
    """
    patches = _readings(case, case.patches).clamp_min(0)
    maps = [_smoothed(case, _without_earlier(case, patches, query)) for query in case.queries]
    values: Map = np.mean(maps, axis=0)
    return values


def _without_earlier(case: Case, patches: Tensor, query: int) -> Map:
    """One piece's activations at the patches, less the multiple of earlier words' that fits them best."""
    layout, ids = case.trace.layout, case.trace.ids
    piece = int(ids[query + 1])
    # A word of the question is read at its own position, one of the answer at the query that predicts it.
    question, answer = (np.flatnonzero(layout.role == role) for role in (Role.QUESTION, Role.ANSWER))
    at = np.concatenate([question, answer[answer <= query] - 1])
    words = np.concatenate([ids[question], ids[answer[answer <= query]]])
    at, words = at[words != piece], words[words != piece]
    weights = _readings(case, at)[:, piece].clamp_min(0)  # an earlier word interferes as far as it predicts this one
    own = numbers(patches[:, piece])
    others = numbers(patches[:, torch.from_numpy(words)] @ weights) / max(float(weights.sum()), 1e-12)
    scale = float(own @ others) / max(float(others @ others), 1e-12)
    return np.maximum(own - scale * others, 0)


def _smoothed(case: Case, values: Map) -> Map:
    """TAM's filter: the mean of each 3 x 3 window, whose weights fall off with the rank's distance from the median."""
    smooth: Map = generic_filter(values.reshape(case.grid), _rank_gaussian, size=3, mode="mirror").ravel()
    return smooth


def _rank_gaussian(window: NDArray[np.float64]) -> float:
    mean = float(window.mean())
    if mean <= 0 or np.ptp(window) == 0:
        return mean
    ranks = np.arange(len(window)) - len(window) // 2
    weights = np.exp(-(ranks**2) / (2 * (window.std() / mean) ** 2))
    return float(np.sort(window) @ weights / weights.sum())


@torch.inference_mode()
def _readings(case: Case, positions: NDArray[np.intp]) -> Tensor:
    """The logits of the last layer at these positions, float32, (position, vocab)."""
    model = case.trace.decoder
    logits: Tensor = model.head(model.norm(whole(case.trace).resid[-1][torch.from_numpy(positions)]))
    return logits.float()


METHODS = (
    Method("direct", "zero-pass", direct, ours=True, unit="logit"),
    Method("log-prob increase, top head", "zero-pass", increase_top),
    Method("log-prob increase, top 10 heads", "zero-pass", increase_top_ten, heads=TOP),
    Method("logit lens", "zero-pass", lens),
    Method("TAM", "zero-pass", tam),
)
