"""An original LLaVA as a Checkpoint: its configuration translated, what it names found, its vocabulary grown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.prompt.codec import chat_template
from lapilli.model import architecture
from lapilli.model.card import Card
from lapilli.model.checkpoints.checkpoint import (
    ENCODER,
    HEAD,
    TABLE,
    Checkpoint,
    Choices,
    in_hf_names,
    require_fitting,
    stored_template,
    tokens_before,
    vision_tensors,
)
from lapilli.model.checkpoints.original import VISION_FOLDER, Joined, joined_of, language_config
from lapilli.model.encoders import released_encoder
from lapilli.model.padding import picture_processor
from lapilli.model.parts import name_of
from lapilli.model.processor import add_tokens, generation_config, new_processor
from lapilli.model.reading import LOCAL, explained, quiet
from lapilli.model.stored import Source, model_config
from lapilli.model.tokenizer import read_tokenizer
from lapilli.model.vocabulary import added_without_rows, rows_needed

_ROWS = 64  # a vocabulary that has to grow becomes a multiple of it, as in llava-hf's conversions
_BLOCK = 4096  # rows summed at once


def from_original(
    path: Path, config: Mapping[str, Any], tensors: Mapping[str, Source], tokenizer: Path, choices: Choices
) -> Checkpoint:
    """The LLaVA of an original configuration and tensors by their original names; `tokenizer` is its folder."""
    template = choices.template or stored_template(path)
    if template is None:
        raise UsageError(f"{path}: LLaVA's own layout has no chat template; name the one of its training (--template)")
    joined = joined_of(config)
    text = language_config(config)
    vision, image_processor = _encoder(path, joined, choices.vision)
    words = read_tokenizer(tokenizer, text)
    _, named = in_hf_names(path, tensors, joined.connector)
    named, notes = _with_rows(path, named, words)
    if notes:  # otherwise the configuration must be right, and is compared with the weights
        text.vocab_size = named[TABLE].shape[0]
    before = tokens_before(vision)
    made = architecture.joined_config(vision, text, joined.connector, joined.feature_layer, words, tokens_before=before)
    pad = joined.pad if choices.pad is None else choices.pad
    pictures = picture_processor(image_processor, vision.image_size, pad)
    words.chat_template = chat_template(template, words).jinja()
    processor = new_processor(words, pictures, architecture.token_cell(made), before)
    card = Card(template, joined.connector, {}, notes, _without_places(config))
    checkpoint = Checkpoint(
        path, tokenizer, "original", made, named,
        processor=processor, generation=generation_config(words, template), card=card,
    )  # fmt: skip
    require_fitting(checkpoint)
    return checkpoint


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, its paths shortened to names: where a folder lay is nobody's business."""
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in config.items()
    }


def with_encoder(
    path: Path, tensors: Mapping[str, Source], joined: Joined, vision: Path | None
) -> Iterator[tuple[str, Source]]:
    """The folder's tensors and, where it does not hold its encoder, those of the encoder's own folder."""
    yield from tensors.items()
    if any(name.startswith("model.vision_tower.") for name in tensors):
        return
    if vision is None:
        raise UsageError(
            f"{path}: names its vision encoder, {joined.vision}, without its weights; give its folder (--vision)"
        )
    for name, source in vision_tensors(vision).items():
        yield ENCODER + name, source


def _encoder(path: Path, joined: Joined, folder: Path | None) -> tuple[Any, Any]:
    """The configuration and image processor of the encoder: from its folder, from beside the weights, or known here."""
    beside = (path / VISION_FOLDER, path / joined.vision)
    folder = folder or next((one for one in beside if (one / "config.json").is_file() and one.parent == path), None)
    if folder is not None:
        model_config(folder)
        with explained(folder), quiet():
            config = AutoConfig.from_pretrained(folder, **LOCAL)
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **LOCAL)
        config = getattr(config, "vision_config", config)
        config._name_or_path = name_of(folder)
        return config, processor
    known = released_encoder(joined.vision)
    if known is None:
        raise UsageError(f"{path}: its vision encoder {joined.vision!r} is not known here; give its folder (--vision)")
    return known


def _with_rows(path: Path, tensors: Mapping[str, Source], tokenizer: Any) -> tuple[dict[str, Source], tuple[str, ...]]:
    """The tensors with rows for the tokens that the tokenizer lacked, or that lacked one, and a note on them."""
    table, head = tensors.get(TABLE), tensors.get(HEAD)
    if table is None:
        add_tokens(tokenizer)
        return dict(tensors), ()
    rows = table.shape[0]
    if head is not None and head.shape[0] != rows:
        raise LapilliError(f"{path}: the embedding has {rows} rows, the head {head.shape[0]}; fetch the folder again")
    without, new = added_without_rows(path, tokenizer, rows), add_tokens(tokenizer)
    if rows_needed(tokenizer) <= rows:
        return dict(tensors), ()
    grown = -(-rows_needed(tokenizer) // _ROWS) * _ROWS
    names = ", ".join([*without, *(f"{tokenizer.convert_ids_to_tokens(index)} ({index})" for index in new)])
    note = f"tokens added: {names}; embeddings of {rows} rows grew to {grown}, by the mean of the others"
    longer = {name: lengthened(tensors[name], grown) for name in (TABLE, HEAD) if name in tensors}
    return {**tensors, **longer}, (note,)


def lengthened(source: Source, rows: int) -> Source:
    """A table with rows added, each the mean of those that were there."""

    def read() -> torch.Tensor:
        table = source.read()
        longer = torch.empty(rows, table.shape[1], dtype=table.dtype)
        total = torch.zeros(table.shape[1], dtype=torch.float64)
        for start in range(0, len(table), _BLOCK):  # in blocks: a second copy in float64 would be four times as large
            block = table[start : start + _BLOCK]
            longer[start : start + len(block)] = block
            total += block.sum(dim=0, dtype=torch.float64)
        longer[len(table) :] = (total / len(table)).to(table.dtype)
        return longer

    return Source((rows, source.shape[1]), source.dtype, read)
