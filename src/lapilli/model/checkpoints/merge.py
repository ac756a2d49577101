"""Adapters (LoRA, arXiv 2106.09685) merged into the weights they were trained on, one tensor at a time.

Two kinds of folders are read. PEFT's has adapter_config.json and adapter_model; it was trained on a LLaVA of
transformers, or of LLaVA's own code. That of LLaVA's own trainer has, besides, what it trained in full, the projector
above all, in non_lora_trainables.bin, and the LLaVA's config.json; it was trained on a language model alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import torch

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.checkpoint import Checkpoint, Choices, require_fitting
from lapilli.model.checkpoints.layouts import recognised
from lapilli.model.checkpoints.original import joined_of
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.read_original import from_original, with_encoder
from lapilli.model.checkpoints.stored import Source, json_object, model_config, stored_tensors, tensors_in
from lapilli.model.hub import model_folder, pinned
from lapilli.model.parts import listed, name_of

NON_LORA = "non_lora_trainables.bin"
_BASE_UNTOUCHED = ("gaussian", "eva", "orthogonal")  # ways of peft to begin that leave the base's weights alone
_PREFIX = re.compile(r"^(base_model\.model\.)?")
_LOW_RANK = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter by the names of the tensors it changes, in the layout it was trained in.

    `pairs` are (A, B, scale): the weight gains scale * B @ A, with A (rank, in) and B (out, rank). `whole` are tensors
    that take the place of the base's.
    """

    pairs: Mapping[str, tuple[Source, Source, float]]
    whole: Mapping[str, Source]


def merge(folder: Path, base: Path, choices: Choices | None = None) -> Checkpoint:
    """The LLaVA that an adapter makes of its base: a LLaVA in any layout or, for LLaVA's own trainer, a language model.
    Both are folders, or models on the hub.

    The sum is taken in float32 and rounded once. Raises LapilliError for an adapter of another kind than LoRA, and for
    one that does not fit the base, listing the tensors; UsageError as `read_checkpoint` does.
    """
    folder, base = pinned(folder), pinned(base)  # a wrong name is found before the other is fetched
    choices, folder, base = (choices or Choices()).found(), model_folder(folder), model_folder(base)
    adapter = read_adapter(folder)
    config = model_config(base)
    if "mm_vision_tower" not in config and "vision_config" not in config:
        return _of_language_model(folder, adapter, base, choices)
    found = read_checkpoint(base, choices)
    tensors = _merged(folder, found.tensors, _in_hf_names(folder, adapter, found.card.connector))
    note = f"adapter merged: {name_of(folder)}"
    merged = replace(found, tensors=tensors, card=replace(found.card, notes=(*found.card.notes, note)))
    require_fitting(merged)
    return merged


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder. Raises LapilliError for one of another kind than LoRA, listing what is not known."""
    if not (folder / "adapter_config.json").is_file():
        raise LapilliError(f"{folder}: no adapter_config.json there; give the folder of an adapter")
    config = json_object(folder / "adapter_config.json")
    _require_lora(folder, config)
    sides: dict[str, dict[str, Source]] = {}
    whole: dict[str, Source] = {}
    for name, source in _tensors(folder).items():
        match = _LOW_RANK.fullmatch(name)
        if match:
            sides.setdefault(match["module"], {})[match["side"]] = source
        else:
            whole[name] = source
    strange = [name for name in whole if ".lora_" in name]
    halves = [name for name, pair in sides.items() if len(pair) < 2]
    if strange or halves:
        kinds = f"{listed(strange)} of a kind that cannot be merged here" if strange else f"{listed(halves)} half there"
        raise LapilliError(f"{folder}: {kinds}; merge it with peft, or fetch it again")
    pairs = {
        f"{module}.weight": (pair["A"], pair["B"], _scale(config, module, pair["A"].shape[0]))
        for module, pair in sides.items()
    }
    return Adapter(pairs, whole)


def _require_lora(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise LapilliError(f"{folder}: an adapter of kind {kind!r}; only LORA is merged here: merge it with peft")
    started = config.get("init_lora_weights", True)
    if isinstance(started, str) and started not in _BASE_UNTOUCHED:
        remedy = "merge it with peft"
        raise LapilliError(f"{folder}: its init_lora_weights, {started!r}, changed the base before training; {remedy}")
    for field in ("use_dora", "use_bdlora", "fan_in_fan_out", "use_qalora", "alora_invocation_tokens"):
        if config.get(field):
            raise LapilliError(f"{folder}: its {field} is {config[field]!r}, which is not merged here: do it with peft")


def _tensors(folder: Path) -> dict[str, Source]:
    """The adapter's tensors and what was trained in full, without the prefix of peft's wrapper."""
    files = [file for file in (folder / "adapter_model.safetensors", folder / "adapter_model.bin") if file.is_file()]
    if not files:
        raise LapilliError(f"{folder}: neither adapter_model.safetensors nor adapter_model.bin; fetch it again")
    others = folder / NON_LORA
    return {
        _PREFIX.sub("", name).replace(".base_layer.", "."): source
        for file in (files[0], *([others] if others.is_file() else []))
        for name, source in tensors_in(file)
    }


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (arXiv 2312.03732)."""
    alpha = config.get("lora_alpha", 8)  # peft's default
    for pattern, own in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = own
            break
    return float(alpha) / (sqrt(rank) if config.get("use_rslora") else rank)


