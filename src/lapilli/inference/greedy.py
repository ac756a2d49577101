"""Greedy generation, for batches and for conversations: the continuation of prompts, and the checks before it."""

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
"""The source of pictures: a folder, or a function from a name to a picture, such as a blank one."""


def generate(
    llava: Llava,
    batch: dict[str, torch.Tensor],
    max_new_tokens: int,
    stops: Sequence[int],
    cache: Any,
    streamer: Any = None,
) -> torch.Tensor:
    """Return the new tokens of every sample, (batch, token), the likeliest at each step; on the CPU.

    After the stop they are padded. `cache` may hold the beginning of the prompts already; `streamer` is transformers',
    and gets tokens as they come.
    """
    model: Any = llava.model
    if model.training:  # eval() goes through every module, which takes time before every answer
        model.eval()
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(stops),
        pad_token_id=llava.processor.tokenizer.pad_token_id,
    )
    checked = LogitsProcessorList([require_numbers])
    inputs = placed(batch, model) | cache_argument(model, cache)
    with torch.inference_mode(), quiet(), _generation_config(model, config):
        sequences: torch.Tensor = model.generate(
            **inputs, generation_config=config, logits_processor=checked, streamer=streamer
        )
    return sequences[:, batch["input_ids"].shape[1] :].cpu()


@contextmanager
def _generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """A block in which this replaces the model's own configuration, whose penalties and beams would be added."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def require_numbers(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return the logits of the next token, (batch, vocab), unchanged. Raises LapilliError for NaN and infinity."""
    if not logits.amax(dim=-1).isfinite().all():
        raise LapilliError(
            "the model computes no numbers (NaN or infinity): its weights are damaged, or too large for its format; "
            "fetch them again, or run it in float32"
        )
    return logits


def answer_length(new: Sequence[int] | NDArray[np.int64], stops: Sequence[int]) -> int:
    """Return the number of tokens before the first stop."""
    (ends,) = np.isin(new, stops).nonzero()
    return int(ends[0]) if ends.size else len(new)


def text_of(tokens: Sequence[int], llava: Llava) -> str:
    """Return the text of an answer's tokens, without the spaces around it."""
    tokenizer: Any = llava.processor.tokenizer
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.strip()


def open_named(pictures: Pictures | None, name: str, where: str) -> Image.Image:
    """Open the picture of that name. Raises LapilliError, which begins with `where`, when it cannot be opened."""
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
