"""Connectors: what carries a patch from the vision encoder's space into the language model's.

`linear` is the first LLaVA's (arXiv 2304.08485), `mlp2x_gelu` LLaVA-1.5's (arXiv 2310.03744); `mlpNx_gelu` has N linear
layers with GELU between them. The first two are transformers' own LlavaMultiModalProjector. It always has two layers,
so that in a linear one the activation is the identity, and so is the second layer, which never learns.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.model.choices import depth
from lapilli.model.upstream import LlavaMultiModalProjector


def projector_fields(connector: str) -> dict[str, Any]:
    """What a LlavaConfig, or a DeepLlavaConfig, says of this connector."""
    deep = {"projector_depth": depth(connector)} if depth(connector) > 2 else {}
    return {"projector_hidden_act": "linear" if depth(connector) == 1 else "gelu", **deep}


def connector_of(config: Any) -> str:
    """The connector that a configuration describes. Raises LapilliError for an activation that no LLaVA has."""
    act = config.projector_hidden_act
    if act not in ("gelu", "linear"):
        raise LapilliError(
            f"config.json: projector_hidden_act {act!r}: a LLaVA has gelu, or linear for one layer; fetch it again"
        )
    return "linear" if act == "linear" else f"mlp{getattr(config, 'projector_depth', 2)}x_gelu"


def joined_config(
    vision: Any, text: Any, connector: str, feature_layer: int, tokenizer: Any, tokens_before: int
) -> Any:
    """The LlavaConfig of two models' configurations; `tokens_before` (0 or 1) precede the patches of an image."""
    config_class, _ = classes(connector)
    return config_class(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_MARK),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_select_strategy="default" if tokens_before else "full",
        vision_feature_layer=feature_layer,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=text.tie_word_embeddings,
        **projector_fields(connector),
    )


def feature_layers(config: Any) -> tuple[int, ...]:
    """The hidden states of the vision encoder that a LLaVA's projector reads, joined along d_vision in this order."""
    said = config.vision_feature_layer
    return (said,) if isinstance(said, int) else tuple(said)


def features_read(config: Any, states: Sequence[Tensor]) -> Tensor:
    """What the projector reads of an encoder's hidden states: (image, patch, d_vision), of several layers n d_vision.

    A class token is left out.
    """
    first = 1 if config.vision_feature_select_strategy == "default" else 0
    return torch.cat([states[layer][:, first:] for layer in feature_layers(config)], dim=-1)


def new_projector(connector: str, config: Any, seed: int) -> Any:
    """A projector with fresh weights from `seed`: torch's default for linear layers, as in LLaVA."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projector: Any = LlavaMultiModalProjector(config) if depth(connector) <= 2 else DeepProjector(config)
    if depth(connector) == 1:
        nn.init.eye_(projector.linear_2.weight)
        nn.init.zeros_(projector.linear_2.bias)
    return projector


def learning(projector: Any, connector: str) -> list[nn.Parameter]:
    """The parameters of a projector that training may change."""
    return list((projector.linear_1 if depth(connector) == 1 else projector).parameters())


@strict
class DeepLlavaConfig(LlavaConfig):
    """A LlavaConfig whose projector has more than two layers.

    Its own model_type makes plain transformers refuse the folder, where a "llava" would load with a wrong projector.
    """

    model_type = "lapilli_llava"
    projector_depth: int = 3


class DeepProjector(nn.Module):
    """`projector_depth` linear layers with an activation between them: (..., d_vision) -> (..., d_model).

    Of an encoder that is read at n layers, d_vision is n times as large.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        d_vision, d_model = config.vision_config.hidden_size, config.text_config.hidden_size
        widths = [d_vision * len(feature_layers(config))] + [d_model] * config.projector_depth
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.act = nn.GELU()  # a module, so that hooks see it

    def forward(self, features: Tensor) -> Tensor:
        """The features, carried over; the GELU is the exact one."""
        carried: Tensor = self.layers[0](features)
        for layer in self.layers[1:]:
            carried = layer(self.act(carried))
        return carried


class DeepLlava(LlavaForConditionalGeneration):
    """A Llava with a DeepProjector."""

    config: DeepLlavaConfig
    config_class = DeepLlavaConfig

    def __init__(self, config: DeepLlavaConfig) -> None:
        super().__init__(config)
        self.model.multi_modal_projector = DeepProjector(config)


def classes(connector: str) -> tuple[Any, type[LlavaForConditionalGeneration]]:
    """The configuration and the model class that a connector needs."""
    return (LlavaConfig, LlavaForConditionalGeneration) if depth(connector) <= 2 else (DeepLlavaConfig, DeepLlava)
