"""What joins vision to language in four designs, counted on real modules that hold no memory (torch's meta device).

LLaVA's linear layer (arXiv 2304.08485) and MLP (2310.03744), BLIP-2's Q-Former (2301.12597), Flamingo's Perceiver
resampler with gated cross-attention (2204.14198). `bridges` counts them at any widths, with a formula for each count;
`published` counts at every paper's own widths, beside the paper's figure and what the two differ in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    Blip2Config,
    Blip2ForImageTextRetrieval,
    Blip2QFormerConfig,
    Blip2QFormerModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from lapilli.model.upstream import LlavaMultiModalProjector

QUERIES = 32
"""Learned queries of BLIP-2's Q-Former."""

LATENTS, FRAMES = 64, 8
"""Learned latents of Flamingo's resampler, and the frames of a video that it tells apart."""


@dataclass(frozen=True)
class Widths:
    """`vision` and `language` are hidden sizes; `layers` is how many of the language model's get cross-attention."""

    vision: int = 1024
    language: int = 4096
    layers: int = 32


@dataclass(frozen=True)
class Bridge:
    """A design: its trainable parameters at some widths, and the formula, in v (vision), d (language), L (layers)."""

    name: str
    paper: str
    formula: str
    widths: Widths
    parameters: int


@dataclass(frozen=True)
class Published:
    """A paper's own figure (in its own words, such as "188M"), our count at its widths, and what they differ in."""

    name: str
    paper: str
    widths: Widths
    parameters: int
    published: str
    difference: str


class Resampler(nn.Module):
    """The parameters of Flamingo's Perceiver resampler: latents that look at features and at themselves, six times."""

    def __init__(self, d_vision: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(LATENTS, d_vision))
        self.times = nn.Parameter(torch.empty(FRAMES, d_vision))
        self.layers = nn.ModuleList(_attend_and_transform(d_vision, d_vision, norms=2) for _ in range(6))
        self.norm = nn.LayerNorm(d_vision)


class GatedCrossAttention(nn.Module):
    """The parameters of a layer that Flamingo puts before a frozen one: both of its additions begin behind a gate."""

    def __init__(self, d_model: int, d_vision: int) -> None:
        super().__init__()
        self.inside = _attend_and_transform(d_model, d_vision, norms=1)
        self.gates = nn.Parameter(torch.empty(2))


def _attend_and_transform(d_model: int, d_source: int, norms: int) -> nn.ModuleDict:
    """Attention over a source and a feed-forward four times as wide, without biases, each behind layer norms.

    It has one head: their number changes no count, as long as they are together as wide as the model.
    """
    wide = 4 * d_model
    return nn.ModuleDict(
        {
            "norms": nn.ModuleList(nn.LayerNorm(d_model) for _ in range(norms)),
            "attention": nn.MultiheadAttention(d_model, 1, bias=False, kdim=d_source, vdim=d_source),
            "transform": nn.Sequential(
                nn.LayerNorm(d_model), nn.Linear(d_model, wide, bias=False), nn.Linear(wide, d_model, bias=False)
            ),
        }
    )


def bridges(widths: Widths) -> list[Bridge]:
    """Every design at these widths. Each formula gives its count exactly."""
    return [Bridge(name, paper, formula, widths, _count(make, widths)) for name, paper, formula, make in _DESIGNS]


def published() -> list[Published]:
    """Every design, and LLaVA as a whole, at the widths of its paper."""
    return [
        Published(name, paper, widths, _count(make, widths), figure, difference)
        for name, paper, widths, make, figure, difference in _PUBLISHED
    ]


def _count(make: Callable[[Widths], nn.Module], widths: Widths) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(widths).parameters())


def _linear(widths: Widths) -> nn.Module:
    return nn.Linear(widths.vision, widths.language)


def _mlp(widths: Widths) -> nn.Module:
    text = LlamaConfig(hidden_size=widths.language, num_attention_heads=1)
    vision = CLIPVisionConfig(hidden_size=widths.vision, num_attention_heads=1)
    return LlavaMultiModalProjector(LlavaConfig(vision_config=vision, text_config=text))


