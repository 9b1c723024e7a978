"""Makes mka-released-code.json: the formulas of MKA's published script on the points of information.json.

The mutual information of scikit-learn breaks ties by noise, so mean and standard deviation over 40 seeds are kept.
Run in this folder with numpy 2.4.6 and scikit-learn 1.9.1.
"""

import json

import numpy as np
import sklearn
from sklearn.feature_selection import mutual_info_regression
from sklearn.neighbors import NearestNeighbors


def entropy(x, k):
    n, d = x.shape
    distance = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]
    return -np.mean(np.log(k / (n * distance**d)))


def information(x, y, k, seed):
    columns = [mutual_info_regression(x, y[:, j], n_neighbors=k, random_state=seed) for j in range(y.shape[1])]
    return np.mean(columns)


def similarity(x, y):
    values = [information(x, y, 5, seed) / np.sqrt(entropy(x, 50) * entropy(y, 50)) for seed in range(40)]
    return {"mean": np.mean(values), "deviation": np.std(values)}


cases = []
for case in json.load(open("information.json"))["cases"]:
    x, y = (np.argsort(np.argsort(np.array(case[name]), axis=0), axis=0) / len(case[name]) for name in "xy")
    cases.append({"rho": case["rho"], "entropy_x": entropy(x, 50), "xy": similarity(x, y), "xx": similarity(x, x)})
versions = {"numpy": np.__version__, "sklearn": sklearn.__version__}
json.dump({"versions": versions, "rtol": 1e-9, "cases": cases}, open("mka-released-code.json", "w"), indent=1)
