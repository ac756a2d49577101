"""The beginning that the prompts of a batch share, read once: the system's text, and pictures that several ask about.

What a position's keys and values are depends on what stands before it alone. So prompts that begin alike, up to which
pictures they show, need one forward pass over their beginning for each choice of pictures, and the keys and values are
copied to every prompt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lapilli.core.layout import OFF
from lapilli.data.collate import Example, collate
from lapilli.data.encode import Encoded
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.reading import quiet
from lapilli.model.upstream import cache_argument, new_cache, pick_samples

_WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")


def shared_length(llava: Llava, prompts: Sequence[Encoded], max_new_tokens: int) -> int:
    """The number of first tokens to be read once for each choice of pictures: whole pictures, and never all tokens.

    It is the beginning before the first picture, or the one with all pictures that the prompts share places of:
    whichever saves more. 0 where nothing is saved, and for a model that would count the padding behind the beginning,
    or reads a whole prompt otherwise than its beginning.
    """
    longest = max(len(prompt.ids) for prompt in prompts) + max_new_tokens
    if _depends_on_length(llava.model.config.text_config, longest):
        return 0
    whole = _common_length(prompts)
    (patches,) = np.nonzero(prompts[0].layout.image[:whole] != OFF)
    lengths = [0, whole, int(patches[0])] if patches.size else [0, whole]
    return max(lengths, key=lambda length: length * (len(prompts) - len(_choices(prompts, length))))


def _depends_on_length(config: Any, longest: int) -> bool:
    """Whether keys and values may depend on what stands behind them, or on padding, in prompts of this length.

    So it is with MPT's positions by ALiBi, which count the padding, with a window of attention that is shorter, and
    with LongRoPE, whose frequencies are others beyond the length of the first training (arXiv 2402.13753).
    """
    if config.model_type == "mpt":
        return True
    windows = [getattr(config, name, None) for name in _WINDOWS]
    rope = getattr(config, "rope_parameters", None) or {}
    for some in (rope, *rope.values()):
        if isinstance(some, dict) and some.get("rope_type") == "longrope":
            first = some.get("original_max_position_embeddings")
            windows.append(first or getattr(config, "original_max_position_embeddings", 0))
    return any(window is not None and longest > window for window in windows)


def read_prefix(llava: Llava, prompts: Sequence[Encoded], length: int, pixels: Tensor | None) -> Any:
    """The KV cache of the first `length` tokens of every prompt, each choice of pictures read once.

    `pixels`, (image, 3, height, width), are those of `prefixes`, in their order.
    """
    cache, model = new_cache(), llava.model.eval()
    batch = collate(prefixes(prompts, length), llava.processor.tokenizer.pad_token_id, "left", pixels)
    del batch["labels"]
    with torch.inference_mode(), quiet():
        model(**placed(batch, model), **cache_argument(model, cache), use_cache=True, logits_to_keep=1)
    numbers = {pictures: number for number, pictures in enumerate(_choices(prompts, length))}
    pick_samples(cache, [numbers[_shown(prompt, length)] for prompt in prompts])
    return cache


def prefixes(prompts: Sequence[Encoded], length: int) -> list[Example]:
    """The first `length` tokens of the prompts, once for each choice of pictures among them."""
    return [_part(prompt, slice(length), _shown(prompt, length)) for prompt in _choices(prompts, length).values()]


def rests(prompts: Sequence[Encoded], length: int) -> list[Example]:
    """The tokens of every prompt behind its first `length`."""
    return [_part(prompt, slice(length, None), prompt.images[len(_shown(prompt, length)) :]) for prompt in prompts]


def _part(prompt: Encoded, tokens: slice, images: tuple[str, ...]) -> Example:
    return Example(prompt.id, images, prompt.ids[tokens], prompt.labels[tokens])


def _common_length(prompts: Sequence[Encoded]) -> int:
    """The number of first tokens that are the same in all prompts, whichever pictures they show."""
    most = min(len(prompt.ids) for prompt in prompts) - 1
    first = prompts[0].ids[:most]
    (other,) = np.nonzero(np.any([prompt.ids[:most] != first for prompt in prompts], axis=0))
    length = int(other[0]) if other.size else most
    return min(_before_image(prompt, length) for prompt in prompts)


def _before_image(prompt: Encoded, length: int) -> int:
    """`length`, or where the picture begins that this would cut."""
    image = int(prompt.layout.image[length])
    return length if image == OFF else int(prompt.layout.patches(image)[0, 0])


def _shown(prompt: Encoded, length: int) -> tuple[str, ...]:
    """The pictures among the first `length` tokens."""
    return prompt.images[: int(prompt.layout.image[:length].max(initial=OFF)) + 1]


def _choices(prompts: Sequence[Encoded], length: int) -> dict[tuple[str, ...], Encoded]:
    """Every choice of pictures among the first `length` tokens, with a prompt that shows it."""
    return {_shown(prompt, length): prompt for prompt in reversed(prompts)}
