"""How far two modalities lie apart in one space: pictures and their captions, image and text tokens.

How well they match is `neighborhood_overlap` and `information_imbalance` of pictures and their captions, row by row.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.statistics.logistic import out_of_fold
from lapilli.inspection.measures.clusters import density_peaks
from lapilli.inspection.measures.points import (
    Array,
    Measured,
    centered,
    halving_error,
    halvings,
    in_one_space,
    mean_of,
)

_COMPONENTS = 32  # principal components that a probe reads


def modality_probe(image: Array, text: Array, seed: int = 0) -> Measured:
    """How often a linear probe tells which modality a state is of: .5 for modalities that lie alike, 1 for apart.

    Logistic regression on the first 32 principal components of all states, out of fold; both states of a sample are in
    the same fold. `samples` has the share of right ones of every sample. Its error ignores the folds:
    where modalities lie alike it is too small, and value ± 2 errors holds its mean in 80 of 100 cases, not in 95: test
    "alike" by swapping the modalities of random samples. Source: Alain & Bengio 2017, ICLR workshop.
    Raises LapilliError as `in_one_space` does; nan for fewer than 20 samples.
    """
    first, second = in_one_space(image, text)
    n = len(first)
    if n < 20:
        return Measured(math.nan, math.nan, n, n)
    columns = _components(torch.cat([first, second]))
    positive = np.arange(2 * n) < n
    logits = out_of_fold(columns, positive, np.tile(np.arange(n), 2), seed)
    right = np.where(logits == 0, 0.5, (logits > 0) == positive)
    return mean_of(right.reshape(2, n).mean(0))


def _components(points: Tensor) -> NDArray[np.float64]:
    """The first principal components that vary, (sample, component)."""
    near = centered(points)
    wide = near.shape[1] > len(near)
    values, vectors = torch.linalg.eigh(near @ near.T if wide else near.T @ near)
    kept = values.flip(0)[:_COMPONENTS] > values[-1] * 1e-12
    chosen = vectors.flip(1)[:, :_COMPONENTS][:, kept]
    components: Tensor = chosen * values.flip(0)[:_COMPONENTS][kept].sqrt() if wide else near @ chosen
    return np.asarray(components.cpu(), np.float64)


def centroid_distance(image: Array, text: Array) -> Measured:
    """The distance of the modalities' means over the spread within them: 0 for the same mean; no upper end.

    The spread is the root of the mean squared distance to the own mean; what the means differ by because they are
    those of few samples is taken off. Sources: Liang et al. 2022, NeurIPS 35, for the distance; the ratio is Cohen's d.
    Raises LapilliError as `in_one_space` does; nan for fewer than 4 samples and without spread.
    """
    first, second = (part.double().cpu().numpy() for part in in_one_space(image, text))
    n = len(first)
    if n < 4:
        return Measured(math.nan, math.nan, n, n)
    halves = [[_gap(first[half], second[half]) for half in (some, ~some)] for some in halvings(n)]
    return Measured(_gap(first, second), halving_error(np.array(halves)), n, n)


def _gap(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    n, means = len(first), [part[0] + (part - part[0]).mean(0) for part in (first, second)]  # a constant stays itself
    spreads = [float(((part - mean) ** 2).sum()) / (n - 1) for part, mean in zip((first, second), means, strict=True)]
    apart = float(((means[0] - means[1]) ** 2).sum()) - _mean_error(first, second)
    return math.sqrt(max(apart, 0.0) / (sum(spreads) / 2)) if sum(spreads) > 0 else math.nan


def _mean_error(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """What the squared distance of the means of pairs is expected to be of itself: the trace of their covariance."""
    differences = first - second
    return float(((differences - differences.mean(0)) ** 2).sum()) / (len(first) - 1) / len(first)


def cluster_homogeneity(image: Array, text: Array, k: int = 16, z: float = 1.65) -> Measured:
    """Whether clusters hold one modality each: 1 for pure clusters, 0 where they say nothing of the modality; scale k.

    h = 1 - H(modality | cluster) / H(modality) (Rosenberg & Hirschberg 2007, EMNLP-CoNLL, 410), of density peak
    clusters of all states. No error is known. Raises LapilliError as `in_one_space` does; nan for too few states.
    """
    first, second = in_one_space(image, text)
    states = torch.cat([first, second])
    if len(states) <= k + 2:
        return Measured(math.nan, math.nan, k, len(states))
    cluster = density_peaks(states, k, z)
    modality = np.repeat([0, 1], len(first))
    counts = np.zeros((int(cluster.max()) + 1, 2))
    np.add.at(counts, (cluster, modality), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(counts > 0, counts * np.log2(counts / counts.sum(1, keepdims=True)), 0)
    return Measured(1 + float(terms.sum()) / len(states), math.nan, k, len(states))
