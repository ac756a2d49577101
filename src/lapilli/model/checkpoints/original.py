"""The configuration of LLaVA's own code, translated both ways.

It is that of the language model, with fields of its own (mm_...) for what joins the two models. It names the vision
encoder and says nothing about its shape; it names no chat template either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from lapilli.core.errors import LapilliError
from lapilli.model.connector import named

VISION_FOLDER = "vision_tower"
"""Where we put the configuration of an encoder that is fetched by its name."""

_LANGUAGES = {"llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral", "llava_qwen": "qwen2"}
_CLASSES = {
    "llama": ("LlavaLlamaForCausalLM", "llava_llama"),
    "mistral": ("LlavaMistralForCausalLM", "llava_mistral"),
    "qwen2": ("LlavaQwenForCausalLM", "llava_qwen"),
}
_OF_OLD_CONFIGS = ("rope_theta", "rope_scaling")


@dataclass(frozen=True)
class Joined:
    """What an original configuration says of the joining; `vision` is the encoder's name or path, `pad` as trained."""

    vision: str
    connector: str
    feature_layer: int
    pad: bool


def joined_of(config: Mapping[str, Any]) -> Joined:
    """What joins the models. Raises LapilliError for what no LLaVA of one image, one token a patch, has."""
    _refuse(config, "mm_use_im_start_end", (False, None), "the image stands between tokens of its own")
    _refuse(config, "mm_vision_select_feature", ("patch", None), "the class token is kept among the patches")
    _refuse(config, "image_aspect_ratio", ("pad", "square", None), "the picture is cut into tiles, as in LLaVA-1.6")
    _refuse(config, "mm_resampler_type", (None,), "there is a resampler")
    _refuse(config, "s2", (False, None), "the picture is read at several scales")
    connector = config.get("mm_projector_type", "linear")
    if not named(connector).is_original:
        raise LapilliError(f"config.json: mm_projector_type {connector}: LLaVA's own code has no such connector")
    # LLaVA's own default is the last layer; every script of its authors says -2, and so does every checkpoint.
    layer = config.get("mm_vision_select_layer", -1)
    if type(layer) is not int:
        one = "LLaVA's own code reads one layer"
        raise LapilliError(f"config.json: mm_vision_select_layer is {layer!r}: {one}; such a LLaVA cannot be read here")
    return Joined(config["mm_vision_tower"], connector, layer, config.get("image_aspect_ratio") == "pad")


def _refuse(config: Mapping[str, Any], field: str, known: tuple[Any, ...], meaning: str) -> None:
    if config.get(field) not in known:
        raise LapilliError(f"config.json: {field} is {config[field]!r}: {meaning}; such a LLaVA cannot be read here")


def language_config(config: Mapping[str, Any]) -> Any:
    """The language model's configuration. Raises LapilliError for a model that is not known here."""
    kind = _LANGUAGES.get(str(config.get("model_type")))
    if kind is None:
        known = ", ".join(_LANGUAGES)
        raise LapilliError(f"config.json: model_type {config.get('model_type')!r}: unknown; known are {known}")
    fields = {*AutoConfig.for_model(kind).to_dict(), *_OF_OLD_CONFIGS} - {"model_type", "architectures"}
    fields_given = {name: value for name, value in config.items() if name in fields}
    if fields_given.get("rope_scaling") is None:  # to say none is deprecated; of other fields, it means something
        fields_given.pop("rope_scaling", None)
    made = AutoConfig.for_model(kind, **fields_given)
    made.dtype = config.get("dtype", config.get("torch_dtype"))
    return made


def original_config(text: Any, d_vision: int | None, joined: Joined, dtype: str | None) -> dict[str, Any]:
    """The configuration that LLaVA's own code has for this language model's and this joining.

    Raises LapilliError for a language model that its code has no class for.
    """
    if text.model_type not in _CLASSES:
        known = ", ".join(_CLASSES)
        raise LapilliError(f"language model {text.model_type}: LLaVA's own code has none of that kind, only {known}")
    architecture, model_type = _CLASSES[text.model_type]
    return {
        **with_old_names(text.to_diff_dict()),
        "architectures": [architecture],
        "model_type": model_type,
        "torch_dtype": dtype,
        "mm_vision_tower": joined.vision,
        "mm_hidden_size": d_vision,
        "mm_projector_type": joined.connector,
        "mm_vision_select_layer": joined.feature_layer,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad" if joined.pad else "square",
        "use_mm_proj": True,
    }


def restored(made: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """`original` as it was, but for what has become of it since: fields of `made` that it would not have led to."""
    dtype = original.get("dtype", original.get("torch_dtype"))
    then = original_config(language_config(original), original.get("mm_hidden_size"), joined_of(original), dtype)
    changed = {name: value for name, value in made.items() if name not in original or value != then.get(name)}
    return {**original, **changed}


def with_old_names(text_config: Mapping[str, Any]) -> dict[str, Any]:
    """A language model's configuration that also says what transformers before 5 looks for under other names.

    Without it an older program would take a base frequency of 10,000 for every model, and say nothing.
    """
    rope = dict(text_config.get("rope_parameters") or {})
    if not rope:
        return dict(text_config)
    theta = rope.pop("rope_theta", 10_000.0)
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    if kind == "default":
        return {**text_config, "rope_theta": theta}
    # The two oldest kinds had no other fields than these, and programs that refuse others.
    old = {"type": kind, "factor": rope.get("factor")}
    scaling = old if kind in ("linear", "dynamic") else {"rope_type": kind, **rope}
    return {**text_config, "rope_theta": theta, "rope_scaling": scaling}
