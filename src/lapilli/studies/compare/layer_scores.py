"""What a layer is worth before any tuning: scores of every layer of a base, each with a pass of its own."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lapilli.core.layout import Role
from lapilli.data.sample import Sample
from lapilli.inspection.decoder import decoder
from lapilli.inspection.measures import linear_cka
from lapilli.inspection.recording import answered
from lapilli.inspection.sites import changing, watching
from lapilli.inspection.streams import States, prompt_of
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.studies.compare.local import BATCH, batch_of

Floats: TypeAlias = NDArray[np.float64]


def gradient_norms(
    llava: Llava,
    samples: Sequence[Sample],
    answers: Sequence[str],
    pictures: Callable[[str], Image.Image],
    note: Callable[[int], None],
) -> Floats:
    """Relative gradient norms, |gradient| / |weights| of a layer as a whole, (layer, sample).

    The loss is the mean cross-entropy of the tokens of the right answer and its stop. Source: Lee et al. 2023, ICLR,
    arXiv 2210.11466 (Auto-RGN), who take means over tensors and batches. Raises LapilliError as `answered` and
    `decoder` do.
    """
    model: Any = llava.model
    layers = [list(block.parameters()) for block in decoder(model).blocks]
    lengths = [_length(weights) for weights in layers]
    flat = [weight for weights in layers for weight in weights]
    columns = []
    for number, (sample, answer) in enumerate(zip(samples, answers, strict=True), 1):
        batch = batch_of(llava, [answered(llava, sample, answer)], pictures, labels=True)
        gradients = iter(torch.autograd.grad(model(**placed(batch, model), use_cache=False).loss, flat))
        norms = [_length([next(gradients) for _ in weights]) for weights in layers]
        columns.append([norm / length for norm, length in zip(norms, lengths, strict=True)])
        note(number)
    return np.array(columns).T


def _length(tensors: Sequence[Tensor]) -> float:
    return math.hypot(*(float(tensor.detach().float().norm()) for tensor in tensors))


@torch.inference_mode()
def layer_contributions(
    llava: Llava, samples: Sequence[Sample], pictures: Callable[[str], Image.Image], note: Callable[[int], None]
) -> Floats:
    """What each layer's work on the image tokens is worth to the answer, in nats, (layer, sample).

    KL(model || model whose layer passes the image tokens on as they came) of the first token of the answer; other
    tokens read them as ever. Source: ShortV, arXiv 2504.00502, which takes all tokens of an answer.
    Raises LapilliError as `prompt_of` and `decoder` do.
    """
    parts = []
    for start in range(0, len(samples), BATCH):
        parts.append(_contributions(llava, samples[start : start + BATCH], pictures))
        note(min(start + BATCH, len(samples)))
    return np.concatenate(parts, 1)


def _contributions(llava: Llava, samples: Sequence[Sample], pictures: Callable[[str], Image.Image]) -> Floats:
    prompts = [prompt_of(llava, sample) for sample in samples]
    batch, last = batch_of(llava, prompts, pictures), torch.tensor([len(prompt.ids) - 1 for prompt in prompts])
    is_image = torch.zeros(*batch["input_ids"].shape, 1, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        is_image[row, prompt.layout.positions(Role.IMAGE)] = True
    whole, rows = _next_token(llava, batch, last), []
    for layer in range(decoder(llava.model).depth):
        with _passed_on(llava.model, layer, is_image):
            rows.append((whole.exp() * (whole - _next_token(llava, batch, last))).sum(1))
    return torch.stack(rows).cpu().numpy()


def _next_token(llava: Llava, batch: dict[str, Tensor], last: Tensor) -> Tensor:
    """The log-probabilities of the token behind every prompt, float64 (sample, vocab)."""
    model: Any = llava.model
    states = model.model(**placed(batch, model), use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(states[torch.arange(len(last)), last.to(states.device)])
    return logits.double().log_softmax(1)


@contextmanager
def _passed_on(model: Any, layer: int, where: Tensor) -> Iterator[None]:
    """Within it a layer passes the tokens of `where`, (batch, token, 1), on as they came."""
    entering: list[Tensor] = []

    def restored(leaving: Tensor) -> Tensor:
        return torch.where(where.to(leaving.device), entering.pop(), leaving)

    site = f"llm.layers.{layer}"
    with (
        watching(model, {f"{site}.resid_pre": entering.append}),
        changing(model, {f"{site}.resid_post": restored}, by_constants=False),
    ):
        yield


def dissimilarities(states: States, position: str) -> dict[str, Any]:
    """1 - debiased linear CKA of what goes into every layer and what comes out, with its error, (layer,) each.

    Source: Ogawa et al. 2026, arXiv 2602.05988, who take biased CKA of the last token: before the first layer that is
    the same for all prompts.
    """
    sites = [site for where, site in states.names if where == position and site != "llm.final_norm"]
    stream = [states.at(position, site) for site in sites]
    alike = [linear_cka(before, after) for before, after in pairwise(stream)]
    return {"value": [1 - one.value for one in alike], "error": [one.error for one in alike], "n": len(stream[0])}
