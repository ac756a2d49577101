"""Maps of the gradient of the word's centred logit."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.model.upstream import eager_attention
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.methods.building_blocks import (
    all_paths_tokens,
    differentiable,
    embeddings_of,
    numbers,
    read_embeddings,
    read_pixels,
    target_of,
)

CAM_LAYER = 13 / 32
"""How deep LLaVA-CAM's layer lies: the 13th of 32, as EAGLE runs it; its authors give no rule."""

CAM_NOISE, CAM_COPIES = 0.1, 10
"""The noise of a smoothed LLaVA-CAM, as a share of the pixels' range, and the number of noisy pictures."""

STEPS = 32
"""The steps of integrated gradients."""

_AT_ONCE = 8


def input_gradient(case: Case) -> Map:
    """Each patch's embedding times the gradient there, summed over its numbers.

    Paper: Shrikumar et al. 2017, "Learning Important Features Through Propagating Activation Differences".
    """
    start = embeddings_of(case)
    (gradient,) = _gradients(case, start)
    return numbers((start.float() * gradient.float())[0].sum(-1))[case.patches]


def integrated(case: Case) -> Map:
    """The gradient along the way from a picture of the mean color, times the difference of the embeddings.

    Paper: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", in 32 steps, at the projector's output.
    """
    return integrated_with_error(case)[0]


def integrated_with_error(case: Case, steps: int = STEPS) -> tuple[Map, float]:
    """The map of `integrated` by the midpoint rule, and its sum's error as a share of the target's difference."""
    end = embeddings_of(case)
    start = end.clone()
    with torch.inference_mode(False), torch.no_grad():
        blank = case.llava.model.model.get_image_features(torch.zeros_like(case.pixels).to(end), return_dict=True)
        start[0, torch.from_numpy(case.patches)] = torch.cat(list(blank.pooler_output)).to(start)
        whole, empty = (float(read_embeddings(case, embeddings)) for embeddings in (end, start))
    at = ((torch.arange(steps) + 0.5) / steps).to(end)[:, None, None]
    total = sum(_gradients(case, (start + some * (end - start)))[0].float().sum(0) for some in at.split(_AT_ONCE))
    values = numbers(((end - start)[0].float() * total / steps).sum(-1))[case.patches]
    return values, abs(values.sum() - (whole - empty)) / max(abs(whole - empty), 1e-12)


def attention_gradient(case: Case) -> Map:
    """The word's attention to each patch times what it would gain the word if it grew, over all heads of all layers.

    Paper: Zhang et al. 2025, "MLLMs Know Where to Look" (arXiv 2502.17422), who take one layer; here their mean.
    """
    weights, gradients = _attentions(case)
    queries, patches = (torch.from_numpy(positions) for positions in (case.queries, case.patches))
    weighted = sum((a * g.clamp_min(0)).mean(0) for a, g in zip(weights, gradients, strict=True))
    return numbers(torch.as_tensor(weighted)[queries][:, patches].sum(0))


def relevancy(case: Case) -> Map:
    """Attention times its gradient, what is positive of it, multiplied up through the layers.

    Paper: Chefer et al. 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers", in its form for self-attention alone (T-MM), from the word's queries.
    """
    relevance = None
    for weights, gradient in zip(*_attentions(case), strict=True):
        step = (weights * gradient).clamp_min(0).mean(0)
        relevance = torch.eye(len(step)).to(step) if relevance is None else relevance
        relevance = relevance + step @ relevance
    queries, patches = (torch.from_numpy(positions) for positions in (case.queries, case.patches))
    return numbers(torch.as_tensor(relevance)[queries][:, patches].sum(0))


def llava_cam(case: Case) -> Map:
    """Grad-CAM on what enters a middle layer's MLP: channels weighed by their mean positive gradient over the patches.

    Paper: Zhang et al. 2025, "From Redundancy to Relevance" (LLaVA-CAM, arXiv 2406.06579), without its smoothing.
    """
    return _cam(case, case.pixels)


