"""What goes with a LLaVA's weights: how a picture becomes pixels and tokens, and how an answer ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GenerationConfig, LlavaProcessor

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.codec import chat_template, stop_id
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.model.choices import BACKGROUNDS
from lapilli.model.reading import LOCAL, explained, quiet
from lapilli.model.tokenizer import require_bounded

PAD_TOKEN = "<pad>"


def new_processor(tokenizer: Any, image_processor: Any, cell: int, tokens_before: int) -> LlavaProcessor:
    """A LlavaProcessor of a model whose image tokens stand for cell x cell pixels each.

    `tokens_before` (0 or 1) of the encoder's precede its patches, and are dropped. That is written out: left to its
    default, an image with a class token would get one token too few.
    """
    _pad_left(tokenizer)
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=cell,
        vision_feature_select_strategy="default" if tokens_before else "full",
        num_additional_image_tokens=tokens_before,
        chat_template=tokenizer.chat_template,
    )


def read_processor(path: Path) -> LlavaProcessor:
    """The processor in a folder. Its chat template, which it may have alone as in llava-hf's, is the tokenizer's."""
    with explained(path), quiet():
        processor = LlavaProcessor.from_pretrained(path, backend="pil", **LOCAL)
    require_bounded(path, processor.tokenizer)
    if processor.chat_template:
        processor.tokenizer.chat_template = processor.chat_template
    _pad_left(processor.tokenizer)
    return processor


def _pad_left(tokenizer: Any) -> None:
    """Let batches be padded before their prompts, as `generate` needs it: else answers would go on from the padding.

    It holds for whatever is read or joined, and so for whatever is written. Training and answering here do not ask.
    """
    tokenizer.padding_side = "left"


def background_of(image_processor: Any) -> tuple[int, int, int]:
    """The color, (red, green, blue), on which a picture is drawn where it is transparent; white unless it says so.

    `mean` is the color that it pads with. Raises LapilliError for what is none of `BACKGROUNDS`.
    """
    name = getattr(image_processor, "background", BACKGROUNDS[0])
    if name not in BACKGROUNDS:
        raise LapilliError(f"preprocessor_config.json: background {name!r}; one of {', '.join(BACKGROUNDS)} is meant")
    if name == "mean":
        red, green, blue = (int(255 * share) for share in image_processor.image_mean)
        return red, green, blue
    return (255, 255, 255) if name == "white" else (0, 0, 0)


def add_tokens(tokenizer: Any) -> list[int]:
    """Give a tokenizer what a LLaVA's lacks, <image> and a padding token; their ids, in order."""
    before = {*tokenizer.get_vocab().values()}
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_MARK]}, replace_extra_special_tokens=False)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    return sorted({*tokenizer.get_vocab().values()} - before)


def generation_config(tokenizer: Any, template: str) -> GenerationConfig:
    """Greedy answers that end at the template's stop."""
    stop = stop_id(chat_template(template, tokenizer), tokenizer)
    return GenerationConfig(
        do_sample=False, bos_token_id=tokenizer.bos_token_id, eos_token_id=stop, pad_token_id=tokenizer.pad_token_id
    )
