"""Readings: the predictions of a trace's queries, and of variants of its sequence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace

Predictions: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""The target, the log-probability and the likeliest token."""


@dataclass(frozen=True, eq=False)
class Readings:
    """The predictions of a trace's queries in every variant of its sequence, and in the trace itself.

    target            float32  (variant, query)  for the token that follows the query in the trace
    log_prob          float32  (variant, query)  of that token
    likeliest         int64    (variant, query)  the likeliest token in the variant
    clean_target, clean_log_prob, clean_likeliest  (query,)  the same in the trace
    """

    target: NDArray[np.float32]
    log_prob: NDArray[np.float32]
    likeliest: NDArray[np.int64]
    clean_target: NDArray[np.float32]
    clean_log_prob: NDArray[np.float32]
    clean_likeliest: NDArray[np.int64]

    @property
    def target_change(self) -> NDArray[np.float32]:
        """The target in each variant less that in the trace, in logits, (variant, query)."""
        return self.target - self.clean_target

    @property
    def log_prob_change(self) -> NDArray[np.float32]:
        """The token's log-probability in each variant less that in the trace, in nats, (variant, query)."""
        return self.log_prob - self.clean_log_prob


def clean(trace: Trace, target: Target) -> Predictions:
    """The predictions of a trace's queries; (query,) each."""
    return predictions(trace.logits, trace.next_ids, target)


@torch.inference_mode()
def predictions(logits: Tensor, ids: NDArray[np.int64], target: Target) -> Predictions:
    """The predictions of logits (..., vocab) for the tokens `ids`; (...,) each."""
    logits = logits.float()
    following = torch.from_numpy(ids).to(logits.device).expand(logits.shape[:-1])
    log_prob = logits.gather(-1, following[..., None])[..., 0] - logits.logsumexp(-1)
    tensors = target.of_logits(logits, following), log_prob, logits.argmax(-1)
    value, log_prob_of, likeliest = (part.cpu().numpy() for part in tensors)
    return value, log_prob_of, likeliest


def readings_of(variants: Predictions, unchanged: Predictions) -> Readings:
    """Make readings of the predictions of variants, (variant, query) each, and of the trace itself, (query,) each."""
    target, log_prob, likeliest = variants
    clean_target, clean_log_prob, clean_likeliest = unchanged
    return Readings(
        target=target,
        log_prob=log_prob,
        likeliest=likeliest,
        clean_target=clean_target,
        clean_log_prob=clean_log_prob,
        clean_likeliest=clean_likeliest,
    )


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate predictions along their first axis."""
    target, log_prob, likeliest = (np.concatenate(some) for some in zip(*parts, strict=True))
    return target, log_prob, likeliest


def joined(parts: Sequence[Readings]) -> Readings:
    """Join the variants of several readings of the same trace."""
    target, log_prob, likeliest = concatenated([(part.target, part.log_prob, part.likeliest) for part in parts])
    return replace(parts[0], target=target, log_prob=log_prob, likeliest=likeliest)
