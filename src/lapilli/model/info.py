"""What is in a model's folder, told by its configuration and the headers of its weights: no weight is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from transformers import LlavaConfig

from lapilli.core.errors import LapilliError
from lapilli.core.template import TEMPLATES
from lapilli.model.card import CARD, Card, read_card
from lapilli.model.layouts import recognised
from lapilli.model.parts import explained, quiet
from lapilli.model.stored import Stored, stored_tensors

BYTES = {"float32": 4.0, "bfloat16": 2.0, "8 bit": 1.0, "4 bit": 0.5}
"""Bytes of a parameter in the formats that models are run in."""

_ROLES = {"vision_tower.": "vision", "multi_modal_projector.": "projector", "language_model.": "language"}


@dataclass(frozen=True)
class Part:
    """One of a LLaVA's three parts: its role, what transformers calls its kind, and how many parameters it has."""

    role: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class Info:
    """A LLaVA in a folder.

    `parts` are in the order of the data's way. `dtypes` says how many parameters are stored in which format, `memory`
    how many bytes the weights take in each. `feature_layer` is the hidden state of the vision encoder that is read,
    `patches` how many tokens an image is, and `picture` what becomes of a picture that is not square. What the folder
    does not say is None.
    """

    path: str
    layout: str
    connector: str
    parts: tuple[Part, ...]
    dtypes: dict[str, int]
    memory: dict[str, int]
    template: str | None
    image_size: int | None
    patches: int | None
    feature_layer: int
    picture: str
    notes: tuple[str, ...]


def describe(path: Path) -> Info:
    """What the folder holds, in any layout of `layouts`.

    Raises LapilliError for a folder that holds no LLaVA, with the tensors that have no place in one.
    """
    config = _json(path / "config.json")
    if "mm_vision_tower" in config:
        return _original(path, config)
    if "vision_config" in config and "text_config" in config:
        return _of_transformers(path)
    kind = config.get("model_type", "not said")
    raise LapilliError(f"{path}: no LLaVA (its model_type: {kind}); give the folder of one")


def _of_transformers(path: Path) -> Info:
    with explained(path), quiet():
        config: Any = LlavaConfig.from_pretrained(path, local_files_only=True)  # with the defaults filled in
    card = read_card(path) if (path / CARD).is_file() else None
    tensors, vision = stored_tensors(path), config.vision_config
    connector = card.connector if card else _connector(config, tensors)
    kinds = {"vision": vision.model_type, "projector": connector, "language": config.text_config.model_type}
    processor = _json(path / "processor_config.json", {})
    return Info(
        path=str(path), connector=connector, **_weights(path, tensors, kinds),
        template=card.template if card else _template(path), image_size=vision.image_size,
        patches=(vision.image_size // vision.patch_size) ** 2, feature_layer=config.vision_feature_layer,
        picture=_picture(processor.get("image_processor") or _json(path / "preprocessor_config.json", {})),
        notes=_notes(card),
    )  # fmt: skip


def _original(path: Path, config: Mapping[str, Any]) -> Info:
    """A checkpoint of LLaVA's own code: it names the vision encoder, and may hold its weights or not."""
    connector = config.get("mm_projector_type", "linear")
    kinds = {"vision": config["mm_vision_tower"], "projector": connector, "language": config.get("model_type", "llama")}
    tensors = stored_tensors(path)
    size, patches = _image(tensors)
    padded = config.get("image_aspect_ratio") == "pad"
    return Info(
        path=str(path), connector=connector, **_weights(path, tensors, kinds),
        template=None, image_size=size, patches=patches, feature_layer=config.get("mm_vision_select_layer", -1),
        picture=_picture({"do_pad": padded, "do_center_crop": True}), notes=(),
    )  # fmt: skip


def _image(tensors: Mapping[str, Stored]) -> tuple[int | None, int | None]:
    """Side of an image in pixels and its number of patches, by the encoder's weights, where the folder has those."""
    places = next((one.shape[0] for name, one in tensors.items() if name.endswith("position_embedding.weight")), None)
    patch = next((one.shape[-1] for name, one in tensors.items() if name.endswith("patch_embedding.weight")), None)
    if places is None or patch is None:
        return None, None
    side = isqrt(places)  # of patches; a class token is one place more
    return side * patch, side * side


def _json(file: Path, default: Any = None) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if default is not None:
            return default
        raise LapilliError(f"{file}: no such file; give the folder of a model") from None
    except ValueError as error:
        raise LapilliError(f"{file}: not JSON: {error}; fetch the file again") from error


def _connector(config: Any, tensors: Mapping[str, object]) -> str:
    if config.projector_hidden_act == "linear":
        return "linear"
    layers = {
        name.rpartition(".layers.")[2].partition(".")[0] for name in tensors if "multi_modal_projector.la" in name
    }
    return f"mlp{len(layers) or 2}x_gelu"


def _weights(path: Path, tensors: Mapping[str, Stored], kinds: Mapping[str, str]) -> dict[str, Any]:
    """What of an Info the tensors tell. The identity that follows a linear connector is not counted."""
    try:
        layout = recognised(tensors, kinds["projector"])
    except LapilliError as error:
        raise LapilliError(f"{path}: {error}") from error
    sizes, dtypes = dict.fromkeys(kinds, 0), Counter[str]()
    for name, tensor in tensors.items():
        dtypes[tensor.dtype] += tensor.size
        if not (kinds["projector"] == "linear" and ".linear_2." in name):
            hub = layout.to_hub(name)
            sizes[next(role for start, role in _ROLES.items() if hub.startswith(start))] += tensor.size
    return {
        "layout": layout.name,
        "parts": tuple(Part(role, kind, sizes[role]) for role, kind in kinds.items()),
        "dtypes": dict(dtypes),
        "memory": {name: round(sum(sizes.values()) * size) for name, size in BYTES.items()},
    }


def _template(path: Path) -> str | None:
    """The name of the template whose jinja is the folder's, or that it is one of its own."""
    file = path / "chat_template.jinja"
    text = (
        file.read_text(encoding="utf-8")
        if file.is_file()
        else _json(path / "chat_template.json", {}).get("chat_template")
    )
    if not text:
        return None
    return next((name for name, template in TEMPLATES.items() if template.jinja() == text), "one of its own")


def _picture(processor: Mapping[str, Any]) -> str:
    if processor.get("do_pad"):
        return "padded to a square with the mean colour, then resized"
    if processor.get("do_center_crop"):
        return "resized by its shorter side, then cropped to the middle"
    return "resized to a square, out of its shape" if processor else "not said"


def _notes(card: Card | None) -> tuple[str, ...]:
    if card is None:
        return ()
    origins = (f"{role}: {part.name} (SHA-256 of its weights: {part.sha256})" for role, part in card.parts.items())
    return (*origins, *card.notes)