def _of_language_model(folder: Path, adapter: Adapter, base: Path, choices: Choices) -> Checkpoint:
    """LLaVA's own trainer leaves an adapter of the language model, a projector, and the encoder's name."""
    config = model_config(folder) if (folder / "config.json").is_file() else {}
    if "mm_vision_tower" not in config:
        raise LapilliError(f"{base}: no LLaVA, and {folder} does not say what to make of it; give the adapter's LLaVA")
    new = {name: source for name, source in adapter.whole.items() if name.startswith("model.mm_projector.")}
    rest = {name: source for name, source in adapter.whole.items() if name not in new}
    named = dict(with_encoder(folder, {**stored_tensors(base), **new}, joined_of(config), choices.vision))
    return from_original(folder, config, _merged(folder, named, Adapter(adapter.pairs, rest)), base, choices)


def _in_hf_names(folder: Path, adapter: Adapter, connector: str) -> Adapter:
    """The adapter by the names of layout `hf`, whichever it was trained in."""
    try:
        layout = recognised([*adapter.pairs, *adapter.whole], connector)
    except LapilliError as error:
        raise LapilliError(f"{folder}: {error}") from error
    pairs = {layout.to_hf(name): pair for name, pair in adapter.pairs.items()}
    return Adapter(pairs, {layout.to_hf(name): source for name, source in adapter.whole.items()})


def _merged(folder: Path, tensors: Mapping[str, Source], adapter: Adapter) -> dict[str, Source]:
    strangers = [name for name in (*adapter.pairs, *adapter.whole) if name not in tensors]
    if strangers:
        raise LapilliError(
            f"{folder}: changes {listed(strangers)}, which the base has not; give the base it was made on"
        )
    misshapen = [name for name, pair in adapter.pairs.items() if _product_shape(pair) != tensors[name].shape]
    if misshapen:
        raise LapilliError(f"{folder}: {listed(misshapen)} of another shape than in the base; give the right base")
    sums = {name: _sum(tensors[name], pair) for name, pair in adapter.pairs.items()}
    whole = {name: _like(source, tensors[name]) for name, source in adapter.whole.items()}
    return {**tensors, **sums, **whole}


def _product_shape(pair: tuple[Source, Source, float]) -> tuple[int, int] | None:
    """The shape of B @ A; None where they do not go together."""
    down, up = pair[0].shape, pair[1].shape
    return (up[0], down[1]) if up[1] == down[0] else None


def _sum(weight: Source, pair: tuple[Source, Source, float]) -> Source:
    def read() -> torch.Tensor:
        down, up, scale = pair[0].read().float(), pair[1].read().float(), pair[2]
        base = weight.read()
        return (base.float() + scale * (up @ down)).to(base.dtype)

    return Source(weight.shape, weight.dtype, read)


def _like(source: Source, base: Source) -> Source:
    """What was trained in full, in the base's format."""
    return Source(source.shape, base.dtype, lambda: source.read().to(getattr(torch, base.dtype)))
