"""Joining: a vision encoder, a connector and a language model become one LLaVA.

    pixels -> vision tower -> hidden states of one layer, class token dropped -> projector -> the rows that take the
    places of the <image> tokens among the word embeddings -> language model -> logits

All of it is transformers' LlavaForConditionalGeneration. What happens here is what must be right around it: the tokens,
the shapes, the template, the pictures' preparation and the folder that other programs read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from lapilli.core.errors import LapilliError
from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.prompt.codec import Codec, chat_template, codec_from, stop_id
from lapilli.core.prompt.image_position import ImagePosition, as_written
from lapilli.core.prompt.template import IMAGE_MARK, PLAIN
from lapilli.core.prompt.tokenizer_template import OwnTemplate
from lapilli.model import architecture
from lapilli.model.card import Card
from lapilli.model.checkpoints.adapter import base_of, described, is_adapter
from lapilli.model.checkpoints.checkpoint import Checkpoint
from lapilli.model.checkpoints.layouts import layouts
from lapilli.model.checkpoints.merge import merge
from lapilli.model.checkpoints.projector import fill, read_projector
from lapilli.model.checkpoints.read import card_of, llava_config, require_whole
from lapilli.model.checkpoints.write import write_checkpoint
from lapilli.model.checkpoints.write_adapter import write_adapter
from lapilli.model.choices import BACKGROUNDS
from lapilli.model.connector import named
from lapilli.model.fetched import release_of
from lapilli.model.gguf_language import read_gguf
from lapilli.model.hub import model_folder
from lapilli.model.padding import picture_processor
from lapilli.model.parts import (
    Language,
    Vision,
    language_path,
    listed,
    name_of,
    origin,
    part_path,
    read_language,
    read_model,
    read_vision,
)
from lapilli.model.pixels import Pixels
from lapilli.model.placement import settings, warn_of_slow_format
from lapilli.model.processor import add_tokens, generation_config, new_processor, read_processor
from lapilli.model.reading import explained, quiet
from lapilli.model.stored import Source, in_memory
from lapilli.model.vocabulary import added_without_rows, require_ids, require_rows, rows_needed

_FITTING = "choose a language model with a plain linear head, such as LLaMA or Qwen2"
_SAME_LOGITS = 1e-4  # of the language model alone and inside the joined one, as a share of the largest


@dataclass(frozen=True)
class Llava:
    """A joined model, what feeds it, and how it was made."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    card: Card

    @property
    def template(self) -> str:
        """The name of the chat template it is spoken to in."""
        return self.card.template

    @property
    def codec(self) -> Codec:
        """What encoding a sample needs of this model."""
        return _codec(self.processor, self.card, self.model.config)

    @cached_property
    def pixels(self) -> Pixels:
        """What turns pictures into this model's pixel values."""
        return _pixels(self.processor, self.model.config)

    @property
    def stop_id(self) -> int:
        """The token that ends an answer."""
        return self.codec.stop_id


