"""Joining: a vision encoder, a connector and a language model become one LLaVA.

    pixels -> vision tower -> hidden states of one layer, class token dropped -> projector -> the rows that take the
    places of the <image> tokens among the word embeddings -> language model -> logits

All of it is transformers' LlavaForConditionalGeneration. What happens here is what must be right around it: the tokens,
the shapes, the template, the pictures' preparation and the folder that other programs read.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
)

from lapilli.core.codec import Codec, codec_from
from lapilli.core.errors import LapilliError
from lapilli.core.files import new_folder
from lapilli.core.template import IMAGE_MARK, template_named
from lapilli.model import connector as connectors
from lapilli.model.card import Card, read_card, write_card
from lapilli.model.layouts import layouts
from lapilli.model.parts import (
    Language,
    Vision,
    explained,
    origin,
    part_path,
    quiet,
    read_language,
    read_model,
    read_vision,
    write_model,
)
from lapilli.model.pixels import Pixels
from lapilli.model.placement import AS_STORED, Placement

PAD_TOKEN = "<pad>"
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
        config: Any = self.model.config.vision_config
        side = config.image_size // config.patch_size
        return codec_from(self.processor, self.template, (side, side))

    @cached_property
    def pixels(self) -> Pixels:
        """What turns pictures into this model's pixel values."""
        config: Any = self.model.config.vision_config
        return Pixels(self.processor.image_processor, config.image_size, config.patch_size)

    @property
    def stop_id(self) -> int:
        """The token that ends an answer."""
        return int(self.processor.tokenizer.convert_tokens_to_ids(template_named(self.template).stop))


def join(
    vision: Path | str,
    language: Path | str,
    connector: str = "mlp2x_gelu",
    template: str = "vicuna_v1",
    feature_layer: int = -2,
    seed: int = 0,
) -> Llava:
    """A LLaVA of a vision encoder and a language model, given as folders or names of shipped parts.

    `feature_layer` is the hidden state that the projector reads: -2 is the last layer but one, as in LLaVA. `seed`
    makes the projector's weights. The parts' weights are used as they are. Raises LapilliError for parts that cannot
    be read or do not go together.
    """
    paths = {"vision": part_path(str(vision)), "language": part_path(str(language))}
    eye = read_vision(paths["vision"], feature_layer)
    voice = read_language(paths["language"])
    _require_plain_head(voice.model, paths["language"])
    for part, role in ((eye.tower, "vision"), (voice.model, "language")):
        part.config._name_or_path = paths[role].name  # where the folder lies on this machine is nobody's business
    notes = _add_tokens(voice, template)
    config = _config(eye, voice, connector, feature_layer)
    model = _assemble(config, eye, voice, connector, seed)
    _require_same_logits(model, voice.model, paths["language"])
    processor = _processor(eye, voice.tokenizer, template)
    model.generation_config = _generation(voice.tokenizer, template)
    if connectors.depth(connector) > 2:
        notes.append(f"connector {connector}: plain transformers cannot load it, only lapilli can")
    origins = {role: origin(path) for role, path in paths.items()}
    return Llava(model, processor, Card(template, connector, origins, tuple(notes)))


def save(llava: Llava, out: Path) -> None:
    """Write the folder that `load`, plain transformers and other programs read; whole, or not at all.

    The tensors have the names of layout `hub`; transformers 5 would give them a mixture of two layouts, of which vLLM
    and transformers 4 find no vision encoder.

    Raises LapilliError when `out` holds something already, or the disk is full.
    """
    with new_folder(out) as folder, quiet():
        write_model(llava.model, _named(llava), folder, out)
        llava.processor.save_pretrained(folder)
        write_card(llava.card, folder)


def _named(llava: Llava) -> dict[str, torch.Tensor]:
    """The weights by the names that they are written under; what is tied, once."""
    names = layouts(llava.card.connector)
    # With a connector of their own, they are read here alone, where transformers has no rule for the hub's names.
    written = names["hub" if connectors.depth(llava.card.connector) <= 2 else "nested"]
    tied = llava.model.config.tie_word_embeddings
    return {
        written.from_hub(names["memory"].to_hub(name)): weight
        for name, weight in llava.model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }


