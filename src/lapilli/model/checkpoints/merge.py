"""Adapters (LoRA, arXiv 2106.09685) merged into the weights they were trained on, one tensor at a time.

Two kinds of folders are read. PEFT's has adapter_config.json and adapter_model; it was trained on a LLaVA of
transformers, or of LLaVA's own code. That of LLaVA's own trainer has, besides, what it trained in full, the projector
above all, in non_lora_trainables.bin, and the LLaVA's config.json; it was trained on a language model alone.

Where the base's head is its embedding, an adapter of one of them parts the two, unless they come out equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.model.card import BASE, CARD, read_card
from lapilli.model.checkpoints.adapter import Adapter, Pair, read_adapter
from lapilli.model.checkpoints.checkpoint import HEAD, TABLE, Checkpoint, Choices, require_fitting
from lapilli.model.checkpoints.layouts import recognised
from lapilli.model.checkpoints.original import joined_of
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.read_original import from_original, lengthened, with_encoder
from lapilli.model.hub import model_folder, pinned
from lapilli.model.parts import listed, name_of, origin
from lapilli.model.stored import Source, is_finite, model_config, stored_tensors

_UNTIED = "head and embedding, one matrix in the base, are two"


@dataclass(frozen=True)
class _Words:
    """What the two matrices with a row for each token are called, and whether the base has one matrix for both."""

    table: str
    head: str
    tied: bool


def merge(folder: Path, base: Path, choices: Choices | None = None) -> Checkpoint:
    """The LLaVA that an adapter makes of its base: a LLaVA in any layout or, for LLaVA's own trainer, a language model.
    Both are folders, or models on the hub.

    The sum is taken in float32 and rounded once. Raises LapilliError as `read_adapter` does, and for an adapter that
    does not fit the base, listing the tensors; UsageError as `read_checkpoint` does.
    """
    folder, base = pinned(folder), pinned(base)  # a wrong name is found before the other is fetched
    choices, folder, base = (choices or Choices()).resolved(), model_folder(folder), model_folder(base)
    adapter = read_adapter(folder)
    _require_base(folder, base)
    config = model_config(base)
    if "mm_vision_tower" not in config and "vision_config" not in config:
        return _of_language_model(folder, adapter, base, choices)
    checkpoint = read_checkpoint(base, choices)
    words = _Words(TABLE, HEAD, bool(checkpoint.config.tie_word_embeddings))
    adapter = _as_long(_in_hf_names(folder, adapter, checkpoint.card.connector), checkpoint)
    tensors = _merged(folder, checkpoint.tensors, adapter, words)
    notes = [*checkpoint.card.notes, f"adapter merged: {name_of(folder)}"]
    if words.tied and HEAD in tensors:
        checkpoint, notes[-1] = _untied(checkpoint), f"{notes[-1]}; {_UNTIED}"
    merged = replace(checkpoint, tensors=tensors, card=replace(checkpoint.card, notes=tuple(notes)))
    require_fitting(merged)
    return merged


def _require_base(folder: Path, base: Path) -> None:
    """Refuse another base than the one whose checksum the adapter's card has, if it has one."""
    trained_on = read_card(folder).parts.get(BASE) if (folder / CARD).is_file() else None
    if trained_on and origin(base).sha256 != trained_on.sha256:
        other = f"trained on {trained_on.name}, whose weights are not those of {base}"
        raise LapilliError(f"{folder}: {other}; give the base it was trained on")


def _of_language_model(folder: Path, adapter: Adapter, base: Path, choices: Choices) -> Checkpoint:
    """LLaVA's own trainer leaves an adapter of the language model, a projector, and the encoder's name."""
    config = model_config(folder) if (folder / "config.json").is_file() else {}
    if "mm_vision_tower" not in config:
        raise LapilliError(f"{base}: no LLaVA, and {folder} does not say what to make of it; give the adapter's LLaVA")
    new = {name: source for name, source in adapter.whole.items() if name.startswith("model.mm_projector.")}
    rest = {name: source for name, source in adapter.whole.items() if name not in new}
    named = dict(with_encoder(folder, {**stored_tensors(base), **new}, joined_of(config), choices.vision))
    words = _Words("model.embed_tokens.weight", "lm_head.weight", bool(config.get("tie_word_embeddings")))
    tensors = _merged(folder, named, replace(adapter, whole=rest), words)
    if words.tied and words.head in tensors:
        config = {**config, "tie_word_embeddings": False}
    return from_original(folder, config, tensors, base, choices)


def _untied(checkpoint: Checkpoint) -> Checkpoint:
    """The same, with a configuration that says that head and embedding are two."""
    config = deepcopy(checkpoint.config)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    original = checkpoint.card.original and {**checkpoint.card.original, "tie_word_embeddings": False}
    return replace(checkpoint, config=config, card=replace(checkpoint.card, original=original))


def _in_hf_names(folder: Path, adapter: Adapter, connector: str) -> Adapter:
    """The adapter by the names of layout `hf`, whichever it was trained in."""
    try:
        layout = recognised(adapter.names, connector)
    except LapilliError as error:
        raise LapilliError(f"{folder}: {error}") from error
    return _each(adapter, lambda entries: {layout.to_hf(name): entry for name, entry in entries.items()})


