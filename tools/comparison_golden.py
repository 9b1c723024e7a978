"""Golden data of the comparison's statistics: packages/evaluate/test/golden/comparison.json.

    python tools/comparison_golden.py > packages/evaluate/test/golden/comparison.json

needs scipy and statsmodels. McNemar's exact p-values are statsmodels' (and scipy's binomtest, which must agree); Newcombe's intervals are put
together here from statsmodels' Wilson intervals; figures and percentile intervals of perplexities are those of numpy on draws that it makes itself,
so that they are to be met within the bootstrap's own noise.
"""

import json
import math

import numpy as np
import scipy
import statsmodels
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

TABLES = [
    (30, 12, 3, 5),
    (0, 0, 0, 1),
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (40, 0, 10, 0),
    (43, 7, 7, 43),
    (212, 31, 55, 702),
    (3900, 1000, 870, 8272),
    (0, 25, 0, 75),
    (5, 20, 20, 5),
]


def newcombe(both, lost, gained, neither):
    n = both + lost + gained + neither
    first, second = (both + lost) / n, (both + gained) / n
    l1, u1 = proportion_confint(both + lost, n, method="wilson")
    l2, u2 = proportion_confint(both + gained, n, method="wilson")
    product = both * neither - lost * gained
    if product > n / 2:
        product -= n / 2
    elif product >= 0:
        product = 0
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    phi = product / math.sqrt(margins) if margins else 0
    down = (second - l2) ** 2 - 2 * phi * (second - l2) * (u1 - first) + (u1 - first) ** 2
    up = (u2 - second) ** 2 - 2 * phi * (u2 - second) * (first - l1) + (first - l1) ** 2
    d = second - first
    return d, d - math.sqrt(max(0, down)), d + math.sqrt(max(0, up))


def answers(table):
    both, lost, gained, neither = table
    p = mcnemar([[both, lost], [gained, neither]], exact=True).pvalue
    if lost + gained > 0:
        assert math.isclose(p, binomtest(lost, lost + gained).pvalue, rel_tol=1e-9)
    else:
        p = 1.0
    value, low, high = newcombe(*table)
    return dict(both=both, lost=lost, gained=gained, neither=neither, p_value=float(p), value=value, low=low, high=high)


def perplexities():
    rng = np.random.default_rng(7)
    words = rng.integers(50, 400, 60)
    first = -words * (3 + 0.4 * rng.standard_normal(60))
    second = first - words * (0.05 + 0.1 * rng.standard_normal(60))
    first, second = np.round(first, 6), np.round(second, 6)
    drawn = rng.integers(0, 60, (200_000, 60))
    figure = lambda v: np.exp(-v[drawn].sum(1) / words[drawn].sum(1))
    a, b = figure(first), figure(second)
    whole = lambda v: math.exp(-v.sum() / words.sum())
    return dict(
        words=words.tolist(),
        first=first.tolist(),
        second=second.tolist(),
        figures=[whole(first), whole(second)],
        difference=np.quantile(b - a, [0.025, 0.975]).tolist(),
        ratio=np.quantile(b / a, [0.025, 0.975]).tolist(),
    )


made_with = f"scipy {scipy.__version__}, statsmodels {statsmodels.__version__}, numpy {np.__version__}"
golden = dict(generator=f"tools/comparison_golden.py: {made_with}", answers=[answers(t) for t in TABLES], perplexities=perplexities())
print(json.dumps(golden))
