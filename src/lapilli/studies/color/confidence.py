"""Models compared at the same sharpness of their logits, in two ways.

A model whose logits are all multiplied by 1.3 is more certain, and every head raises its answers' log-probability by
other amounts, though no head has changed. Division by the answer's whole gain of log-probability does not help: the
gain hardly depends on the factor, and the single increases do. So the logits are multiplied by a factor before
increases are computed:

certain   the factor that gives the answer the probability LEVEL. It undoes a sharpening of any words that compete with
          the answer; but a damaged model is less certain, and is sharpened by it: its heads seem to grow.
wide      the factor that makes the logits as wide as the base's, by their standard deviation over the vocabulary. A
          damaged model's logits are not narrower; but logits of the answers' words alone may be sharpened without
          becoming wider.

Growth by both measures is neither artefact.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

LEVEL = 0.5
"""The probability at which all answers are compared: a likeliest answer has one like it, or a larger one."""


def certain(logits: NDArray[np.floating], token: int) -> float:
    """The factor of logits (vocab,) that gives `token` the probability LEVEL; nan where it is not the likeliest."""
    behind = np.delete(logits, token).astype(np.float64) - float(logits[token])
    if not behind.max() < 0:
        return math.nan
    wanted = math.log((1 - LEVEL) / LEVEL)
    most = (math.log(len(logits)) - wanted) / -behind.max()  # here the others together are surely below `wanted`
    return float(brentq(lambda factor: logsumexp(factor * behind) - wanted, 0.0, most, xtol=1e-12, rtol=1e-12))


def width(logits: NDArray[np.floating]) -> float:
    """The standard deviation of logits (vocab,)."""
    return float(logits.astype(np.float64).std())
