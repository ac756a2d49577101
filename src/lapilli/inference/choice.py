"""The likeliest of several answers to a question: what a model believes, whatever it would say by itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lapilli.data.collate import collate
from lapilli.data.encode import IGNORED, Encoded, encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.greedy import Pictures, open_named, require_numbers, require_room
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.reading import quiet

_AT_ONCE = 32  # answers of a batch


def answer_losses(
    llava: Llava, samples: Sequence[Sample], candidates: Sequence[Sequence[str]], images: Pictures
) -> list[NDArray[np.float64]]:
    """The negative log-likelihood of each sample's candidates as its answer, in nats; (candidate,) for each sample.

    It is the sum over the answer's tokens and the stop behind it, so that the candidates' probabilities are parts of
    one whole. Samples end with a question. Raises LapilliError for one that cannot be encoded, that is too long, or
    whose picture cannot be opened, and where the model computes no numbers.
    """
    answers = [
        _last_learned(encode(_answered(sample, text), llava.codec))
        for sample, texts in zip(samples, candidates, strict=True)
        for text in texts
    ]
    losses = np.empty(len(answers))
    order = sorted(range(len(answers)), key=lambda index: -len(answers[index].ids))
    for start in range(0, len(order), _AT_ONCE):
        chosen = order[start : start + _AT_ONCE]
        losses[chosen] = _losses(llava, [answers[index] for index in chosen], images)
    ends = np.cumsum([len(texts) for texts in candidates])[:-1]
    return list(np.split(losses, ends))


def chooser_of(
    llava: Llava, candidates: Mapping[str, Sequence[str]]
) -> Callable[[Sequence[Sample], Pictures], list[str]]:
    """Return a function that answers samples with the likeliest of the candidates under their names."""

    def respond(samples: Sequence[Sample], images: Pictures) -> list[str]:
        texts = [candidates[sample.id] for sample in samples]
        losses = answer_losses(llava, samples, texts, images)
        return [of[int(loss.argmin())] for of, loss in zip(texts, losses, strict=True)]

    return respond


def _answered(sample: Sample, text: str) -> Sample:
    return Sample(sample.id, sample.images, (*sample.turns, Turn("assistant", text)))


def _last_learned(encoded: Encoded) -> Encoded:
    """With the labels of the last answer alone."""
    labels = np.full_like(encoded.labels, IGNORED)
    labels[encoded.layout.last_answer] = encoded.labels[encoded.layout.last_answer]
    return replace(encoded, labels=labels)


def _losses(llava: Llava, batch: Sequence[Encoded], images: Pictures) -> NDArray[np.float64]:
    """The summed losses of the last answers of a batch, (sample,)."""
    require_room(llava, len(batch[0].ids), 0, f"sample {batch[0].id!r}", "shorten the sample")
    pictures = (open_named(images, name, f"sample {one.id!r}") for one in batch for name in one.images)
    pixels = llava.pixels(pictures) if any(one.images for one in batch) else None
    inputs = collate(batch, llava.processor.tokenizer.pad_token_id, "left", pixels)
    labels = inputs.pop("labels")
    learned = (labels != IGNORED).sum(1)
    inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    model: Any = llava.model.eval()
    kept = int(learned.max()) + 1  # answers stand at the end: the logits of their tokens and of the one before
    with torch.inference_mode(), quiet():
        logits = model(**placed(inputs, model), use_cache=False, logits_to_keep=kept).logits[:, :-1].float().cpu()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, -logits.shape[1] :], ignore_index=IGNORED, reduction="none"
        )
    require_numbers(inputs["input_ids"], logits[:, -1])
    return np.asarray(losses.double().sum(1).numpy(), np.float64)
