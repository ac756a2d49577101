"""The right answers of many questions under head ablation: log-probabilities, and whether they would be said.

The sequences, with the right answers in them, are batched once as they enter the language model; the pictures are not
encoded again. Padding is on the right, where no token attends to it.
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

_AT_ONCE = 4_096  # tokens in one batch


@dataclass(frozen=True, eq=False)
class Batch:
    """Some of the sequences, as they enter the language model.

    numbers       (sequence,) the sequences' numbers
    entering      (sequence, token, d_model), padded on the right
    shared        the number of tokens that they all begin with
    attended      bool (sequence, token), False for padding
    sequence, at  (query,) the sequence and the position of each query: they predict the answers' tokens and ends
    ids, stop     (query,) those tokens, and whether they are ends
    """

    numbers: Positions
    entering: Tensor
    shared: int
    attended: Tensor
    sequence: Tensor
    at: Tensor
    ids: Tensor
    stop: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class AnswerOutcomes:
    """The log-probability of the right answer, without its end, and whether it would be said, by sequence."""

    log_prob: NDArray[np.float64]
    right: NDArray[np.bool_]


@torch.inference_mode()
def batches(llava: Llava, samples: Sequence[Encoded], pixels: Sequence[Tensor | None]) -> list[Batch]:
    """Batch answered sequences by length; `pixels` are each one's pixel values (image, 3, side, side)."""
    order = np.argsort([len(sample.ids) for sample in samples], kind="stable")
    size = max(1, _AT_ONCE // max(len(sample.ids) for sample in samples))
    return [_batch(llava, samples, pixels, order[begin : begin + size]) for begin in range(0, len(order), size)]


def _batch(llava: Llava, samples: Sequence[Encoded], pixels: Sequence[Tensor | None], numbers: Positions) -> Batch:
    chosen = [samples[number] for number in numbers]
    images = [image for number in numbers if (image := pixels[number]) is not None]
    tokenizer: Any = llava.processor.tokenizer
    batch = collate(chosen, tokenizer.pad_token_id, "right", torch.cat(images) if images else None)
    del batch["labels"]
    entering = _entering(llava.model, batch)
    answers = [np.nonzero(np.isin(sample.layout.role, (Role.ANSWER, Role.STOP)))[0] for sample in chosen]
    sequence, at = np.repeat(np.arange(len(chosen)), [len(some) for some in answers]), np.concatenate(answers) - 1
    pairs = list(zip(chosen, answers, strict=True))
    ids = np.concatenate([sample.ids[some] for sample, some in pairs])
    return Batch(
        numbers=numbers,
        entering=entering,
        shared=_shared(entering, int(at.min())),
        attended=batch["attention_mask"].bool().to(entering.device),
        sequence=torch.from_numpy(sequence).to(entering.device),
        at=torch.from_numpy(at).to(entering.device),
        ids=torch.from_numpy(ids).to(entering.device),
        stop=np.concatenate([sample.layout.role[some] == Role.STOP for sample, some in pairs]),
    )


def _shared(entering: Tensor, most: int) -> int:
    """The number of tokens that all sequences begin with, at most `most`."""
    alike = (entering == entering[:1]).all(-1).all(0)[:most]
    return int(alike.long().cumprod(0).sum())


def _entering(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The input embeddings of the language model for a batch, (sequence, token, d_model)."""
    entering: list[Tensor] = []
    with watching(model, {"llm.layers.0.resid_pre": entering.append}):
        model.model(**placed(batch, model), use_cache=False)
    return entering[0]


@torch.inference_mode()
def outcomes_under_ablation(
    llava: Llava,
    batches: Sequence[Batch],
    heads: Sequence[Head] = (),
    how: HeadWay = "zero",
    values: dict[Head, Tensor] | None = None,
) -> AnswerOutcomes:
    """The outcomes of the answers with these heads ablated by `ablated_heads`, in the sequences' order."""
    count = sum(len(batch.numbers) for batch in batches)
    log_prob, right = np.zeros(count), np.zeros(count, np.bool_)
    with ablated_heads(llava.model, heads, how, values):
        for batch in batches:
            log_prob[batch.numbers], right[batch.numbers] = _answers(llava.model, batch)
    return AnswerOutcomes(log_prob, right)


def _answers(model: Any, batch: Batch) -> tuple[NDArray[Any], NDArray[Any]]:
    logits = model.lm_head(_states(model.model.language_model, batch)).float()
    log_probs = np.asarray(logits.log_softmax(-1).gather(1, batch.ids[:, None])[:, 0].cpu(), np.float64)
    missed = (logits.argmax(-1) != batch.ids).cpu().numpy()
    sequence, n = batch.sequence.cpu().numpy(), len(batch.numbers)
    log_prob = np.bincount(sequence, np.where(batch.stop, 0.0, log_probs), minlength=n)
    return log_prob, np.bincount(sequence, missed, minlength=n) == 0


def _states(language: Any, batch: Batch) -> Tensor:
    """The states behind the last layer at the batch's queries, (query, d_model).

    The beginning that all sequences share, the system prompt, is read once for all of them.
    """
    cache = new_cache()
    options = {**cache_argument(language, cache), "use_cache": True}
    if batch.shared:
        language(inputs_embeds=batch.entering[:1, : batch.shared], **options)
        cache.batch_repeat_interleave(len(batch.numbers))
    rest = batch.entering[:, batch.shared :]
    states: Tensor = language(inputs_embeds=rest, **options).last_hidden_state
    return states[batch.sequence, batch.at - batch.shared]


@torch.inference_mode()
def head_means(llava: Llava, batches: Sequence[Batch]) -> dict[Head, Tensor]:
    """Every head's output before the output matrix, averaged over all tokens of these sequences; (d_head,)."""
    model: Any = llava.model
    language = decoder(model)
    sums: dict[int, Tensor] = defaultdict(lambda: torch.zeros(()))
    for batch in batches:
        watchers = {
            f"llm.layers.{layer}.attn_heads": partial(_add, sums, layer, batch.attended)
            for layer in range(language.depth)
        }
        with watching(model, watchers):
            model.model.language_model(inputs_embeds=batch.entering, use_cache=False)
    count = sum(int(batch.attended.sum()) for batch in batches)
    return {
        (layer, head): mean
        for layer, total in sums.items()
        for head, mean in enumerate((total / count).unflatten(0, (language.heads, -1)))
    }


def _add(sums: dict[int, Tensor], layer: int, attended: Tensor, outputs: Tensor) -> None:
    sums[layer] = sums[layer].to(outputs.device) + outputs.flatten(-2).float()[attended].sum(0)
