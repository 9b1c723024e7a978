"""Makes update-maps.json: maps on an update that numpy and scipy find. Usage: python update_maps.py > update-maps.json"""
import json

import numpy as np
from scipy.optimize import minimize

rng = np.random.default_rng(7)
tokens, size = 60, 6
update = rng.normal(size=(tokens, size)).astype(np.float32)
rest = rng.normal(size=(tokens, size)).astype(np.float32)
# A few tokens are far larger than the others, as in trained models: least squares and cosine then want different maps.
scale = np.exp(1.5 * rng.normal(size=(tokens, 1)))
target = (scale * (update @ rng.normal(size=(size, size)) + rest + 0.5 * rng.normal(size=(tokens, size)))).astype(np.float32)

m, y, z = (x.astype(np.float64) for x in (update, rest, target))
ridge = 1e-6
gram = m.T @ m
damped = gram + ridge * np.trace(gram) / size * np.eye(size)
least_squares = np.linalg.solve(damped, m.T @ (z - y))


def negative_cosine(flat):
    t = flat.reshape(size, size)
    p = m @ t + y
    r = np.linalg.norm(p, axis=1, keepdims=True)
    s = np.linalg.norm(z, axis=1, keepdims=True)
    c = np.sum(p * z, axis=1, keepdims=True) / (r * s)
    gradient = m.T @ (z / (r * s) - c * p / r**2) / tokens
    return -c.mean(), -gradient.ravel()


found = minimize(negative_cosine, least_squares.ravel(), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
print(
    json.dumps(
        {
            "tokens": tokens,
            "size": size,
            "update": update.ravel().tolist(),
            "rest": rest.ravel().tolist(),
            "target": target.ravel().tolist(),
            "ridge": ridge,
            "leastSquares": least_squares.ravel().tolist(),
            "leastSquaresCosine": -negative_cosine(least_squares.ravel())[0],
            "largestCosine": -found.fun,
        }
    )
)
