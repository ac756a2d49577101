"""Sets of heads knocked out, of many questions at a time: what becomes of the right answer.

The sequences are laid side by side once, with the right answers in them, as they enter the language model; the
pictures are not encoded again. Padding stands behind them, where nothing looks at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Role
from lapilli.data.collate import collate
from lapilli.data.encode import Encoded
from lapilli.inspection.ablation import Head, HeadWay, ablated_heads
from lapilli.inspection.decoder import decoder
from lapilli.inspection.sites import watching
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

_AT_ONCE = 4_096  # tokens that are read in one batch


@dataclass(frozen=True, eq=False)
class Batch:
    """Some sequences as they enter the language model.

    entering      (sequence, token, d_model), padded on the right
    seen          bool (sequence, token), which of them are no padding
    sequence, at  (row,) the positions that predict the answers' tokens and their ends
    ids, stop     (row,) those tokens, and whether they are ends
    """

    entering: Tensor
    seen: Tensor
    sequence: Tensor
    at: Tensor
    ids: Tensor
    stop: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Said:
    """Of every question the log-probability of the right answer, without its end, and whether it would be said."""

    log_prob: NDArray[np.float64]
    right: NDArray[np.bool_]


@torch.inference_mode()
def batches(llava: Llava, rows: Sequence[Encoded], pixels: Sequence[Tensor | None]) -> list[Batch]:
    """Answered sequences, in their order, each with the pixel values (image, 3, side, side) of its pictures."""
    size = max(1, _AT_ONCE // max(len(row.ids) for row in rows))
    return [
        _batch(llava, rows[begin : begin + size], pixels[begin : begin + size]) for begin in range(0, len(rows), size)
    ]


def _batch(llava: Llava, rows: Sequence[Encoded], pixels: Sequence[Tensor | None]) -> Batch:
    shown = [one for one in pixels if one is not None]
    tokenizer: Any = llava.processor.tokenizer
    batch = collate(rows, tokenizer.pad_token_id, "right", torch.cat(shown) if shown else None)
    del batch["labels"]
    kept: list[Tensor] = []
    with watching(llava.model, {"llm.layers.0.resid_pre": kept.append}):
        model: Any = llava.model
        model.model(**placed(batch, model), use_cache=False)
    roles = [np.isin(row.layout.role, (Role.ANSWER, Role.STOP)) for row in rows]
    at = [np.nonzero(role)[0] for role in roles]
    sequence = np.repeat(np.arange(len(rows)), [len(one) for one in at])
    after = np.concatenate(at)
    device = kept[0].device
    stop = np.concatenate([row.layout.role[one] == Role.STOP for row, one in zip(rows, at, strict=True)])
    ids = np.concatenate([row.ids[one] for row, one in zip(rows, at, strict=True)])
    tensors = (torch.from_numpy(part).to(device) for part in (sequence, after - 1, ids))
    return Batch(kept[0], batch["attention_mask"].bool().to(device), *tensors, stop)


@torch.inference_mode()
def said(
    llava: Llava,
    read: Sequence[Batch],
    heads: Sequence[Head] = (),
    how: HeadWay = "zero",
    values: dict[Head, Tensor] | None = None,
) -> Said:
    """What becomes of the answers with these heads ablated, as `ablated_heads` does it."""
    with ablated_heads(llava.model, heads, how, values):
        found = [_answers(llava, batch) for batch in read]
    return Said(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _answers(llava: Llava, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    model: Any = llava.model
    states = model.model.language_model(inputs_embeds=batch.entering, use_cache=False).last_hidden_state
    logits = model.lm_head(states[batch.sequence, batch.at]).float()
    log_probs = np.asarray(logits.log_softmax(-1).gather(1, batch.ids[:, None])[:, 0].cpu(), np.float64)
    missed = (logits.argmax(-1) != batch.ids).cpu().numpy()
    sequence, n = batch.sequence.cpu().numpy(), len(batch.entering)
    log_prob = np.bincount(sequence, np.where(batch.stop, 0.0, log_probs), minlength=n)
    return log_prob, np.bincount(sequence, missed, minlength=n) == 0


@torch.inference_mode()
def head_means(llava: Llava, read: Sequence[Batch]) -> dict[Head, Tensor]:
    """What every head puts out, before the output matrix, on average over all tokens of these sequences; (d_head,)."""
    model: Any = llava.model
    language = decoder(model)
    sums: dict[int, Tensor] = {}
    for batch in read:

        def add(layer: int, outputs: Tensor, seen: Tensor) -> None:
            total = outputs.float()[seen].sum(0)
            sums[layer] = sums[layer] + total if layer in sums else total

        watchers = {
            f"llm.layers.{layer}.attn_heads": partial(_told, partial(add, layer), batch.seen)
            for layer in range(language.depth)
        }
        with watching(model, watchers):
            model.model.language_model(inputs_embeds=batch.entering, use_cache=False)
    count = sum(int(batch.seen.sum()) for batch in read)
    return {
        (layer, head): mean
        for layer, total in sums.items()
        for head, mean in enumerate((total / count).unflatten(0, (language.heads, -1)))
    }


def _told(add: Any, seen: Tensor, outputs: Tensor) -> None:
    add(outputs, seen)