def _as_long(adapter: Adapter, checkpoint: Checkpoint) -> Adapter:
    """The adapter of an original LLaVA's head or embedding, with the rows that these gained when they were read.

    A new row is the mean of the others, so that the mean of what is added to them is right for it.
    """
    before, now = (checkpoint.card.original or {}).get("vocab_size"), checkpoint.config.text_config.vocab_size

    def longer(source: Source) -> Source:
        return lengthened(source, now) if source.shape[0] == before and len(source.shape) == 2 else source

    def all_longer(entries: Mapping[str, Any]) -> dict[str, Any]:
        changed = {name: entry for name, entry in entries.items() if name in (TABLE, HEAD)}
        return {**entries, **{name: _longer(entry, longer) for name, entry in changed.items()}}

    return adapter if before in (None, now) else _each(adapter, all_longer)


def _longer(entry: Any, longer: Callable[[Source], Source]) -> Any:
    if isinstance(entry, Pair):
        return replace(entry, up=longer(entry.up))
    return longer(entry) if isinstance(entry, Source) else entry


def _each(adapter: Adapter, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Adapter:
    return Adapter(change(adapter.pairs), change(adapter.below), change(adapter.whole), change(adapter.rows))


def _merged(folder: Path, tensors: Mapping[str, Source], adapter: Adapter, words: _Words) -> dict[str, Source]:
    """The tensors with the adapter in them; of a base whose head is its embedding, with a head where it differs."""
    base, adapter = dict(tensors), adapter
    if words.tied and words.table in base:
        base.setdefault(words.head, base[words.table])
        adapter = _of_both(folder, adapter, words)
    _require_known(folder, base, adapter)
    changed = {name: _changed(folder, name, base[name], adapter) for name in adapter.names}
    merged = {**base, **changed}
    if words.tied and words.head not in tensors and _equal(merged, words):
        del merged[words.head]
    return merged


def _of_both(folder: Path, adapter: Adapter, words: _Words) -> Adapter:
    """What peft does to both of two tied matrices, said of both: what it saved of the base, and rows of the table."""
    below, rows, pair = dict(adapter.below), dict(adapter.rows), (words.table, words.head)
    for one, other in (pair, pair[::-1]):
        if one in below:
            below.setdefault(other, below[one])
    if words.table in rows and words.head not in rows:
        if words.head in {*adapter.pairs, *adapter.whole}:
            remedy = "untie the base's embeddings first (tie_word_embeddings), and train the adapter on that"
            raise LapilliError(f"{folder}: trains rows of an embedding and the head that is tied to it; {remedy}")
        rows[words.head] = rows[words.table]
    return replace(adapter, below=below, rows=rows)


def _equal(tensors: Mapping[str, Source], words: _Words) -> bool:
    table, head = tensors[words.table], tensors[words.head]
    return table is head or (table.shape == head.shape and torch.equal(table.read(), head.read()))


def _require_known(folder: Path, base: Mapping[str, Source], adapter: Adapter) -> None:
    """Refuse an adapter of tensors that the base has not, or has in another shape."""
    strangers = [name for name in adapter.names if name not in base]
    if strangers:
        raise LapilliError(
            f"{folder}: changes {listed(strangers)}, which the base has not; give the base it was made on"
        )
    misshapen = [name for name, pair in adapter.pairs.items() if not pair.fits(base[name].shape)]
    replaced = [*adapter.below.items(), *adapter.whole.items()]
    misshapen += [name for name, source in replaced if source.shape != base[name].shape]
    if misshapen:
        remedy = "give the right base; if tokens were added, one whose tokenizer and embedding have them"
        raise LapilliError(f"{folder}: {listed(set(misshapen))} of another shape than in the base; {remedy}")
    for name, (indices, source) in adapter.rows.items():
        rows, width = base[name].shape
        if source.shape != (len(indices), width) or len({*indices}) < len(indices) or max(indices) >= rows:
            described = f"{source.shape} for {len(indices)} rows of {rows} x {width}, the last of them {max(indices)}"
            raise LapilliError(f"{folder}: trainable tokens of {name}: {described}; give the base it was made on")


def _changed(folder: Path, name: str, base: Source, adapter: Adapter) -> Source:
    """One tensor: the base's, or what was saved in its place, plus what is added to it, its trained rows replaced."""
    start = adapter.whole.get(name, adapter.below.get(name, base))
    pair, rows = adapter.pairs.get(name), adapter.rows.get(name)

    def read() -> Tensor:
        tensor = start.read()
        if pair is not None:
            tensor = _updated(tensor.float(), pair)
        tensor = tensor.to(getattr(torch, base.dtype))
        if rows is not None:
            tensor = tensor.index_copy(0, torch.tensor(rows[0]), rows[1].read().to(tensor.dtype))
        if not is_finite(tensor):
            raise LapilliError(f"{folder}: {name} merged is not finite in {base.dtype}; give another base or adapter")
        return tensor

    return Source(base.shape, base.dtype, read)


def _updated(weight: Tensor, pair: Pair) -> Tensor:
    """The weight with the update in it, and its rows of the lengths that DoRA gives them, where it does."""
    up, down = pair.up.read().float(), pair.down.read().float()
    total = weight + (pair.scale * (up.flatten(1) @ down.flatten(1))).view(weight.shape)
    if pair.lengths is None:
        return total
    rows = total.flatten(1)
    factors = pair.lengths.read().float().view(-1, 1) / rows.norm(dim=1, keepdim=True)
    scaled: Tensor = factors * rows
    return scaled.view(weight.shape)