def join(
    vision: Path | str,
    language: Path | str,
    connector: Path | str = "mlp2x_gelu",
    template: str = "vicuna_v1",
    feature_layer: int = -2,
    seed: int = 0,
    pad: bool = True,
    background: str = "white",
) -> Llava:
    """A LLaVA of a vision encoder and a language model, given as folders or names of shipped parts.

    The language model may be a GGUF file too, or the name of one that `fetch` has brought.

    `connector` is the name of a new one, whose weights `seed` makes, or the file of a trained one (mm_projector.bin).
    `feature_layer` is the hidden state that it reads: -2 is the last layer but one, as in LLaVA. The template
    `own` is the language model's. `pad` says that pictures are padded to a square, not cropped, and `background` which
    of `choices.BACKGROUNDS` is seen where they are transparent. The parts' weights are used as they are. Raises
    LapilliError for parts that cannot be read or do not go together.
    """
    paths = {"vision": part_path(str(vision)), "language": language_path(str(language))}
    file = _projector_file(connector)
    name, trained = read_projector(file) if file.is_file() else (str(connector), None)
    vision_part, language_part = _parts(paths["vision"], paths["language"], feature_layer)
    notes = [*language_part.notes, *_unspoken(language_part.tokenizer, template)]
    notes += _add_tokens(language_part, template, paths["language"])
    vision, text = vision_part.tower.config, language_part.model.config
    config = architecture.joined_config(
        vision, text, name, feature_layer, language_part.tokenizer, tokens_before=vision_part.tokens_before
    )
    model = _assemble(config, vision_part, language_part, seed)
    if trained is not None:
        fill(model.model.multi_modal_projector, trained, file)
        notes.append(f"connector: trained before, from {file.name}")
    _require_same_logits(model, language_part.model, paths["language"])
    cell = architecture.token_cell(config)
    processor = _processor(vision_part, language_part.tokenizer, template, cell, pad=pad, background=background)
    model.generation_config = generation_config(language_part.tokenizer, template)
    if not named(name).is_plain:
        notes.append(f"connector {name}: plain transformers cannot load it, only lapilli can")
    origins = {role: origin(path) for role, path in paths.items()}
    if (release := release_of(origins["language"].sha256)) is not None:
        notes.insert(0, f"language model: {release.source}")
    return Llava(without_unused_layers(model), processor, Card(template, name, origins, tuple(notes)))


def _parts(vision: Path, language: Path, feature_layer: int) -> tuple[Vision, Language]:
    """Both parts, which no longer say where they lie on this machine: that is nobody's business."""
    vision_part = read_vision(vision, feature_layer)
    language_part = (read_gguf if language.is_file() else read_language)(language)
    _require_plain_head(language_part.model, language)
    for part, path in ((vision_part.tower, vision), (language_part.model, language)):
        part.config._name_or_path = name_of(path)
    return vision_part, language_part


