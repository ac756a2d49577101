"""What is in a model's folder, told by its configuration and the headers of its weights: no weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import LlavaConfig

from lapilli.core.errors import LapilliError
from lapilli.core.template import TEMPLATES
from lapilli.model.card import CARD, Card, read_card
from lapilli.model.layouts import Layout, recognised
from lapilli.model.parts import explained, quiet, weight_files

BYTES = {"float32": 4.0, "bfloat16": 2.0, "8 bit": 1.0, "4 bit": 0.5}
"""Bytes of a parameter in the formats that models are run in."""

_ROLES = {"vision_tower.": "vision", "multi_modal_projector.": "projector", "language_model.": "language"}
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Part:
    """One of a LLaVA's three parts: its role, what transformers calls its kind, and how many parameters it has."""

    role: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class Info:
    """A LLaVA in a folder.

    `dtypes` says how many parameters are stored in which format, `memory` how many bytes the weights take in each.
    `feature_layer` is the hidden state of the vision encoder that is read, `patches` how many tokens an image is, and
    `picture` what becomes of a picture that is not square. `parts` are in the order of the data's way.
    """

    path: str
    layout: str
    connector: str
    parts: tuple[Part, ...]
    dtypes: dict[str, int]
    memory: dict[str, int]
    template: str
    image_size: int
    patches: int
    feature_layer: int
    picture: str
    notes: tuple[str, ...]


def describe(path: Path) -> Info:
    """What the folder holds, in any of transformers' layouts.

    Raises LapilliError for a folder that holds no LLaVA, with the tensors that have no place in one.
    """
    written, processor = _json(path / "config.json"), _json(path / "processor_config.json", {})
    if "vision_config" not in written or "text_config" not in written:
        kind = written.get("model_type", "not said")
        raise LapilliError(
            f"{path}: no LLaVA as transformers keeps it (its model_type: {kind}); give the folder of one"
        )
    with explained(path), quiet():
        config: Any = LlavaConfig.from_pretrained(path, local_files_only=True)  # with the defaults filled in
    card = read_card(path) if (path / CARD).is_file() else None
    tensors = _tensors(path)
    connector = card.connector if card else _connector(config, tensors)
    layout = _layout(path, tensors, connector)
    parts = _parts(config, connector, {layout.to_hub(name): size for name, (size, _) in tensors.items()})
    total, vision = sum(part.parameters for part in parts), config.vision_config
    return Info(
        path=str(path), layout=layout.name, connector=connector, parts=parts, dtypes=_dtypes(tensors),
        memory={name: round(total * size) for name, size in BYTES.items()},
        template=card.template if card else _template(path), image_size=vision.image_size,
        patches=(vision.image_size // vision.patch_size) ** 2, feature_layer=config.vision_feature_layer,
        picture=_picture(processor.get("image_processor") or _json(path / "preprocessor_config.json", {})),
        notes=_notes(card),
    )  # fmt: skip


def _json(file: Path, default: Any = None) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if default is not None:
            return default
        raise LapilliError(f"{file}: no such file; give the folder of a model") from None
    except ValueError as error:
        raise LapilliError(f"{file}: not JSON: {error}; fetch the file again") from error


def _tensors(path: Path) -> dict[str, tuple[int, str]]:
    """Number of elements and format of every tensor, by its name. Raises LapilliError for one that is there twice."""
    found: dict[str, tuple[int, str]] = {}
    for file in weight_files(path):
        try:
            with safe_open(file, framework="np") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no dict
                    if name in found:
                        raise LapilliError(f"{file}: {name} is in another file too; remove what does not belong here")
                    header = opened.get_slice(name)
                    found[name] = prod(header.get_shape()), header.get_dtype()
        except SafetensorError as error:
            raise LapilliError(f"{file}: no safetensors: {error}; fetch the file again") from error
    return found


def _connector(config: Any, tensors: Mapping[str, object]) -> str:
    if config.projector_hidden_act == "linear":
        return "linear"
    layers = {
        name.rpartition(".layers.")[2].partition(".")[0] for name in tensors if "multi_modal_projector.la" in name
    }
    return f"mlp{len(layers) or 2}x_gelu"


def _layout(path: Path, tensors: Mapping[str, object], connector: str) -> Layout:
    try:
        return recognised(tensors, connector)
    except LapilliError as error:
        raise LapilliError(f"{path}: {error}") from error


def _parts(config: Any, connector: str, sizes: Mapping[str, int]) -> tuple[Part, ...]:
    """`sizes` by the tensors' names on the hub; the identity that follows a linear connector is not counted."""
    kinds = {
        "vision": config.vision_config.model_type,
        "projector": connector,
        "language": config.text_config.model_type,
    }
    counts = dict.fromkeys(kinds, 0)
    for name, size in sizes.items():
        if not (connector == "linear" and ".linear_2." in name):
            counts[next(role for start, role in _ROLES.items() if name.startswith(start))] += size
    return tuple(Part(role, kinds[role], counts[role]) for role in kinds)


def _dtypes(tensors: Mapping[str, tuple[int, str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for size, dtype in tensors.values():
        name = _DTYPES.get(dtype, dtype)
        counts[name] = counts.get(name, 0) + size
    return counts


def _template(path: Path) -> str:
    """The name of the template whose jinja is the folder's, or that it has one of its own, or none."""
    file = path / "chat_template.jinja"
    text = (
        file.read_text(encoding="utf-8")
        if file.is_file()
        else _json(path / "chat_template.json", {}).get("chat_template")
    )
    if not text:
        return "none"
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
