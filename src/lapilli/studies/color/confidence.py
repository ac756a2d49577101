"""Models compared at the same sharpness of their logits, in two ways.

A model whose logits are all multiplied by 1.3 is more certain, and every head raises its answers' log-probability by
other amounts, though none has changed. To divide by the answer's whole gain of log-probability does not help: that
hardly depends on the factor, where the single increases do. So the logits are multiplied before increases are taken:

certain   by what gives the answer the probability LEVEL. This undoes a sharpening of any words that compete with the
          answer; but a model that was only damaged is less certain, and is sharpened by it: its heads seem to grow.
wide      by what makes them as wide as the base's, by their standard deviation over the vocabulary. A damaged model's
          logits are no narrower; but logits of the answers' words alone may be sharpened without becoming wider.

What has grown both ways is neither.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

LEVEL = 0.5
"""The probability at which all answers are compared: a likeliest answer has one like it, or a larger one."""


def certain(logits: NDArray[np.floating], token: int) -> float:
    """The factor by which logits (vocab,) are multiplied for `token` to have the probability LEVEL.

    nan where there is none, as the token is not the likeliest.
    """
    behind = np.delete(logits, token).astype(np.float64) - float(logits[token])
    if not behind.max() < 0:
        return math.nan
    wanted = math.log((1 - LEVEL) / LEVEL)
    most = (math.log(len(logits)) - wanted) / -behind.max()  # there the others together are surely below what is wanted
    return float(brentq(lambda factor: logsumexp(factor * behind) - wanted, 0.0, most, xtol=1e-12, rtol=1e-12))


def width(logits: NDArray[np.floating]) -> float:
    """The standard deviation of logits (vocab,)."""
    return float(logits.astype(np.float64).std())