def llava_cam_smoothed(case: Case) -> Map:
    """The same averaged over ten noisy pictures, as published.

    Paper: Zhang et al. 2025, "From Redundancy to Relevance" (LLaVA-CAM, arXiv 2406.06579).
    """
    return _cam(case, _noisy(case, CAM_NOISE, CAM_COPIES))


def all_paths_to_tokens(case: Case) -> Map:
    """The exact part of the word's centred logit that came from each patch's token by all paths, looks being held."""
    return all_paths_tokens(case)


def all_paths_to_pixels(case: Case) -> Map:
    """The same followed back through the vision encoder, to each patch's pixels."""
    trace = case.trace
    paths = all_paths(trace.llava, trace.ids, trace.layout, case.pixels, queries=case.queries, target=case.target)
    assert paths.cells is not None  # there is a picture, and `to_pixels` is the default
    cells: Map = paths.cells.sum((0, 1)).ravel()
    return cells


def _gradients(case: Case, embeddings: Tensor) -> tuple[Tensor, ...]:
    """The gradient of the target with respect to embeddings (batch, token, d_model); the same shape."""
    with differentiable(case):
        leaf = embeddings.requires_grad_()
        return torch.autograd.grad(read_embeddings(case, leaf).sum(), [leaf])


def _noisy(case: Case, share: float, copies: int) -> Tensor:
    """Copies of the picture with Gaussian noise of this share of its range, (copy, 3, side, side)."""
    noise = case.random().standard_normal((copies, *case.pixels.shape[1:]), np.float32)
    return case.pixels + share * (case.pixels.max() - case.pixels.min()) * torch.from_numpy(noise)


def _attentions(case: Case) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """The attention of every layer, (head, token, token), and the target's gradient with respect to it."""
    language = case.llava.model.model.language_model
    with differentiable(case), eager_attention(language):
        read = language(inputs_embeds=embeddings_of(case).requires_grad_(), use_cache=False, output_attentions=True)
        gradients = torch.autograd.grad(target_of(case, read.last_hidden_state).sum(), read.attentions)
    return [layer[0].detach().float() for layer in read.attentions], tuple(layer[0].float() for layer in gradients)


def _cam(case: Case, pictures: Tensor) -> Map:
    values: NDArray[np.float64] = np.zeros(len(case.patches))
    for some in pictures.split(_AT_ONCE):
        activations, gradient = _cam_layer(case, some)
        weights = gradient.clamp_min(0).mean(1, keepdim=True)
        values += numbers((activations * weights).mean(-1).clamp_min(0).sum(0))
    return values / len(pictures)


def _cam_layer(case: Case, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The MLP's input in LLaVA-CAM's layer at the patches, and its gradient; (picture, patch, d_model)."""
    layer = min(round(CAM_LAYER * case.trace.decoder.depth), case.trace.decoder.depth - 1)
    norm = case.trace.decoder.blocks[layer].post_attention_layernorm
    entering: list[Tensor] = []
    with differentiable(case):
        hook = norm.register_forward_hook(lambda module, inputs, output: entering.append(output))
        try:
            target = read_pixels(case, pictures.clone().requires_grad_()).sum()
        finally:
            hook.remove()
        (gradient,) = torch.autograd.grad(target, [entering[0]])
    patches = torch.from_numpy(case.patches)
    return entering[0].detach()[:, patches].float(), gradient[:, patches].float()


_MEAN = ("mean",)  # they are measured from the picture of the mean color, whose pixel values are 0

METHODS = (
    Method("attention x gradient", "one-backward", attention_gradient),
    Method("T-MM relevancy", "one-backward", relevancy),
    Method("LLaVA-CAM", "one-backward", llava_cam),
    Method("input x gradient", "one-backward", input_gradient),
    Method("all paths, to tokens", "one-backward", all_paths_to_tokens, ours=True, unit="logit"),
    Method("all paths, to pixels", "one-backward", all_paths_to_pixels, ours=True, operators=_MEAN, unit="logit"),
    Method("LLaVA-CAM, smoothed", "many-pass", llava_cam_smoothed),
    Method("integrated gradients", "many-pass", integrated, operators=_MEAN, unit="logit"),
)
