"""How likely a language model finds a text: teacher-forced, each token after the true ones before it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lapilli.core.trial import tokenizing
from lapilli.inference.greedy import require_numbers
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.reading import quiet

WINDOW = 1_024
"""The most tokens that are read at once, so that a model with a long context has no advantage, and memory suffices."""


def token_losses(llava: Llava, text: str, window: int = WINDOW) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where each token of a text ends and its negative log-likelihood in nats, (token,) each.

    The text is tokenised whole, behind what the tokenizer begins with, such as `<s>`, and without a chat template. An
    end is the number of characters up to it. Windows have at most `window` tokens, at least two, and at most the
    model's context; each begins half a window before the first token that it scores, so every token is scored once,
    after all of the text before it or at least half a window. Left out are what the tokenizer adds and, where it
    adds nothing at the beginning, the first token. Raises LapilliError where the model computes no numbers.
    """
    ids, ends, first = _tokens(llava, text)
    language: Any = llava.model.config.text_config
    size = min(window, language.max_position_embeddings)
    windows = _windows(first, len(ids), size)
    losses = [_window_losses(llava, ids[start:end], scored - start) for start, scored, end in windows]
    return ends[first:], np.concatenate([np.zeros(0), *losses])


def _tokens(llava: Llava, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Ids (token,) up to the last of the text, the ends of their characters (token,), and the first to be scored."""
    tokenizer: Any = llava.processor.tokenizer
    with tokenizing():
        encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
    (own,) = np.nonzero(np.array(encoded["special_tokens_mask"]) == 0)
    first, behind = (int(own[0]), int(own[-1]) + 1) if own.size else (0, 0)
    ends = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)[:behind, 1]
    return np.array(encoded["input_ids"][:behind], np.int64), ends, max(first, 1)


def _windows(first: int, count: int, size: int) -> Iterator[tuple[int, int, int]]:
    """The start of each window, the first token that it scores, and its end."""
    start, scored = 0, first
    while scored < count:
        end = min(start + size, count)
        yield start, scored, end
        start, scored = end - size // 2, end


def _window_losses(llava: Llava, ids: NDArray[np.int64], scored: int) -> NDArray[np.float64]:
    """The losses of the tokens from `scored` on, (token,)."""
    model: Any = llava.model.eval()
    tokens = torch.tensor(ids)[None]
    batch = placed({"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}, model)
    with torch.inference_mode(), quiet():
        logits = model(**batch, use_cache=False).logits[0, scored - 1 : -1].float()
        losses = torch.nn.functional.cross_entropy(logits, batch["input_ids"][0, scored:], reduction="none")
    require_numbers(tokens, logits)
    numbers: NDArray[np.float64] = losses.double().cpu().numpy()
    return numbers
