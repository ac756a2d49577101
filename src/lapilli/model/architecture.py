"""What a joined LLaVA is to transformers: its configuration, its class, its modules, what its projector reads."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.model.connector import CONNECTORS, Connector, encoder_grid, named
from lapilli.model.llm_modules import LlmModule

_ATTENTION = {"self_attn", "attention", "attn", "self_attention"}
_DOWN = {"down_proj", "fc2", "dense_4h_to_h", "c_proj", "w2"}


@strict
class LapilliLlavaConfig(LlavaConfig):
    """A LlavaConfig whose projector is one that only lapilli has, the connector of this name.

    Its own model_type makes plain transformers refuse the folder, where a "llava" would load with a wrong projector.
    Folders of before it was named say a `projector_depth`.
    """

    model_type = "lapilli_llava"
    connector: str = ""


class LapilliLlava(LlavaForConditionalGeneration):
    """A Llava with a connector that only lapilli has."""

    config: LapilliLlavaConfig
    config_class = LapilliLlavaConfig

    def __init__(self, config: LapilliLlavaConfig) -> None:
        super().__init__(config)
        self.model.multi_modal_projector = _built(config)


def classes(connector: str) -> tuple[Any, type[LlavaForConditionalGeneration]]:
    """The configuration and the model class that a connector needs."""
    plain = named(connector).is_plain
    return (LlavaConfig, LlavaForConditionalGeneration) if plain else (LapilliLlavaConfig, LapilliLlava)


def connector_of(config: Any) -> Connector:
    """The connector that a configuration describes. Raises LapilliError for one that is not known here."""
    act = config.projector_hidden_act
    plain = {kind.activation: kind for kind in CONNECTORS.values() if kind.is_plain}
    if act not in plain:
        raise LapilliError(
            f"config.json: projector_hidden_act {act!r}: a LLaVA has gelu, or linear for one layer; fetch it again"
        )
    if config.model_type != LapilliLlavaConfig.model_type:
        return plain[act]
    name = config.connector or f"mlp{getattr(config, 'projector_depth', 3)}x_gelu"
    if name not in CONNECTORS:
        raise LapilliError(f"config.json: connector {name!r}: unknown; known are {', '.join(CONNECTORS)}")
    return CONNECTORS[name]


def joined_config(
    vision: Any, text: Any, connector: str, feature_layer: int, tokenizer: Any, tokens_before: int
) -> Any:
    """The LlavaConfig of two models' configurations; `tokens_before` (0 or 1) precede the patches of an image.

    Raises LapilliError for patches that the connector cannot merge.
    """
    kind, (config_class, _) = named(connector), classes(connector)
    rows, columns = kind.grid(encoder_grid(vision))
    return config_class(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_MARK),
        image_seq_length=rows * columns,
        vision_feature_select_strategy="default" if tokens_before else "full",
        vision_feature_layer=feature_layer,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=text.tie_word_embeddings,
        **({"projector_hidden_act": kind.activation} if kind.is_plain else {"connector": kind.name}),
    )


def token_grid(config: Any) -> tuple[int, int]:
    """Rows and columns of the tokens of an image. Raises LapilliError for patches that the connector cannot merge."""
    return connector_of(config).grid(encoder_grid(config.vision_config))


def token_cell(config: Any) -> int:
    """Pixels of a side of the square of the encoder's view that one token of an image stands for."""
    return connector_of(config).cell(config.vision_config.patch_size)


def feature_layers(config: Any) -> tuple[int, ...]:
    """The hidden states of the vision encoder that a LLaVA's projector reads, joined along d_vision in this order."""
    layers = config.vision_feature_layer
    return (layers,) if isinstance(layers, int) else tuple(layers)


def features_read(config: Any, states: Sequence[Tensor]) -> Tensor:
    """What the projector reads of an encoder's hidden states: (image, patch, d_vision), of several layers n d_vision.

    A class token is left out.
    """
    first = 1 if config.vision_feature_select_strategy == "default" else 0
    return torch.cat([states[layer][:, first:] for layer in feature_layers(config)], dim=-1)


def new_projector(config: Any, seed: int) -> Any:
    """The projector of this configuration with fresh weights from `seed`, which are torch's default, as in LLaVA."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(config)


def _built(config: Any) -> nn.Module:
    d_vision = config.vision_config.hidden_size * len(feature_layers(config))
    return connector_of(config).build(d_vision, config.text_config.hidden_size)


def learning(projector: Any, connector: str) -> list[nn.Parameter]:
    """The parameters of a projector that training may change."""
    identity = named(connector).identity
    return [
        parameter for name, parameter in projector.named_parameters() if not (identity and name.startswith(identity))
    ]


def layer_and_kind(name: str) -> tuple[int | None, LlmModule | None]:
    """The layer and the kind of module of a language model's parameter or module, by its name; None outside layers."""
    words = name.split(".")
    layer = next((int(word) for before, word in pairwise(words) if before == "layers"), None)
    if any("norm" in word or word.startswith("ln_") for word in words):
        return layer, "norms"
    if layer is None:
        return None, None
    if _ATTENTION & {*words}:
        return layer, "attention"
    return layer, "down" if _DOWN & {*words} else "gate_up"
