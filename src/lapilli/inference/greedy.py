"""What answering a batch and talking share: the greedy continuation of prompts, and what it takes to begin one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import GenerationConfig, LogitsProcessorList

from lapilli.core.errors import LapilliError
from lapilli.data.pictures import open_picture
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.reading import quiet
from lapilli.model.upstream import cache_argument

Pictures: TypeAlias = Path | Callable[[str], Image.Image]
"""Where pictures come from: a folder, or whatever makes one of a name, such as a blank one."""


def generate(
    llava: Llava,
    batch: dict[str, torch.Tensor],
    max_new_tokens: int,
    stops: Sequence[int],
    cache: Any,
    streamer: Any = None,
) -> torch.Tensor:
    """The new tokens of every row, (batch, token), the likeliest each time, padded after their stop; on the CPU.

    `cache` may hold the beginning of the prompts already; `streamer` is transformers', and gets tokens as they come.
    """
    model: Any = llava.model
    if model.training:  # asked first, for eval() goes through every module, before every answer
        model.eval()
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(stops),
        pad_token_id=llava.processor.tokenizer.pad_token_id,
    )
    checked = LogitsProcessorList([require_numbers])
    given = placed(batch, model) | cache_argument(model, cache)
    with torch.inference_mode(), quiet(), _alone(model, config):
        sequences: torch.Tensor = model.generate(
            **given, generation_config=config, logits_processor=checked, streamer=streamer
        )
    return sequences[:, batch["input_ids"].shape[1] :].cpu()


@contextmanager
def _alone(model: Any, config: GenerationConfig) -> Iterator[None]:
    """With this configuration in the place of the model's own, of which transformers would take penalties and beams."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def require_numbers(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The logits of the next token, (batch, vocab), as they are. Raises LapilliError where they are no numbers."""
    if not logits.amax(dim=-1).isfinite().all():
        raise LapilliError(
            "the model computes no numbers (NaN or infinity): its weights are damaged, or too large for its format; "
            "fetch them again, or run it in float32"
        )
    return logits


def words_of(new: Sequence[int] | NDArray[np.int64], stops: Sequence[int]) -> int:
    """How many of these tokens are an answer's: those before the first stop."""
    (ends,) = np.isin(new, stops).nonzero()
    return int(ends[0]) if ends.size else len(new)


def text_of(words: Sequence[int], llava: Llava) -> str:
    """The answer that these tokens spell, without the spaces around it."""
    tokenizer: Any = llava.processor.tokenizer
    text: str = tokenizer.decode(list(words), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.strip()


def opened(pictures: Pictures | None, name: str, where: str) -> Image.Image:
    """The picture of that name. Raises LapilliError, for the sample `where`, when it cannot be had."""
    if pictures is None:
        raise LapilliError(f"{where}: shows {name}, but there is no folder of pictures; name one")
    return pictures(name) if callable(pictures) else open_picture(pictures, name)


def require_room(llava: Llava, tokens: int, max_new_tokens: int, where: str, remedy: str) -> None:
    """Raise LapilliError, with the remedy, when a prompt and its answer may not fit into the language model."""
    language: Any = llava.model.config.text_config
    room = language.max_position_embeddings
    if tokens + max_new_tokens > room:
        raise LapilliError(
            f"{where}: {tokens} tokens and an answer of up to {max_new_tokens}, but the language model reads {room}; "
            f"{remedy}"
        )
