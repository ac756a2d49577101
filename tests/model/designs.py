"""The designs of `lapilli model bridges` as real modules: transformers' own, and Flamingo's, which it has not."""

import math

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
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from lapilli.model.bridges import FRAMES, LATENTS, QUERIES


def parameters(make, widths):
    """How many the module has that `make` makes; it holds no memory, on torch's meta device."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(widths).parameters())


class Resampler(nn.Module):
    """The parameters of Flamingo's Perceiver resampler: latents that look at features and at themselves, six times."""

    def __init__(self, d_vision):
        super().__init__()
        self.latents = nn.Parameter(torch.empty(LATENTS, d_vision))
        self.times = nn.Parameter(torch.empty(FRAMES, d_vision))
        self.layers = nn.ModuleList(_attend_and_transform(d_vision, d_vision, norms=2) for _ in range(6))
        self.norm = nn.LayerNorm(d_vision)


class GatedCrossAttention(nn.Module):
    """The parameters of a layer that Flamingo puts before a frozen one: both of its additions begin behind a gate."""

    def __init__(self, d_model, d_vision):
        super().__init__()
        self.inside = _attend_and_transform(d_model, d_vision, norms=1)
        self.gates = nn.Parameter(torch.empty(2))


def _attend_and_transform(d_model, d_source, norms):
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


def linear(widths):
    return nn.Linear(widths.vision, widths.language)


def mlp(widths):
    text = LlamaConfig(hidden_size=widths.language, num_attention_heads=1)
    vision = CLIPVisionConfig(hidden_size=widths.vision, num_attention_heads=1)
    return LlavaMultiModalProjector(LlavaConfig(vision_config=vision, text_config=text))


def llava(widths):
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


def q_former(widths):
    """As it is used: queries, their attention and feed-forwards, and the layer that carries them over."""
    config = Blip2QFormerConfig(encoder_hidden_size=widths.vision)
    queries = nn.Embedding(QUERIES, config.hidden_size)
    return nn.ModuleList([queries, Blip2QFormerModel(config), nn.Linear(config.hidden_size, widths.language)])


def q_former_to_train(widths):
    """As it is trained first: the feed-forwards and embeddings for text besides, and the heads of its three tasks."""
    vision = {"hidden_size": widths.vision, "num_attention_heads": 1}
    config = Blip2Config(vision_config=vision, qformer_config={"use_qformer_text_input": True})
    model = Blip2ForImageTextRetrieval(config)
    model.vision_model = nn.Identity()
    width, vocabulary = model.config.qformer_config.hidden_size, model.config.qformer_config.vocab_size
    # The head that predicts words: its last layer is the embeddings themselves, and a bias.
    bias = nn.ParameterList([nn.Parameter(torch.empty(vocabulary))])
    return nn.ModuleList([model, nn.Linear(width, width), nn.LayerNorm(width), bias])


def resampler(widths):
    return Resampler(widths.vision)


def gated(widths):
    return nn.ModuleList(GatedCrossAttention(widths.language, widths.vision) for _ in range(widths.layers))


DESIGNS = {
    "linear": linear,
    "mlp2x_gelu": mlp,
    "Q-Former": q_former,
    "Perceiver resampler": resampler,
    "gated cross-attention": gated,
    "LLaVA-1.5 7B, all": llava,
    "LLaVA-1.5 13B, all": llava,
    "Q-Former, as first trained": q_former_to_train,
    "Q-Former, as used with OPT-2.7B": q_former,
}
"""By the names that `bridges` and `published` give them."""
