"""What is in a model's folder, told by its configuration and the headers of its weights: no weight is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt, prod
from pathlib import Path
from typing import Any, NoReturn

from lapilli.core.errors import LapilliError
from lapilli.model import architecture
from lapilli.model.card import CARD, Card, read_card
from lapilli.model.checkpoints.checkpoint import in_hf_names, stored_template
from lapilli.model.checkpoints.layouts import PROJECTOR_PART
from lapilli.model.checkpoints.original import joined_of
from lapilli.model.checkpoints.read import llava_config, stored_layout
from lapilli.model.connector import named
from lapilli.model.hub import model_folder, remote_headers
from lapilli.model.padding import WORDS, kind_of
from lapilli.model.stored import Source, described, json_object, model_config, stored_tensors
from lapilli.model.vocabulary import stored_excess

BYTES = {"float32": 4.0, "bfloat16": 2.0, "8 bit": 1.0, "4 bit": 0.5}
"""Bytes of a parameter in the formats that models are run in."""

_ROLES = {"vision_tower.": "vision", PROJECTOR_PART: "projector", "language_model.": "language"}


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
    how many bytes the weights take in each. `feature_layer` is the hidden state of the vision encoder that is read, or
    those that are, joined, `patches` how many tokens an image is, and `picture` what becomes of a picture that is not
    square. What the folder does not say is None.
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
    feature_layer: int | list[int]
    picture: str
    notes: tuple[str, ...]


def describe(path: Path) -> Info:
    """What a folder holds, or a model on the hub, in any layout of `layouts`; of the hub's no safetensors are fetched.

    Raises LapilliError for a folder that holds no LLaVA, with the tensors that have no place in one.
    """
    folder = model_folder(path, weights="headless")
    config = model_config(folder)
    info = _original(folder, config) if "mm_vision_tower" in config else _of_transformers(folder)
    return replace(info, path=str(path))


def _tensors(path: Path) -> dict[str, Source]:
    """The folder's tensors; those of a snapshot without weights by their headers on the hub."""
    headers = remote_headers(path)
    return {
        name: described(path / file, name, tensor.dtype, tensor.shape, partial(_not_fetched, path / file))
        for file, header in headers.items()
        for name, tensor in header.tensors.items()
    } or stored_tensors(path)


def _not_fetched(file: Path) -> NoReturn:
    raise LapilliError(f"{file}: not fetched; only its header was")


def _of_transformers(path: Path) -> Info:
    config = llava_config(path)
    card = read_card(path) if (path / CARD).is_file() else None
    layout, tensors = stored_layout(path, config, _tensors)
    connector, vision = architecture.connector_of(config).name, config.vision_config
    kinds = {"vision": vision.model_type, "projector": connector, "language": config.text_config.model_type}
    pictures = _json_if_there(path / "processor_config.json").get("image_processor") or _json_if_there(
        path / "preprocessor_config.json"
    )
    excess = stored_excess(path, config.text_config.vocab_size)
    return Info(
        path=str(path), layout=layout, connector=connector, **_weights(tensors, kinds),
        template=card.template if card else stored_template(path), image_size=vision.image_size,
        patches=prod(architecture.token_grid(config)), feature_layer=config.vision_feature_layer,
        picture=WORDS[kind_of(pictures)] if pictures else "not said",
        notes=(*_notes(card), *([excess] if excess else [])),
    )  # fmt: skip


def _original(path: Path, config: Mapping[str, Any]) -> Info:
    """A checkpoint of LLaVA's own code: it names the vision encoder, and may hold its weights or not."""
    joined = joined_of(config)
    kinds = {"vision": joined.vision, "projector": joined.connector, "language": str(config.get("model_type"))}
    layout, tensors = in_hf_names(path, _tensors(path), joined.connector)
    size, patches = _image(tensors, joined.connector)
    return Info(
        path=str(path), layout=layout, connector=joined.connector, **_weights(tensors, kinds),
        template=stored_template(path), image_size=size, patches=patches, feature_layer=joined.feature_layer,
        picture=WORDS["pad" if joined.pad else "crop"], notes=(),
    )  # fmt: skip


def _image(tensors: Mapping[str, Source], connector: str) -> tuple[int | None, int | None]:
    """Side of an image in pixels and its number of tokens, by the encoder's weights, where the folder has those."""
    places = next((one.shape[0] for name, one in tensors.items() if name.endswith("position_embedding.weight")), None)
    patch = next((one.shape[-1] for name, one in tensors.items() if name.endswith("patch_embedding.weight")), None)
    if places is None or patch is None:
        return None, None
    side = isqrt(places)  # of patches; a class token is one place more
    return side * patch, prod(named(connector).grid((side, side)))


def _json_if_there(file: Path) -> dict[str, Any]:
    return json_object(file) if file.exists() else {}


def _weights(tensors: Mapping[str, Source], kinds: Mapping[str, str]) -> dict[str, Any]:
    """What of an Info the tensors tell. A layer of the connector that is the identity is not counted."""
    sizes, dtypes = dict.fromkeys(kinds, 0), Counter[str]()
    identity = named(kinds["projector"]).identity
    for name, tensor in tensors.items():
        if not (identity and name.startswith(PROJECTOR_PART + identity)):
            dtypes[tensor.dtype] += tensor.size
            sizes[next(role for start, role in _ROLES.items() if name.startswith(start))] += tensor.size
    return {
        "parts": tuple(Part(role, kind, sizes[role]) for role, kind in kinds.items()),
        "dtypes": dict(dtypes),
        "memory": {name: round(sum(sizes.values()) * size) for name, size in BYTES.items()},
    }


def _notes(card: Card | None) -> tuple[str, ...]:
    if card is None:
        return ()
    origins = (f"{role}: {part.name} (SHA-256 of its weights: {part.sha256})" for role, part in card.parts.items())
    return (*origins, *card.notes)
