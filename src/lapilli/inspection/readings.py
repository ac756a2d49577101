"""What the rows of a trace predict, and what they would predict if something were otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace

Said: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Target, log-probability and likeliest token."""


@dataclass(frozen=True, eq=False)
class Readings:
    """What the rows of a trace predict in every variant of its sequence, and in the trace itself.

    target            float32  (variant, row)  for the token that follows the row in the trace
    log_prob          float32  (variant, row)  of that token
    likeliest         int64    (variant, row)  the token that the variant would say
    clean_target, clean_log_prob, clean_likeliest  (row,)  the same in the trace
    """

    target: NDArray[np.float32]
    log_prob: NDArray[np.float32]
    likeliest: NDArray[np.int64]
    clean_target: NDArray[np.float32]
    clean_log_prob: NDArray[np.float32]
    clean_likeliest: NDArray[np.int64]

    @property
    def target_change(self) -> NDArray[np.float32]:
        """Of every variant against the trace, in logits, (variant, row): below 0 where what is otherwise had helped."""
        return self.target - self.clean_target

    @property
    def log_prob_change(self) -> NDArray[np.float32]:
        """The same in nats, of the token's log-probability."""
        return self.log_prob - self.clean_log_prob


def clean(trace: Trace, target: Target) -> Said:
    """What a trace's rows predict; (row,) each."""
    return said(trace.logits, trace.next_ids, target)


@torch.inference_mode()
def said(logits: Tensor, ids: NDArray[np.int64], target: Target) -> Said:
    """What logits (..., vocab) say of the tokens `ids`, and which they prefer; (...,) each."""
    logits = logits.float()
    following = torch.from_numpy(ids).to(logits.device).expand(logits.shape[:-1])
    log_prob = logits.gather(-1, following[..., None])[..., 0] - logits.logsumexp(-1)
    found = target.of_logits(logits, following), log_prob, logits.argmax(-1)
    value, log_prob_of, likeliest = (part.cpu().numpy() for part in found)
    return value, log_prob_of, likeliest


def beside(first: Readings, second: Readings) -> Readings:
    """The variants of both, of the same sequence."""
    parts = [(one.target, one.log_prob, one.likeliest) for one in (first, second)]
    target, log_prob, likeliest = together(parts)
    return replace(first, target=target, log_prob=log_prob, likeliest=likeliest)


def together(parts: Sequence[Said]) -> Said:
    """Several along their first axis."""
    target, log_prob, likeliest = (np.concatenate(some) for some in zip(*parts, strict=True))
    return target, log_prob, likeliest


def joined(parts: Sequence[Readings]) -> Readings:
    """Readings of the same trace, one after the other."""
    found = together([(part.target, part.log_prob, part.likeliest) for part in parts])
    first = parts[0]
    return Readings(*found, first.clean_target, first.clean_log_prob, first.clean_likeliest)
