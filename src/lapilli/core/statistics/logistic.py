"""Logistic regression, and what it says of answers that it has not seen."""

import numpy as np
from numpy.typing import NDArray

FOLDS = 10
REPEATS = 10

_RIDGE = 1.0  # on standardised columns: few positives would be told apart perfectly, by infinite weights
_STEPS = 50


def fitted(columns: NDArray[np.float64], positive: NDArray[np.bool_], ridge: float = _RIDGE) -> NDArray[np.float64]:
    """The weights (1 + column,), the constant's first, that minimise the log loss + ridge / 2 · |weights|².

    By Newton's method, its steps halved where they lead up; the constant is free. `columns` are (answer, column).
    """
    x = np.column_stack([np.ones(len(columns)), columns])
    penalty = np.diag([1e-9, *[ridge] * columns.shape[1]])
    weights = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        said = 1 / (1 + np.exp(-np.clip(x @ weights, -500, 500)))
        gradient = x.T @ (said - positive) + penalty @ weights
        step = np.linalg.solve((x.T * (said * (1 - said))) @ x + penalty, gradient)
        weights = _down(x, positive, penalty, weights, step)
        if np.abs(gradient).max() < 1e-9:
            break
    return weights


def out_of_fold(
    columns: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.intp], seed: int = 0
) -> NDArray[np.float64]:
    """What regressions on the other folds say of every answer, in logits, (answer,): the mean over REPEATS of folds.

    All answers of a group are in one fold, and folds have as many groups with a positive as can be. Columns are
    standardised by those learned from. The constant is left out: it is lower for a fold that has more of the positives,
    which would put them below the others (Parker, Günter & Bedo 2007, BMC Bioinformatics 8:326).
    """
    rng = np.random.default_rng(seed)
    found = np.zeros(len(columns))
    for _ in range(REPEATS):
        fold = _folds(positive, groups, rng)
        for number in np.unique(fold):
            kept, asked = fold != number, fold == number
            middle, spread = columns[kept].mean(0), columns[kept].std(0)
            scaled = (columns - middle) / np.where(spread > 0, spread, 1.0)
            weights = fitted(scaled[kept], positive[kept])
            found[asked] += scaled[asked] @ weights[1:] / REPEATS
    return found


def _folds(positive: NDArray[np.bool_], groups: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """The fold of every answer: groups with a positive are dealt out first, then the others go on."""
    names, group = np.unique(groups, return_inverse=True)
    has = np.bincount(group, positive, len(names)) > 0
    dealt = np.concatenate([rng.permutation(np.flatnonzero(which)) for which in (has, ~has)])
    of_name = np.empty(len(names), np.intp)
    of_name[dealt] = np.arange(len(names)) % FOLDS
    return of_name[group]


def _down(
    x: NDArray[np.float64],
    positive: NDArray[np.bool_],
    penalty: NDArray[np.float64],
    weights: NDArray[np.float64],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The weights after as much of the step as lowers the loss."""

    def loss(at: NDArray[np.float64]) -> float:
        z = x @ at
        return float(np.logaddexp(0, np.where(positive, -z, z)).sum() + at @ penalty @ at / 2)

    before, share = loss(weights), 1.0
    while loss(weights - share * step) > before and share > 1e-6:
        share /= 2
    return weights - share * step
