"""What one traced answer says of every head, and of the colour words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.data.sample import Sample
from lapilli.inspection.attribution.contrast import answered
from lapilli.inspection.attribution.direct import head_outputs, readouts
from lapilli.inspection.attribution.increase import head_increases
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.studies.color.confidence import certain, width


@dataclass(frozen=True, eq=False)
class HeadReading:
    """Of the position that predicts the answer's first token; the right answer was given to be read.

    right       whether every token of the right answer, and its end, would have been the likeliest
    log_prob    of the right answer's tokens together, without its end, in nats
    increases   (layer, head)        of the log-probability of its first token (Yu & Ananiadou)
    certain     (layer, head)        the same of answers made equally certain; nan where it cannot be, see confidence.py
    wide        (layer, head)        the same with logits as wide as those given
    width       how wide the model's own logits are
    parts       (layer, head, word)  what each head adds to the logit of every word, less the mean of all logits
    logits      (word,)              the model's own, less their mean
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
    """Of a trace whose rows predict an answer that was given; `words` are tokens (word,), as `word_tokens` has them.

    `as_wide_as` is the width of the logits with which it is compared; its own where there are none.
    """
    one = trace.at(0)
    own = one.logits[0].cpu().numpy()
    target, ids = Target(), torch.from_numpy(words).to(trace.logits.device)
    directions = readouts(one, target, ids)
    outputs = torch.stack([head_outputs(one, layer)[0] for layer in range(one.decoder.depth)])
    right, log_prob = said_right(trace)
    return HeadReading(
        right=right,
        log_prob=log_prob,
        increases=head_increases(one)[0],
        certain=head_increases(one, certain(own, int(one.next_ids[0])))[0],
        wide=head_increases(one, 1.0 if as_wide_as is None else as_wide_as / width(own))[0],
        width=width(own),
        parts=torch.einsum("lhd,wd->lhw", outputs, directions).cpu().numpy(),
        logits=target.of_logits(one.logits.expand(len(ids), -1), ids).cpu().numpy(),
    )


def said_right(trace: Trace) -> tuple[bool, float]:
    """Whether the model would have said the answer that was given, to its end, and its log-probability without it."""
    ids = torch.from_numpy(trace.next_ids).to(trace.logits.device)
    log_probs = trace.logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    stops = np.append(trace.layout.role, Role.STOP)[trace.rows + 1] == Role.STOP
    right = bool((trace.logits.argmax(-1) == ids).all())
    return right, float(log_probs[torch.from_numpy(~stops).to(log_probs.device)].sum())


def word_tokens(llava: Llava, asking: Sample, words: Sequence[str]) -> NDArray[np.int64]:
    """The first token of every word as an answer to `asking`, (word,). Raises LapilliError where two are the same."""
    found = []
    for word in words:
        encoded = answered(llava, asking, word)
        found.append(int(encoded.ids[np.nonzero(encoded.layout.role == Role.ANSWER)[0][0]]))
    if len(set(found)) < len(found):
        raise LapilliError(
            f"two of the words {', '.join(words)} begin with one token; the study tells them apart by it"
        )
    return np.array(found, np.int64)


def ranks(logits: Tensor, words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of each word among all of `logits` (..., vocab), from 1; (..., word). Ties count in its favour."""
    chosen = logits[..., torch.from_numpy(words).to(logits.device)]
    above = torch.stack([(logits > chosen[..., word, None]).sum(-1) for word in range(len(words))], dim=-1)
    return np.asarray(above.cpu().numpy() + 1, np.int64)
