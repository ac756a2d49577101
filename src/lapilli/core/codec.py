"""What encoding a sample needs to know of a model: the samples' room and the model's room meet only here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lapilli.core.errors import LapilliError
from lapilli.core.template import template_named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Codec:
    """The reading side of one model.

    `image_token` (`image_token_id` in the vocabulary) stands for one patch; an image is `patch_grid` = (rows, columns)
    of them, after the model has dropped what it drops, such as CLIP's class token. `template` names the chat template.
    """

    tokenizer: PreTrainedTokenizerFast
    template: str
    image_token: str
    image_token_id: int
    patch_grid: tuple[int, int]
    image_processor: Any


def codec_from(processor: Any, template: str, patch_grid: tuple[int, int]) -> Codec:
    """The codec of a Hugging Face LlavaProcessor.

    Raises LapilliError for an unknown template, and for a tokenizer without character offsets: they make the labels.
    """
    template_named(template)
    if not processor.tokenizer.is_fast:
        name = type(processor.tokenizer).__name__
        raise LapilliError(f"tokenizer {name}: gives no character offsets; use the fast tokenizer of this model")
    return Codec(
        tokenizer=processor.tokenizer,
        template=template,
        image_token=processor.image_token,
        image_token_id=processor.image_token_id,
        patch_grid=patch_grid,
        image_processor=processor.image_processor,
    )
