"""Points on manifolds of known dimension, alike in every process and release of numpy. Needs numpy alone."""

import numpy as np

N = 1_000
WIDTH = 4_096
SIDES = 2, 5, 10, 20
NOISE = 1e-4


def line(rng):
    return rng.random((N, 1))


def sphere(rng):
    points = rng.standard_normal((N, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def swiss_roll(rng):
    turn, height = 1.5 * np.pi * (1 + 2 * rng.random(N)), 21 * rng.random(N)
    return np.column_stack([turn * np.cos(turn), height, turn * np.sin(turn)]) / 20


def cube(dimension):
    return lambda rng: rng.random((N, dimension))


MAKERS = {"line": line, "sphere": sphere, "swiss roll": swiss_roll} | {f"cube {d}": cube(d) for d in SIDES}
DIMENSIONS = {"line": 1, "sphere": 2, "swiss roll": 2} | {f"cube {d}": d for d in SIDES}


def manifold(name, noise=0.0):
    """Points (N, WIDTH), float32, of a manifold that a random rotation lays into so many dimensions."""
    rng = np.random.default_rng(sorted(MAKERS).index(name))
    points = MAKERS[name](rng)
    directions, _ = np.linalg.qr(rng.standard_normal((WIDTH, points.shape[1])))
    return (points @ directions.T + noise * rng.standard_normal((N, WIDTH))).astype(np.float32)
