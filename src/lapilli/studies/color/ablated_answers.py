"""Sets of heads knocked out, of many questions at a time: what becomes of the right answer.

The sequences are laid side by side once, with the right answers in them, as they enter the language model; the
pictures are not encoded again. Padding stands behind them, where nothing looks at it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions, Role
from lapilli.data.collate import collate
from lapilli.data.encode import Encoded
from lapilli.inspection.decoder import decoder
from lapilli.inspection.intervention.ablation import Head, HeadWay, ablated_heads
from lapilli.inspection.sites import watching
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.upstream import cache_argument, new_cache

_AT_ONCE = 4_096  # tokens that are read in one batch


@dataclass(frozen=True, eq=False)
class Batch:
    """Some of the sequences, as they enter the language model.

    numbers       (sequence,) which they are
    entering      (sequence, token, d_model), padded on the right
    shared        how many tokens they all begin with
    seen          bool (sequence, token), which of them are no padding
    sequence, at  (row,) the positions that predict the answers' tokens and their ends
    ids, stop     (row,) those tokens, and whether they are ends
    """

    numbers: Positions
    entering: Tensor
    shared: int
    seen: Tensor
    sequence: Tensor
    at: Tensor
    ids: Tensor
    stop: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Said:
    """Of every sequence the log-probability of the right answer, without its end, and whether it would be said."""

    log_prob: NDArray[np.float64]
    right: NDArray[np.bool_]


@torch.inference_mode()
def batches(llava: Llava, rows: Sequence[Encoded], pixels: Sequence[Tensor | None]) -> list[Batch]:
    """Answered sequences, each with the pixel values (image, 3, side, side) of its pictures, by their lengths."""
    order = np.argsort([len(row.ids) for row in rows], kind="stable")
    size = max(1, _AT_ONCE // max(len(row.ids) for row in rows))
    return [_batch(llava, rows, pixels, order[begin : begin + size]) for begin in range(0, len(order), size)]


def _batch(llava: Llava, rows: Sequence[Encoded], pixels: Sequence[Tensor | None], numbers: Positions) -> Batch:
    chosen = [rows[number] for number in numbers]
    shown = [one for number in numbers if (one := pixels[number]) is not None]
    tokenizer: Any = llava.processor.tokenizer
    batch = collate(chosen, tokenizer.pad_token_id, "right", torch.cat(shown) if shown else None)
    del batch["labels"]
    entering = _entering(llava.model, batch)
    answers = [np.nonzero(np.isin(row.layout.role, (Role.ANSWER, Role.STOP)))[0] for row in chosen]
    sequence, at = np.repeat(np.arange(len(chosen)), [len(some) for some in answers]), np.concatenate(answers) - 1
    ids = np.concatenate([row.ids[some] for row, some in zip(chosen, answers, strict=True)])
    stop = np.concatenate([row.layout.role[some] == Role.STOP for row, some in zip(chosen, answers, strict=True)])
    rows_of, places, tokens = (torch.from_numpy(part).to(entering.device) for part in (sequence, at, ids))
    seen = batch["attention_mask"].bool().to(entering.device)
    shared = _shared(entering, int(at.min()))
    return Batch(numbers, entering, shared, seen, rows_of, at=places, ids=tokens, stop=stop)


def _shared(entering: Tensor, most: int) -> int:
    """How many tokens all sequences begin with, at most so many."""
    alike = (entering == entering[:1]).all(-1).all(0)[:most]
    return int(alike.long().cumprod(0).sum())


def _entering(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """What the language model reads of a batch, (sequence, token, d_model)."""
    kept: list[Tensor] = []
    with watching(model, {"llm.layers.0.resid_pre": kept.append}):
        model.model(**placed(batch, model), use_cache=False)
    return kept[0]


@torch.inference_mode()
def said(
    llava: Llava,
    read: Sequence[Batch],
    heads: Sequence[Head] = (),
    how: HeadWay = "zero",
    values: dict[Head, Tensor] | None = None,
) -> Said:
    """What becomes of the answers with these heads ablated, as `ablated_heads` does it; in the sequences' order."""
    count = sum(len(batch.numbers) for batch in read)
    log_prob, right = np.zeros(count), np.zeros(count, np.bool_)
    with ablated_heads(llava.model, heads, how, values):
        for batch in read:
            log_prob[batch.numbers], right[batch.numbers] = _answers(llava.model, batch)
    return Said(log_prob, right)


def _answers(model: Any, batch: Batch) -> tuple[NDArray[Any], NDArray[Any]]:
    logits = model.lm_head(_states(model.model.language_model, batch)).float()
    log_probs = np.asarray(logits.log_softmax(-1).gather(1, batch.ids[:, None])[:, 0].cpu(), np.float64)
    missed = (logits.argmax(-1) != batch.ids).cpu().numpy()
    sequence, n = batch.sequence.cpu().numpy(), len(batch.numbers)
    log_prob = np.bincount(sequence, np.where(batch.stop, 0.0, log_probs), minlength=n)
    return log_prob, np.bincount(sequence, missed, minlength=n) == 0


def _states(language: Any, batch: Batch) -> Tensor:
    """What comes out behind the last layer at the batch's rows, (row, d_model).

    What all sequences begin with, the system prompt, is read once for all of them.
    """
    cache = new_cache()
    given = {**cache_argument(language, cache), "use_cache": True}
    if batch.shared:
        language(inputs_embeds=batch.entering[:1, : batch.shared], **given)
        cache.batch_repeat_interleave(len(batch.numbers))
    rest = batch.entering[:, batch.shared :]
    states: Tensor = language(inputs_embeds=rest, **given).last_hidden_state
    return states[batch.sequence, batch.at - batch.shared]


@torch.inference_mode()
def head_means(llava: Llava, read: Sequence[Batch]) -> dict[Head, Tensor]:
    """What every head puts out, before the output matrix, on average over all tokens of these sequences; (d_head,)."""
    model: Any = llava.model
    language = decoder(model)
    sums: dict[int, Tensor] = defaultdict(lambda: torch.zeros(()))
    for batch in read:
        watchers = {
            f"llm.layers.{layer}.attn_heads": partial(_add, sums, layer, batch.seen) for layer in range(language.depth)
        }
        with watching(model, watchers):
            model.model.language_model(inputs_embeds=batch.entering, use_cache=False)
    count = sum(int(batch.seen.sum()) for batch in read)
    return {
        (layer, head): mean
        for layer, total in sums.items()
        for head, mean in enumerate((total / count).unflatten(0, (language.heads, -1)))
    }


def _add(sums: dict[int, Tensor], layer: int, seen: Tensor, outputs: Tensor) -> None:
    sums[layer] = sums[layer].to(outputs.device) + outputs.flatten(-2).float()[seen].sum(0)
