"""Maps of the language model's attention. Attention is not use: these are the maps that readers try first."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.encode import encode
from lapilli.data.sample import Turn
from lapilli.inspection.recording import recording
from lapilli.inspection.trace import Trace, attention
from lapilli.model.placement import placed
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.methods.building_blocks import at_every_position, numbers, of_word

GENERAL = "Write a general description of the image."
"""What relative attention is relative to: a request that is about no part of the picture."""

RELATIVE_LAYER = 14 / 32
"""How deep the layer of relative attention lies: the 14th of LLaVA-1.5-7B's 32, as published, at other depths alike."""


def mean_attention(case: Case) -> Map:
    """The word's attention to each patch, averaged over all heads of all layers.

    Paper: what LVLM-Interpret shows (Ben Melech Stan et al. 2024, arXiv 2404.03118), and most readers try first.
    """
    layers = range(case.trace.decoder.depth)
    mean = sum(_by_query(case.trace, layer) for layer in layers) / len(layers)
    return of_word(case, np.asarray(mean))


def of_layer(case: Case, layer: int) -> Map:
    """The word's attention to each patch in the layer that does best on other questions, averaged over its heads.

    Paper: as mean attention; of all layers, the one with the largest gap on the questions of the other half.
    """
    return of_word(case, _by_query(case.trace, layer))


def rollout(case: Case) -> Map:
    """Attention multiplied up through the layers, half of each step staying where it is.

    Paper: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers".
    """
    trace = at_every_position(case.trace)
    reached = torch.eye(len(trace.queries), dtype=torch.float64)
    for layer in range(trace.decoder.depth):
        mean = attention(trace, layer).mean(1).double().cpu()
        reached = 0.5 * (mean + torch.eye(len(mean))) @ reached
    values: Map = numbers(reached[torch.from_numpy(case.queries)])[:, case.patches].sum(0)
    return values


def value_weighted(case: Case) -> Map:
    """The length of what the layers' attention brings to the word from each patch, averaged over the layers.

    Paper: Kobayashi et al. 2020, "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms".
    """
    model = case.trace.decoder
    lengths = []
    for layer in range(model.depth):
        lengths.append(numbers(_brought(case.trace, layer).norm(dim=-1)))
    return of_word(case, np.mean(lengths, axis=0))


def relative(case: Case) -> Map:
    """A middle layer's attention to each patch over what it is when a general description is asked for.

    Paper: Zhang et al. 2025, "MLLMs Know Where to Look" (arXiv 2502.17422): layer 14 of 32, from the last position.
    Both prompts are read where they are, the general one at its own end, the question's at the key word's query: behind
    what of the answer came before it.
    """
    layer = min(round(RELATIVE_LAYER * case.trace.decoder.depth), case.trace.decoder.depth - 1)
    general = _general(case)
    patches = general.layout.patches(0).ravel()
    usual = attention(general, layer).mean(1)[0, torch.from_numpy(patches)]
    return of_word(case, _by_query(case.trace, layer)) / np.maximum(numbers(usual), 1e-12)


@torch.inference_mode()
def _brought(trace: Trace, layer: int) -> Tensor:
    """The output of a layer's attention at the queries, by position, over all heads; (query, token, d_model)."""
    model = trace.decoder
    weights = attention(trace, layer)
    values = trace.values[layer].float().repeat_interleave(model.heads // model.kv_heads, 0)
    mixed = torch.einsum("rht,htd->rthd", weights, values).flatten(2)
    return pad(mixed @ model.output_matrix(layer).T, (0, 0, 0, len(trace.ids) - weights.shape[-1]))


def _by_query(trace: Trace, layer: int) -> NDArray[np.float64]:
    """The mean attention over heads, (query, token)."""
    weights = numbers(attention(trace, layer).mean(1))
    return np.pad(weights, ((0, 0), (0, len(trace.ids) - weights.shape[1])))


@torch.inference_mode()
def _general(case: Case) -> Trace:
    """The trace of the request for a general description of the same picture, at its last position."""
    sample = replace(case.sample, turns=(Turn("user", f"{IMAGE_MARK}\n{GENERAL}"),))
    prompt = encode(sample, case.llava.codec, for_generation=True)
    batch: dict[str, Tensor] = {"input_ids": torch.tensor(prompt.ids)[None], "pixel_values": case.pixels}
    with recording(case.llava) as record:
        case.llava.model(**placed(batch, case.llava.model), use_cache=True, logits_to_keep=1)
    return record.trace(prompt.ids, prompt.layout)


METHODS = (
    Method("mean attention", "zero-pass", mean_attention),
    Method("attention, best layer", "zero-pass", of_layer, by_layer=True),
    Method("attention rollout", "zero-pass", rollout),
    Method("value-weighted attention", "zero-pass", value_weighted),
    Method("relative attention", "zero-pass", relative),
)