def save(llava: Llava, out: Path) -> None:
    """Write the folder that `load`, plain transformers and other programs read; whole, or not at all.

    The tensors have the names of layout `hf`; transformers 5 would give them a mixture of two layouts, of which vLLM
    and transformers 4 find no vision encoder.

    Raises LapilliError when `out` holds something already, or the disk is full.
    """
    memory = layouts(llava.card.connector)["memory"]
    tied = llava.model.config.tie_word_embeddings
    tensors = {
        memory.to_hf(name): in_memory(weight)
        for name, weight in llava.model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    write_checkpoint(_checkpoint(llava, tensors, out), out)


def save_adapter(llava: Llava, config: Any, tensors: Mapping[str, torch.Tensor], base: str, out: Path) -> None:
    """Write an adapter of the model and all else of its folder but the weights, as `write_adapter` has it."""
    head: Any = llava.model.lm_head
    write_adapter(_checkpoint(llava, {"head": in_memory(head.weight)}, out), config, tensors, base, out)


def _checkpoint(llava: Llava, tensors: Mapping[str, Source], out: Path) -> Checkpoint:
    made = (llava.model.config, tensors, llava.processor, llava.model.generation_config, llava.card)
    return Checkpoint(out, out, "memory", *made)


def load(path: Path | str, placement: Placement = AS_STORED) -> Llava:
    """The model in a folder that `save` wrote, or on the hub, as `model_folder` has it.

    The folder may be that of an adapter, which is merged into its base in memory. The model is in eval mode, on the CPU
    and as it is stored, unless placed elsewhere. Raises LapilliError when there is no such folder, or its weights do
    not fit to the last one, or the place is not there.
    """
    where = settings(placement)  # a device that is not there is said before anything is fetched
    path = model_folder(path)
    if is_adapter(path):
        merged = _merged(path, where)
        warn_of_slow_format(merged.model, placement)
        return merged
    require_whole(path)
    card = card_of(path)
    _, model_class = architecture.classes(card.connector)
    config, processor = llava_config(path), read_processor(path)
    _require_tokens(path, processor.tokenizer, config)
    model = read_model(model_class, path, **where)
    require_ids(path, model.generation_config, config.text_config.vocab_size)
    warn_of_slow_format(model, placement)
    return Llava(without_unused_layers(model), processor, card)


def _merged(path: Path, where: dict[str, Any]) -> Llava:
    """The model that an adapter makes of its base; nothing is written."""
    checkpoint = merge(path, base_of(path))
    connector = checkpoint.card.connector
    _, model_class = architecture.classes(connector)
    memory = layouts(connector)["memory"]
    weights = {memory.from_hf(name): source.read() for name, source in checkpoint.tensors.items()}
    with explained(path), quiet():
        model = model_class.from_pretrained(None, config=checkpoint.config, state_dict=weights, **where)
    processor, card = checkpoint.processor, checkpoint.card
    if described(path) == path:  # how it is spoken to may have been changed with it
        processor, card = read_processor(path), card_of(path)
    _require_tokens(path, processor.tokenizer, checkpoint.config)
    model.generation_config = checkpoint.generation
    return Llava(without_unused_layers(model.eval()), processor, card)


def codec_of(path: Path) -> Codec:
    """What encoding a sample needs of the model in a folder: no weight is read, nor fetched."""
    path = described(model_folder(path, weights="none"))
    processor, config = read_processor(path), llava_config(path)
    require_rows(path, processor.tokenizer, config.text_config.vocab_size)
    return _codec(processor, card_of(path), config)


def pixels_of(path: Path) -> Pixels:
    """What turns pictures into the pixel values of the model in a folder: no weight is read."""
    path = described(path)
    return _pixels(read_processor(path), llava_config(path))


def _pixels(processor: LlavaProcessor, config: Any) -> Pixels:
    return Pixels(processor.image_processor, config.vision_config.image_size, architecture.token_cell(config))


def with_image_position(llava: Llava, position: ImagePosition) -> Llava:
    """The model, which finds the pictures of a question there from now on; what other programs render says so too."""
    if position == llava.card.image_position:
        return llava
    moved = replace(llava, card=replace(llava.card, image_position=position))
    tokenizer: Any = llava.processor.tokenizer
    tokenizer.chat_template = as_written(tokenizer.chat_template)
    tokenizer.chat_template = moved.processor.chat_template = moved.codec.chat.jinja()
    return moved


def _codec(processor: LlavaProcessor, card: Card, config: Any) -> Codec:
    return codec_from(processor, card.template, architecture.token_grid(config), card.image_position)


def _require_tokens(path: Path, tokenizer: Any, config: Any) -> None:
    """Refuse a tokenizer with tokens that the model has not, with another mark for images, or without padding."""
    require_rows(path, tokenizer, config.text_config.vocab_size)
    image = tokenizer.convert_tokens_to_ids(IMAGE_MARK)
    if image != config.image_token_id or tokenizer.pad_token_id is None:
        problem = (
            f"{IMAGE_MARK} is token {image}, in config.json {config.image_token_id}; pads with {tokenizer.pad_token}"
        )
        raise LapilliError(f"{path}: its tokenizer does not fit ({problem}); fetch the tokenizer's files again")


def without_unused_layers(model: Any) -> Any:
    """The model, whose vision encoder no longer runs the layers behind the last that is read.

    They keep their weights and names, so that saving loses nothing. LLaVA reads the last layer but one: a
    twenty-fourth of CLIP-L, and more of a smaller encoder, would be computed for nothing.
    """
    layers = model.model.vision_tower.encoder.layers
    read = architecture.feature_layers(model.config)
    for layer in layers[max(at if at >= 0 else len(layers) + 1 + at for at in read) :]:
        layer.forward = _unchanged
    return model


def _unchanged(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden_states


def _projector_file(connector: Path | str) -> Path:
    """The file of a trained connector: itself, or in a folder or a repository. One that is not there for a name."""
    path = model_folder(connector) if "/" in str(connector) else Path(connector)
    return path / "mm_projector.bin" if path.is_dir() else path


def _unspoken(tokenizer: Any, template: str) -> list[str]:
    """Says that a language model brings a chat template of its own, where a talk in another one is chosen."""
    chosen = chat_template(template, tokenizer)
    brought = tokenizer.chat_template
    if not brought or isinstance(chosen, OwnTemplate) or chosen == PLAIN or brought == chosen.jinja():
        return []
    return [f"template {template}: not the one that the language model brings, which `--template own` takes"]


def _add_tokens(language_part: Language, template: str, path: Path) -> list[str]:
    """Give the tokenizer what it lacks of <image>, padding; and the model rows for all its tokens. Says what was done.

    The new rows are the mean of the others: close to nothing in particular, and of no unusual length.
    """
    tokenizer, model = language_part.tokenizer, language_part.model
    stop_id(chat_template(template, tokenizer), tokenizer)  # first: the template must go with the language model
    rows = model.get_input_embeddings().num_embeddings
    require_ids(path, model.config, rows)
    before, without = min(len(tokenizer), rows), added_without_rows(path, tokenizer, rows)
    new = add_tokens(tokenizer)
    size = max(rows, rows_needed(tokenizer))
    if not new and size == rows:
        return []
    with quiet():
        model.resize_token_embeddings(size, mean_resizing=False)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        with torch.no_grad():
            module.weight[[*new, *range(rows, size)]] = module.weight[:before].mean(dim=0)
    names = ", ".join(f"{tokenizer.convert_ids_to_tokens(index)} ({index})" for index in new)
    mean = f"their embeddings are the mean of the other {before}"
    had = f"tokens without a row in the language model: {listed(without)}; {mean}"
    return [*([had] if without else []), *([f"tokens added: {names}; {mean}"] if new else [])]


def _assemble(config: Any, vision_part: Vision, language_part: Language, seed: int) -> Any:
    """The joined model around the parts' own modules: made without weights first, so that nothing is held twice."""
    _, model_class = architecture.classes(architecture.connector_of(config).name)
    dtype = language_part.model.dtype
    with torch.device("meta"), quiet():
        model: Any = model_class(config)
    model.model.vision_tower = vision_part.tower.to(dtype)
    model.model.language_model = language_part.model.base_model
    model.model.multi_modal_projector = architecture.new_projector(config, seed).to(dtype)
    model.lm_head = language_part.model.get_output_embeddings()
    return model.eval()


def _require_plain_head(language: Any, path: Path) -> None:
    """Refuse what LlavaForConditionalGeneration has no place for: a bias of the head, weights tied elsewhere."""
    if getattr(language.get_output_embeddings(), "bias", None) is not None:
        raise LapilliError(f"{path}: the head of {type(language).__name__} is not a single matrix; {_FITTING}")
    if language.config.tie_word_embeddings and not hasattr(language.base_model, "embed_tokens"):
        raise LapilliError(f"{path}: {type(language).__name__} ties its head in a way a LLaVA cannot; {_FITTING}")


def _require_same_logits(model: Any, language: Any, path: Path) -> None:
    """Refuse a language model that does more on the way to its logits: a Llava would leave it out without a word."""
    ids = torch.arange(16).reshape(1, -1) % language.get_input_embeddings().num_embeddings
    with torch.inference_mode():
        alone, joined = language(ids).logits, model(ids).logits
    difference = float((alone - joined).abs().max() / alone.abs().max())
    if not difference <= _SAME_LOGITS:
        raise LapilliError(
            f"{path}: inside a LLaVA {type(language).__name__} computes other logits, by {difference:.1e} of the "
            f"largest; {_FITTING}"
        )


def _processor(
    vision_part: Vision, tokenizer: Any, template: str, cell: int, *, pad: bool, background: str
) -> LlavaProcessor:
    tokenizer.chat_template = chat_template(template, tokenizer).jinja()
    pictures = picture_processor(vision_part.image_processor, vision_part.image_size, pad)
    if background != BACKGROUNDS[0]:
        pictures.background = background  # which transformers writes, reads, and does not heed
    return new_processor(tokenizer, pictures, cell, vision_part.tokens_before)
