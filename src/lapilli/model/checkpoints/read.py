"""A LLaVA's folder, whatever its layout, as one Checkpoint: nothing of its weights is in memory yet.

transformers' folder  config.json with vision_config and text_config, tensors in any layout of theirs
original's folder     config.json with mm_vision_tower; the encoder's weights may be elsewhere
split folder          language/, vision/ and llava.projector, beside a transformers' folder without weights
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlavaConfig

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.prompt.codec import chat_template
from lapilli.model import architecture
from lapilli.model.card import CARD, Card, read_card
from lapilli.model.checkpoints.checkpoint import (
    ENCODER,
    Checkpoint,
    Choices,
    in_hf_names,
    require_fitting,
    stored_template,
    tokens_before,
    vision_tensors,
)
from lapilli.model.checkpoints.original import joined_of
from lapilli.model.checkpoints.read_original import from_original, with_encoder
from lapilli.model.hub import model_folder
from lapilli.model.padding import picture_processor
from lapilli.model.processor import generation_config, new_processor, read_processor
from lapilli.model.reading import explained, quiet
from lapilli.model.stored import Source, model_config, stored_tensors, tensors_in
from lapilli.model.vocabulary import require_ids, require_rows

PROJECTOR = "llava.projector"
"""The file that llama.cpp's converter looks for."""


def read_checkpoint(path: Path, choices: Choices | None = None) -> Checkpoint:
    """The LLaVA in a folder or on the hub, its tensors checked by name and shape against its configuration.

    Raises LapilliError for a folder that is none, listing what is missing, superfluous or of another shape; and
    UsageError where the folder leaves open what `choices` does not say. Nothing is taken from the folder's name.
    """
    choices, path = (choices or Choices()).resolved(), model_folder(path)
    config = model_config(path)
    if choices.vision is not None and "mm_vision_tower" not in config:
        raise UsageError(f"{path}: has its vision encoder; {choices.vision} has no place in it: leave out --vision")
    if "mm_vision_tower" in config:
        named = dict(with_encoder(path, stored_tensors(path), joined_of(config), choices.vision))
        return from_original(path, config, named, path, choices)
    return _of_transformers(path, choices)


def llava_config(path: Path) -> Any:
    """The LlavaConfig in a folder, with the defaults filled in. Raises LapilliError for a folder of another kind."""
    config = model_config(path)
    if "mm_vision_tower" in config:
        remedy = f"`lapilli model convert {path} OUT --to hf --template NAME` makes one that can be used"
        raise LapilliError(f"{path}: in the layout of LLaVA's own code; {remedy}")
    kind = config.get("model_type", "not said")
    kinds = {one.model_type: one for one in (LlavaConfig, architecture.LapilliLlavaConfig)}
    if "vision_config" not in config or "text_config" not in config or not isinstance(kind, str) or kind not in kinds:
        raise LapilliError(f"{path}: no LLaVA (its model_type: {kind}); give the folder of one")
    with explained(path), quiet():
        made: Any = kinds[kind].from_pretrained(path, local_files_only=True)
    made.text_config.tie_word_embeddings = made.tie_word_embeddings
    _require_sizes(path, made)
    _require_plain(path, made)
    for part in (made, made.text_config):
        require_ids(path, part, made.text_config.vocab_size)
    return made


def _require_plain(path: Path, config: Any) -> None:
    """Refuse what is no LLaVA of one image, one token a patch, in weights that are numbers."""
    architecture.token_grid(config)
    strategy = "default" if tokens_before(config.vision_config) else "full"
    odd = {
        "vision_feature_select_strategy": config.vision_feature_select_strategy != strategy,
        "multimodal_projector_bias": not config.multimodal_projector_bias,
        "quantization_config": getattr(config, "quantization_config", None) is not None,
        "image_token_index": not 0 <= config.image_token_id < config.text_config.vocab_size,
    }
    for field, is_odd in odd.items():
        if is_odd:
            value = getattr(config, field)
            raise LapilliError(f"{path}: its {field} is {value!r}, as no LLaVA's that can be read here; give another")


