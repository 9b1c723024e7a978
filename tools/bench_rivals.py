"""Times MKA's way with numpy and scikit-learn, as its authors' script has it, on random data of a given size; prints JSON.

A diffusion map by a full singular value decomposition, mutual information by mutual_info_regression for every pair of layers and
coordinate, entropies by nearest neighbours, linear CKA by Gram matrices. Few layers and pairs are timed; the caller multiplies.

python3 tools/bench_rivals.py [SAMPLES FEATURES]
"""

import json
import sys
import time

import numpy as np
import sklearn
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

samples, features = (int(a) for a in sys.argv[1:3]) if len(sys.argv) > 2 else (2048, 4096)
rng = np.random.default_rng(1)


def seconds(run, repetitions):
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def diffusion_map(x, sigma=8.0, alpha=0.5, dimensions=2):
    kernel = np.exp(-np.sqrt(pairwise_distances(x) / sigma))
    p = kernel.sum(axis=0)
    kernel /= np.outer(p, p) ** alpha
    v = np.sqrt(kernel.sum(axis=0))
    u, _, _ = np.linalg.svd(kernel / np.outer(v, v))
    return u[:, 1 : dimensions + 1] / u[:, :1]


def mutual_information(x, y):
    return np.mean([mutual_info_regression(x, y[:, c], n_neighbors=5) for c in range(y.shape[1])])


def entropy(x, neighbors=50):
    distances, _ = NearestNeighbors(n_neighbors=neighbors).fit(x).kneighbors(x)
    return np.log(len(x)) - np.log(neighbors) + x.shape[1] * np.mean(np.log(distances[:, -1] + 1e-12))


layer = rng.standard_normal((samples, 8), np.float32) @ rng.standard_normal((8, features), np.float32)
layer += 0.1 * rng.standard_normal((samples, features), np.float32)
first = rng.standard_normal((samples, 2))
second = 0.9 * first + 0.44 * rng.standard_normal((samples, 2))
centered = layer - layer.mean(axis=0)
gram = centered @ centered.T

print(
    json.dumps(
        {
            "versions": f"Python {sys.version.split()[0]}, numpy {np.__version__}, scikit-learn {sklearn.__version__}",
            "diffusion_map_per_layer": seconds(lambda: diffusion_map(layer), 1),
            "npib_per_pair": seconds(lambda: mutual_information(first, second), 5),
            "npib_per_layer": seconds(lambda: entropy(first), 5),
            "cka_per_layer": seconds(lambda: centered @ centered.T, 3),
            "cka_per_pair": seconds(lambda: np.sum(gram * gram), 5),
        }
    )
)
