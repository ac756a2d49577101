"""Readings of every head, and of the color words, from one traced answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.data.sample import Sample
from lapilli.inspection.attribution.direct import head_outputs, readouts
from lapilli.inspection.attribution.increase import head_increases
from lapilli.inspection.recording import answered
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.studies.color.confidence import certain, width


@dataclass(frozen=True, eq=False)
class HeadReading:
    """The heads at the position that predicts the first token of the right answer.

    right       whether every token of the right answer, and its end, is the likeliest
    log_prob    the log-probability of the right answer without its end, in nats
    increases   (layer, head)        the increase of its first token's log-probability (Yu & Ananiadou)
    certain     (layer, head)        the increase with equally certain answers; nan where impossible (confidence.py)
    wide        (layer, head)        the increase with logits as wide as `as_wide_as`
    width       the width of the model's own logits
    parts       (layer, head, word)  each head's contribution to the centred logit of every word
    logits      (word,)              the model's own centred logits
    """

    right: bool
    log_prob: float
    increases: NDArray[np.float32]
    certain: NDArray[np.float32]
    wide: NDArray[np.float32]
    width: float
    parts: NDArray[np.float32]
    logits: NDArray[np.float32]


@torch.inference_mode()
def read_heads(trace: Trace, words: NDArray[np.int64], as_wide_as: float | None = None) -> HeadReading:
    """Read the heads of a trace of the right answer; `words` are tokens (word,) of `word_tokens`.

    `as_wide_as` is the width of the logits to compare with, by default the model's own.
    """
    first = trace.at(0)
    own = first.logits[0].cpu().numpy()
    target, ids = Target(), torch.from_numpy(words).to(trace.logits.device)
    directions = readouts(first, target, ids)
    outputs = torch.stack([head_outputs(first, layer)[0] for layer in range(first.decoder.depth)])
    right, log_prob = said_right(trace)
    return HeadReading(
        right=right,
        log_prob=log_prob,
        increases=head_increases(first)[0],
        certain=head_increases(first, certain(own, int(first.next_ids[0])))[0],
        wide=head_increases(first, 1.0 if as_wide_as is None else as_wide_as / width(own))[0],
        width=width(own),
        parts=torch.einsum("lhd,wd->lhw", outputs, directions).cpu().numpy(),
        logits=target.of_logits(first.logits.expand(len(ids), -1), ids).cpu().numpy(),
    )


def said_right(trace: Trace) -> tuple[bool, float]:
    """Whether the model would say the traced answer, to its end, and its log-probability without the end, in nats."""
    ids = torch.from_numpy(trace.next_ids).to(trace.logits.device)
    log_probs = trace.logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    right = bool((trace.logits.argmax(-1) == ids).all())
    return right, float(log_probs[torch.from_numpy(~trace.stops).to(log_probs.device)].sum())


def word_tokens(llava: Llava, asking: Sample, words: Sequence[str]) -> NDArray[np.int64]:
    """The first token of every word as an answer to `asking`, (word,). Raises LapilliError where two are the same."""
    tokens = []
    for word in words:
        encoded = answered(llava, asking, word)
        tokens.append(int(encoded.ids[np.nonzero(encoded.layout.role == Role.ANSWER)[0][0]]))
    if len(set(tokens)) < len(tokens):
        raise LapilliError(
            f"two of the words {', '.join(words)} begin with one token; the study tells them apart by it"
        )
    return np.array(tokens, np.int64)


def ranks(logits: Tensor, words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of each word among all of `logits` (..., vocab), from 1; (..., word). Ties count in its favour."""
    chosen = logits[..., torch.from_numpy(words).to(logits.device)]
    above = torch.stack([(logits > chosen[..., word, None]).sum(-1) for word in range(len(words))], dim=-1)
    return np.asarray(above.cpu().numpy() + 1, np.int64)
