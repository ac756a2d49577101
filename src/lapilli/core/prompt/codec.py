"""The codec: all that encoding a sample needs of a model. `data` and `model` meet only here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.image_position import ImagePosition, ImagesFirst
from lapilli.core.prompt.template import ChatTemplate, template_named
from lapilli.core.prompt.tokenizer_template import OWN, OwnTemplate
from lapilli.core.trial import tokenizing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Codec:
    """The tokenizer, chat template and image processor of one model.

    `image_token` (`image_token_id` in the vocabulary) stands for one patch. An image is `patch_grid` = (rows, columns)
    of them, without tokens that the model drops, such as CLIP's class token. `template` is the name of `chat`, the chat
    template.
    """

    tokenizer: PreTrainedTokenizerFast
    template: str
    image_token: str
    image_token_id: int
    patch_grid: tuple[int, int]
    image_processor: Any
    image_position: ImagePosition = "as_written"

    @cached_property
    def chat(self) -> ChatTemplate:
        """The chat template, which puts the pictures of a question where `image_position` says."""
        return chat_template(self.template, self.tokenizer, self.image_position)

    @cached_property
    def control_tokens(self) -> dict[int, str]:
        """The tokens that control a model, by id: the special tokens, and others that were added to the vocabulary.

        An added word or run of spaces is text, not a control token.
        """
        special = set(self.tokenizer.all_special_ids)
        return {
            index: str(token)
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or index in special or not (str(token).isalnum() or str(token).isspace())
        }

    @cached_property
    def stop_id(self) -> int:
        """The token that ends an answer. Raises LapilliError as the function of this name does."""
        return stop_id(self.chat, self.tokenizer)


def require_template(name: str) -> None:
    """Raise UsageError for the name of no template. Whether a tokenizer has its `own` template is not checked here."""
    if name != OWN:
        template_named(name)


def chat_template(name: str, tokenizer: Any, image_position: ImagePosition = "as_written") -> ChatTemplate:
    """Return the template of that name, with the pictures of a question where `image_position` says.

    Raises UsageError for an unknown name, and LapilliError for `own` where the tokenizer has no template.
    """
    inner = template_named(name) if name != OWN else _own(tokenizer)
    return inner if image_position == "as_written" else ImagesFirst(inner)


def _own(tokenizer: Any) -> OwnTemplate:
    if not tokenizer.chat_template:
        raise LapilliError(f"template {OWN}: the tokenizer has no chat template; choose a named one")
    return OwnTemplate(tokenizer)


def stop_id(template: ChatTemplate, tokenizer: Any) -> int:
    """Return the token at which generation ends an answer.

    Raises LapilliError for a stop of several tokens: it would end answers at its last token, wherever that stands. A
    line break is accepted where only a space comes before its token, as with Llama's tokenizers.
    """
    with tokenizing():
        *before, last = tokenizer.encode(template.stop, add_special_tokens=False)
    if before and (template.stop.strip() or tokenizer.decode([last]) != template.stop):
        raise LapilliError(
            f"template {template.name}: its stop {template.stop!r} is {len(before) + 1} tokens of this language model, "
            "not one; choose the template the model was trained with"
        )
    return int(last)


def codec_from(
    processor: Any, template: str, patch_grid: tuple[int, int], image_position: ImagePosition = "as_written"
) -> Codec:
    """Return the codec of a Hugging Face LlavaProcessor.

    Raises LapilliError for an unknown template, and for a tokenizer without character offsets, which labels need.
    """
    chat_template(template, processor.tokenizer)
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
        image_position=image_position,
    )
