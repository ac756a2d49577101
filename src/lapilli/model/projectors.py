"""The modules of the connectors: (image, patch, d_vision) -> (image, token, d_model)."""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from lapilli.model.upstream import LlavaMultiModalProjector


def transformers_projector(d_vision: int, d_model: int, activation: str) -> nn.Module:
    """transformers' own projector, which always has two layers.

    With the activation `linear` the second one is the identity, and stays it: the first alone learns.
    """
    vision = CLIPVisionConfig(hidden_size=d_vision, num_attention_heads=1)
    text = LlamaConfig(hidden_size=d_model, num_attention_heads=1)
    config = LlavaConfig(vision_config=vision, text_config=text, projector_hidden_act=activation)
    projector: Any = LlavaMultiModalProjector(config)
    if activation == "linear":
        nn.init.eye_(projector.linear_2.weight)
        nn.init.zeros_(projector.linear_2.bias)
    made: nn.Module = projector
    return made


class Mlp(nn.Module):
    """`depth` linear layers with an activation between them: (..., d_vision) -> (..., d_model)."""

    def __init__(self, d_vision: int, d_model: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([d_vision] + [d_model] * depth))
        self.act = nn.GELU()

    def forward(self, features: Tensor) -> Tensor:
        """The features, carried over; the GELU is the exact one."""
        carried: Tensor = self.layers[0](features)
        for layer in self.layers[1:]:
            carried = layer(self.act(carried))
        return carried