def load(path: Path | str, placement: Placement = AS_STORED) -> Llava:
    """The model in a folder that `save` wrote, in eval mode; on the CPU and as it is stored, unless placed elsewhere.

    Raises LapilliError when there is no such folder, or its weights do not fit to the last one, or the place is not
    there.
    """
    path = Path(path)
    card = read_card(path)
    _, model_class = connectors.classes(card.connector)
    model = read_model(model_class, path, **placement.settings())
    with explained(path), quiet():
        processor = LlavaProcessor.from_pretrained(path, local_files_only=True, backend="pil")
    return Llava(model, processor, card)


def _add_tokens(voice: Language, template: str) -> list[str]:
    """Give the tokenizer what it lacks of <image>, padding; and the model their rows. Says what was done.

    The new rows are the mean of the others: close to nothing in particular, and of no unusual length.
    """
    tokenizer, model = voice.tokenizer, voice.model
    _require_stop(tokenizer, template)
    before, rows = len(tokenizer), model.get_input_embeddings().num_embeddings
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_MARK]}, replace_extra_special_tokens=False)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    new = list(range(before, len(tokenizer)))
    if not new:
        return []
    with quiet():
        model.resize_token_embeddings(max(rows, len(tokenizer)), mean_resizing=False)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        with torch.no_grad():
            module.weight[new] = module.weight[:before].mean(dim=0)
    names = ", ".join(f"{tokenizer.convert_ids_to_tokens(index)} ({index})" for index in new)
    return [f"tokens added: {names}; their embeddings are the mean of the other {before}"]


def _require_stop(tokenizer: Any, template: str) -> None:
    stop = template_named(template).stop
    ids = tokenizer.encode(stop, add_special_tokens=False)
    if len(ids) != 1:
        raise LapilliError(
            f"template {template}: its stop {stop!r} is {len(ids)} tokens of this language model, not one; "
            "choose the template the model was trained with"
        )


def _config(eye: Vision, voice: Language, connector: str, feature_layer: int) -> Any:
    config_class, _ = connectors.classes(connector)
    deep = {"projector_depth": connectors.depth(connector)} if connectors.depth(connector) > 2 else {}
    return config_class(
        vision_config=eye.tower.config,
        text_config=voice.model.config,
        image_token_index=voice.tokenizer.convert_tokens_to_ids(IMAGE_MARK),
        image_seq_length=eye.patch_grid[0] * eye.patch_grid[1],
        projector_hidden_act=connectors.activation(connector),
        vision_feature_select_strategy="default" if eye.tokens_before else "full",
        vision_feature_layer=feature_layer,
        pad_token_id=voice.tokenizer.pad_token_id,
        tie_word_embeddings=voice.model.config.tie_word_embeddings,
        **deep,
    )


def _assemble(config: Any, eye: Vision, voice: Language, connector: str, seed: int) -> Any:
    """The joined model around the parts' own modules: made without weights first, so that nothing is held twice."""
    _, model_class = connectors.classes(connector)
    dtype = voice.model.dtype
    with torch.device("meta"), quiet():
        model: Any = model_class(config)
    model.model.vision_tower = eye.tower.to(dtype)
    model.model.language_model = voice.model.base_model
    model.model.multi_modal_projector = connectors.new_projector(connector, config, seed).to(dtype)
    model.lm_head = voice.model.get_output_embeddings()
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


def _processor(eye: Vision, tokenizer: Any, template: str) -> LlavaProcessor:
    """Pictures are padded to a square with the mean colour, then resized, as LLaVA-1.5 was trained."""
    theirs, side = eye.image_processor, eye.image_size
    pictures = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        resample=theirs.resample,
        rescale_factor=theirs.rescale_factor,
        image_mean=theirs.image_mean,
        image_std=theirs.image_std,
    )
    tokenizer.chat_template = template_named(template).jinja()
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=eye.patch_size,
        vision_feature_select_strategy="default" if eye.tokens_before else "full",
        num_additional_image_tokens=eye.tokens_before,
        chat_template=tokenizer.chat_template,
    )


def _generation(tokenizer: Any, template: str) -> GenerationConfig:
    stop = tokenizer.convert_tokens_to_ids(template_named(template).stop)
    return GenerationConfig(
        do_sample=False, bos_token_id=tokenizer.bos_token_id, eos_token_id=stop, pad_token_id=tokenizer.pad_token_id
    )
