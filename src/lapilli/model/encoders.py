"""The vision encoders that LLaVA's checkpoints name, and how its versions join one.

LLaVA's own configuration says which encoder it had and nothing about its shape, so that the shapes of the released ones
are here. What is here is compared with the weights before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import (
    AutoConfig,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from lapilli.core.errors import UsageError
from lapilli.model.choices import Preset, preset
from lapilli.model.parts import part_path
from lapilli.model.reading import LOCAL, explained, quiet


def preset_for(vision: str, name: str | None) -> Preset:
    """The preset of that name, for an encoder given as `join` takes it; without a name, LLaVA-1.5's for any size.

    Raises UsageError for an unknown name, and for an encoder of pictures of another size.
    """
    if name is None:
        return preset("llava-v1.5")
    wanted = preset(name)
    path = part_path(vision)
    with explained(path), quiet():
        config = AutoConfig.from_pretrained(path, **LOCAL)
    size = getattr(config, "vision_config", config).image_size
    if size != wanted.image_size:
        fits = f"pictures of {wanted.image_size} pixels, but {path} takes {size}"
        raise UsageError(f"preset {name}: {fits}; give another encoder")
    return wanted


def released_encoder(name: str) -> tuple[Any, Any] | None:
    """The configuration and image processor of an encoder by its name on the hub; None for one not known here."""
    return _RELEASED[name]() if name in _RELEASED else None


def released_name(config: Any) -> str | None:
    """The name on the hub of the encoder with this configuration, field by field, if it is one of those known here."""
    settings = {name: value for name, value in config.to_dict().items() if name not in _INCIDENTAL}
    for name, make in _RELEASED.items():
        known = {field: value for field, value in make()[0].to_dict().items() if field not in _INCIDENTAL}
        if known == settings:
            return name
    return None


def _clip_large(image_size: int) -> tuple[Any, Any]:
    config = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
        image_size=image_size, projection_dim=768,
    )  # fmt: skip
    size = {"height": image_size, "width": image_size}
    return config, CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=size)


def _siglip_so400m(image_size: int) -> tuple[Any, Any]:
    config = SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, patch_size=14,
        image_size=image_size,
    )  # fmt: skip
    return config, SiglipImageProcessorPil(size={"height": image_size, "width": image_size})


_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "initializer_range")
_RELEASED: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    "openai/clip-vit-large-patch14": lambda: _clip_large(224),
    "openai/clip-vit-large-patch14-336": lambda: _clip_large(336),
    "google/siglip-so400m-patch14-384": lambda: _siglip_so400m(384),
}