def _require_sizes(path: Path, config: Any) -> None:
    """Refuse a vision encoder without patches, and a layer that it does not have."""
    vision, configured = config.vision_config, config.vision_feature_layer
    side, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if not isinstance(side, int) or not isinstance(patch, int) or not 0 < patch <= side:
        raise LapilliError(f"{path}: image_size {side}, patch_size {patch}: no square patches; fetch config.json again")
    states = vision.num_hidden_layers + 1
    layers = configured if isinstance(configured, list | tuple) else [configured]
    if not layers or any(type(layer) is not int or not -states <= layer < states for layer in layers):
        remedy = "fetch config.json again"
        raise LapilliError(f"{path}: vision_feature_layer {configured}, not one of {states} hidden states; {remedy}")


def card_of(path: Path) -> Card:
    """The card in a folder or, where lapilli did not make it, one of what the folder says itself.

    Raises LapilliError for a folder that holds no LLaVA, and for one without a chat template.
    """
    if (path / CARD).is_file() or not (path / "config.json").is_file():
        return read_card(path)
    connector = architecture.connector_of(llava_config(path)).name
    template = stored_template(path)
    if template is None:
        remedy = f"`lapilli model convert {path} OUT --to hf --template NAME` writes one"
        raise LapilliError(f"{path}: no chat template in the folder; {remedy}")
    return Card(template, connector, {})


def require_whole(path: Path) -> None:
    """Raise LapilliError for a split folder."""
    if (path / PROJECTOR).is_file():
        remedy = f"`lapilli model convert {path} OUT` joins them"
        raise LapilliError(f"{path}: a LLaVA in parts, for llama.cpp's converters; {remedy}")


def stored_layout(
    path: Path, config: Any, stored: Callable[[Path], dict[str, Source]] = stored_tensors
) -> tuple[str, dict[str, Source]]:
    """The layout of a transformers' or a split folder, and its tensors, as `stored` finds them, by names of `hf`."""
    connector = architecture.connector_of(config).name
    if (path / PROJECTOR).is_file():
        return "split", in_hf_names(path, _split_tensors(path, config, stored), connector)[1]
    return in_hf_names(path, stored(path), connector)


def _of_transformers(path: Path, choices: Choices) -> Checkpoint:
    config = llava_config(path)
    layout, tensors = stored_layout(path, config)
    theirs = read_processor(path)
    require_rows(path, theirs.tokenizer, config.text_config.vocab_size)
    card = _card(path, config, choices.template)
    theirs.tokenizer.chat_template = chat_template(card.template, theirs.tokenizer, card.image_position).jinja()
    pictures = picture_processor(theirs.image_processor, config.vision_config.image_size, choices.pad)
    cell, before = architecture.token_cell(config), tokens_before(config.vision_config)
    processor = new_processor(theirs.tokenizer, pictures, cell, before)
    generation = _generation(path, processor, card, choices.template)
    checkpoint = Checkpoint(path, path, layout, config, tensors, processor=processor, generation=generation, card=card)
    require_fitting(checkpoint)
    return checkpoint


def _card(path: Path, config: Any, template: str | None) -> Card:
    if template is None:
        return card_of(path)
    if (path / CARD).is_file():
        return replace(read_card(path), template=template)
    return Card(template, architecture.connector_of(config).name, {})


def _generation(path: Path, processor: Any, card: Card, chosen: str | None) -> Any:
    if not (path / "generation_config.json").is_file():
        return generation_config(processor.tokenizer, card.template)
    with explained(path), quiet():
        generation = GenerationConfig.from_pretrained(path, local_files_only=True)
    if chosen is not None:
        generation.eos_token_id = generation_config(processor.tokenizer, chosen).eos_token_id
    return generation


def _split_tensors(path: Path, config: Any, stored: Callable[[Path], dict[str, Source]]) -> dict[str, Source]:
    """The tensors of a split folder by their original names."""
    vision = {ENCODER + name: source for name, source in vision_tensors(path / "vision", stored).items()}
    projector = dict(tensors_in(path / PROJECTOR))
    if config.dtype == torch.bfloat16 and all(_survives(source) for source in projector.values()):
        projector = {name: _narrowed(source) for name, source in projector.items()}
    return {**stored(path / "language"), **vision, **projector}


def _survives(source: Source) -> bool:
    """Whether bfloat16 holds every number: it was one, and was widened for programs that know float32 alone."""
    tensor = source.read()
    return tensor.dtype == torch.float32 and torch.equal(tensor.bfloat16().float(), tensor)


def _narrowed(source: Source) -> Source:
    return Source(source.shape, "bfloat16", lambda: source.read().bfloat16())
