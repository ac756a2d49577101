"""The measures again, by their formulas, in float64 and with all pairs at once."""

import numpy as np
from scipy.spatial.distance import cdist


def distances(points):
    return cdist(np.asarray(points, np.float64), np.asarray(points, np.float64))


def order(points):
    """The neighbors of every point, nearest first, (sample, sample - 1)."""
    apart = distances(points)
    np.fill_diagonal(apart, np.inf)
    return apart.argsort(1, kind="stable")[:, :-1]


def overlap(x, y, k):
    n = len(x)
    shared = np.mean([len({*a} & {*b}) / k for a, b in zip(order(x)[:, :k], order(y)[:, :k], strict=True)])
    return (shared - k / (n - 1)) / (1 - k / (n - 1))


def imbalance(x, y):
    ranks = [1 + list(others).index(near) for near, others in zip(order(x)[:, 0], order(y), strict=True)]
    return 2 / len(x) * np.mean(ranks)


def centering(n):
    return np.eye(n) - 1 / n


def unbiased(k, l):  # noqa: E741 - as in Song et al. 2012
    m = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(m)
    parts = np.trace(k @ l), (one @ k @ one) * (one @ l @ one) / ((m - 1) * (m - 2)), 2 / (m - 2) * (one @ k @ l @ one)
    return (parts[0] + parts[1] - parts[2]) / (m * (m - 3))


def biased(k, l):  # noqa: E741
    h = centering(len(k))
    return np.trace(h @ k @ h @ l) / len(k) ** 2


def alignment(k, l, hsic):  # noqa: E741
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def linear(points):
    points = np.asarray(points, np.float64)
    points = points - points.mean(0)  # a shift changes nothing but the rounding
    return points @ points.T


def distance_correlation(x, y):
    """By U-centered matrices (Szekely & Rizzo 2014)."""

    def centered(points):
        a, n = distances(points), len(points)
        u = a - a.sum(0) / (n - 2) - a.sum(1)[:, None] / (n - 2) + a.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(u, 0)
        return u

    a, b = centered(x), centered(y)
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def procrustes(x, y):
    x, y = (part - part.mean(0) for part in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return 2 - 2 * np.linalg.svd(x.T @ y, compute_uv=False).sum()


def entropy(points):
    near = np.asarray(points, np.float64) - np.mean(points, 0, dtype=np.float64)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    shares = np.linalg.svd(near, compute_uv=False) ** 2 / len(near)
    shares = shares[shares > 1e-15]
    return -(shares * np.log(shares)).sum() / np.log(min(len(points) - 1, points.shape[1]))


def participation(points):
    """By all sets of four samples: (x1 - x2)²(x3 - x4)² over the unbiased squared covariance."""
    n, apart = len(points), distances(points) ** 2
    total = sum(
        apart[i, j] * apart[k, m]
        for i in range(n) for j in range(n) for k in range(n) for m in range(n)
        if len({i, j, k, m}) == 4
    )  # fmt: skip
    return total / (n * (n - 1) * (n - 2) * (n - 3)) / 4 / unbiased(linear(points), linear(points))


def mean_cosine(points):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return cosines[~np.eye(len(points), dtype=bool)].mean()


def jackknife(measure, *arrays):
    """The standard error by leaving out one sample after the other."""
    n = len(arrays[0])
    values = np.array([measure(*(np.delete(array, row, 0) for array in arrays)) for row in range(n)])
    return np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
