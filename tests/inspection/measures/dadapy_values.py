"""What DADApy says of the manifolds, into dadapy_values.json beside this file.

    python3.11 -m venv ENV && ENV/bin/pip install dadapy==0.3.4 "numpy<2" && ENV/bin/python dadapy_values.py

DADApy wants an older numpy than the package does: it has an environment of its own, and the tests read the file.
"""

import json
from pathlib import Path

import numpy as np
from dadapy import Data
from manifolds import MAKERS, NOISE, manifold

K = 30
CLUSTERS = {"k": 16, "Z": 1.65}


def noisy(points, seed):
    """The points, moved a little in every dimension."""
    return (points + 0.002 * np.random.default_rng(seed).standard_normal(points.shape)).astype(np.float32)


def blobs():
    """Three groups of points in five dimensions, two of them close together."""
    rng = np.random.default_rng(7)
    return np.concatenate([rng.standard_normal((150, 5)) + shift for shift in (0, 3, 12)])


def values(name, noise):
    points = manifold(name, noise)
    data = Data(coordinates=points, maxk=100, n_jobs=1)
    ids, errors, distances = data.return_id_scaling_gride(range_max=64)
    pair = Data(coordinates=points, maxk=100, n_jobs=1), noisy(points, 1)
    return {
        "checksum": float(np.abs(points).astype(np.float64).sum()),
        "two_nn": float(Data(coordinates=points, n_jobs=1).compute_id_2NN(algorithm="base", mu_fraction=0.9)[0]),
        "gride": ids.tolist(),
        "gride_error": errors.tolist(),
        "distance": distances.tolist(),
        "overlap": float(pair[0].return_data_overlap(coordinates=pair[1], k=K)),
    }


def clusters():
    data = Data(coordinates=blobs(), maxk=60, n_jobs=1)
    data.compute_id_2NN()
    data.compute_density_kNN(k=CLUSTERS["k"])
    return np.asarray(data.compute_clustering_ADP(Z=CLUSTERS["Z"])).tolist()


if __name__ == "__main__":
    manifolds = {f"{name}, noise {noise}": values(name, noise) for name in sorted(MAKERS) for noise in (0.0, NOISE)}
    file = Path(__file__).with_suffix(".json")
    file.write_text(json.dumps({"manifolds": manifolds, "clusters": clusters()}, indent=1) + "\n")