def _llava(widths: Widths) -> nn.Module:
    """LLaVA-1.5: CLIP-L/14 at 336, a LLaMA, and a vocabulary padded from 32,000 to 32,064, as it is published."""
    vision = CLIPVisionConfig(
        hidden_size=widths.vision, intermediate_size=4 * widths.vision, num_hidden_layers=24,
        num_attention_heads=16, image_size=336, patch_size=14,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, hidden_size=widths.language, num_hidden_layers=widths.layers,
        intermediate_size=256 * math.ceil(8 * widths.language / 3 / 256), num_attention_heads=widths.language // 128,
    )  # fmt: skip
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text))


def _q_former(widths: Widths) -> nn.Module:
    """As it is used: queries, their attention and feed-forwards, and the layer that carries them over."""
    config = Blip2QFormerConfig(encoder_hidden_size=widths.vision)
    queries = nn.Embedding(QUERIES, config.hidden_size)
    return nn.ModuleList([queries, Blip2QFormerModel(config), nn.Linear(config.hidden_size, widths.language)])


def _q_former_to_train(widths: Widths) -> nn.Module:
    """As it is trained first: the feed-forwards and embeddings for text besides, and the heads of its three tasks."""
    vision = {"hidden_size": widths.vision, "num_attention_heads": 1}
    config = Blip2Config(vision_config=vision, qformer_config={"use_qformer_text_input": True})
    model: Any = Blip2ForImageTextRetrieval(config)
    model.vision_model = nn.Identity()
    width, vocabulary = model.config.qformer_config.hidden_size, model.config.qformer_config.vocab_size
    # The head that predicts words: its last layer is the embeddings themselves, and a bias.
    bias = nn.ParameterList([nn.Parameter(torch.empty(vocabulary))])
    return nn.ModuleList([model, nn.Linear(width, width), nn.LayerNorm(width), bias])


def _resampler(widths: Widths) -> nn.Module:
    return Resampler(widths.vision)


def _gated(widths: Widths) -> nn.Module:
    return nn.ModuleList(GatedCrossAttention(widths.language, widths.vision) for _ in range(widths.layers))


_DESIGNS: list[tuple[str, str, str, Callable[[Widths], nn.Module]]] = [
    ("linear", "LLaVA", "v*d + d", _linear),
    ("mlp2x_gelu", "LLaVA-1.5", "v*d + d + d*d + d", _mlp),
    (
        "Q-Former",
        "BLIP-2",
        "12*(12*768*768 + 13*768) + 6*(2*768*768 + 2*v*768 + 6*768) + 32*768 + 2*768 + 768*d + d",
        _q_former,
    ),
    ("Perceiver resampler", "Flamingo", "6*(12*v*v + 6*v) + 64*v + 8*v + 2*v", _resampler),
    ("gated cross-attention", "Flamingo", "L*(10*d*d + 2*v*d + 4*d + 2)", _gated),
]

_FLAMINGO_3B = Widths(vision=1536, language=2048, layers=24)

_PUBLISHED: list[tuple[str, str, Widths, Callable[[Widths], nn.Module], str, str]] = [
    ("LLaVA-1.5 7B, all", "LLaVA-1.5", Widths(), _llava, "7.06B", "none"),
    ("LLaVA-1.5 13B, all", "LLaVA-1.5", Widths(language=5120, layers=40), _llava, "13.35B", "none"),
    (
        "Q-Former, as first trained",
        "BLIP-2",
        Widths(vision=1408, language=2560),
        _q_former_to_train,
        "188M",
        "0.7 % less; the paper gives no list of its parts: ours are the encoder with feed-forwards for queries and for "
        "text, cross-attention in every second layer, word and place embeddings, queries and the heads of three tasks",
    ),
    (
        "Q-Former, as used with OPT-2.7B",
        "BLIP-2",
        Widths(vision=1408, language=2560),
        _q_former,
        "107M",
        "none: the layer into the language model included, what is for text left out",
    ),
    (
        "Perceiver resampler",
        "Flamingo-3B",
        _FLAMINGO_3B,
        _resampler,
        "194M",
        "12 % less; the paper does not say how wide a head is: 16 of 96 make the 1,536 counted here, 16 of 128 would "
        "make 189M, and a layer from features 3,072 wide to 1,536 besides 194M",
    ),
    (
        "gated cross-attention",
        "Flamingo-3B",
        _FLAMINGO_3B,
        _gated,
        "1.2B",
        "none, rounded: before each of 24 layers, feed-forwards four times as wide",
    ),
]
