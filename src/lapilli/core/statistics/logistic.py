"""Logistic regression, and its cross-validated predictions."""

import numpy as np
from numpy.typing import NDArray

FOLDS = 10
REPEATS = 10

_RIDGE = 1.0  # on standardised columns: infinite weights would separate few positives perfectly
_STEPS = 50


def fitted(columns: NDArray[np.float64], positive: NDArray[np.bool_], ridge: float = _RIDGE) -> NDArray[np.float64]:
    """Return the weights (1 + column,), the constant's first, that minimise log loss + ridge / 2 · |weights|².

    `columns` are (answer, column). The constant has no penalty. Newton's method, with its steps halved where the loss
    would rise.
    """
    x = np.column_stack([np.ones(len(columns)), columns])
    penalty = np.diag([1e-9, *[ridge] * columns.shape[1]])
    weights = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        predicted = 1 / (1 + np.exp(-np.clip(x @ weights, -500, 500)))
        gradient = x.T @ (predicted - positive) + penalty @ weights
        step = np.linalg.solve((x.T * (predicted * (1 - predicted))) @ x + penalty, gradient)
        weights = _down(x, positive, penalty, weights, step)
        if np.abs(gradient).max() < 1e-9:
            break
    return weights


def out_of_fold(
    columns: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.intp], seed: int = 0
) -> NDArray[np.float64]:
    """Return the cross-validated logits, (answer,): of regressions on the other folds, the mean over REPEATS of folds.

    All answers of a group are in one fold, and groups with a positive are spread evenly over the folds. Columns are
    standardised by those of the training folds. The constant is left out: it is lower for a fold that has more of the
    positives, which would put them below the others (Parker, Günter & Bedo 2007, BMC Bioinformatics 8:326).
    """
    rng = np.random.default_rng(seed)
    logits = np.zeros(len(columns))
    for _ in range(REPEATS):
        fold = _folds(positive, groups, rng)
        for number in np.unique(fold):
            train, test = fold != number, fold == number
            middle, spread = columns[train].mean(0), columns[train].std(0)
            scaled = (columns - middle) / np.where(spread > 0, spread, 1.0)
            weights = fitted(scaled[train], positive[train])
            logits[test] += scaled[test] @ weights[1:] / REPEATS
    return logits


def _folds(positive: NDArray[np.bool_], groups: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """The fold of every answer, (answer,): groups with a positive are dealt out first, then the others."""
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
