"""Support vector machines."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import ml_svm as op

X = random(7, 3, low=-2, high=2)
PARAMS = {"LINEAR": (0.0, 0.0, 0.0), "POLY": (0.5, 0.25, 3.0), "RBF": (0.7, 0.0, 0.0), "SIGMOID": (0.5, 0.25, 0.0)}
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def numbers(n, seed=0, low=-1.0):
    return tuple(map(float, random(n, seed=seed, low=low, high=1.0)))


def regressor(id, kernel="RBF", x=X, oracle="onnxruntime", **attributes):
    vectors = {"support_vectors": numbers(15), "coefficients": numbers(5, 1), "n_supports": 5, "rho": (0.2,)}
    machine = op.SVMRegressor(kernel_type=kernel, kernel_params=PARAMS[kernel], **{**vectors, **attributes})
    return Case(machine, [x], oracle, id=id, rtol=2e-5, atol=2e-6)


def rbf(x):
    """The kernel of `regressor`."""
    v = np.array(numbers(15)).reshape(5, 3)
    return np.exp(-0.7 * ((x[:, None] - v) ** 2).sum(2))


def classifier(id, each=(2, 3, 1), kernel="RBF", x=X, **attributes):
    k, n = len(each), sum(each)
    labels = {} if "classlabels_strings" in attributes else {"classlabels_ints": tuple(range(5, 5 + k))}
    pairs = k * (k - 1) // 2
    machine = op.SVMClassifier(
        kernel_type=kernel, kernel_params=PARAMS[kernel], support_vectors=numbers(3 * n), vectors_per_class=each,
        coefficients=numbers((k - 1) * n, 1), rho=numbers(pairs, 2), **labels, **attributes)  # fmt: skip
    # Coupled probabilities are what an iteration ends with: graphc has no gradient for them.
    return Case(machine, [x], id=id, rtol=2e-5, atol=2e-6, grad="prob_a" not in attributes)


def probabilities(pairs):
    return {"prob_a": numbers(pairs, 3, -2.0), "prob_b": numbers(pairs, 4)}


def linear(id, labels, w, **attributes):
    return Case(op.SVMClassifier(kernel_params=PARAMS["LINEAR"], coefficients=w, rho=(0.1,), classlabels_ints=labels,
                                 **attributes), [X], id=id)  # fmt: skip


CASES = [
    *(regressor(kernel, kernel) for kernel in op.KERNELS),
    *(regressor(transform, post_transform=transform) for transform in TRANSFORMS[1:]),
    regressor("one-class", one_class=True, rho=(-0.1,)),
    *(regressor(f"no-vectors-{x.ndim}", "LINEAR", x, n_supports=0, support_vectors=None, coefficients=numbers(3))
      for x in (X, X[0])),
    regressor("float64", x=X.astype(np.float64),
              oracle=lambda x: (rbf(x) @ np.array(numbers(5, 1))[:, None] + 0.2).astype(np.float32)),

    *(classifier(kernel, kernel=kernel) for kernel in op.KERNELS),
    *(classifier(f"3-{transform}", post_transform=transform) for transform in TRANSFORMS[1:]),
    *(classifier(f"2-{transform}", (2, 3), post_transform=transform) for transform in TRANSFORMS),
    *(classifier(f"{len(each)}-probabilities-{transform}", each, post_transform=transform,
                 **probabilities(len(each) * (len(each) - 1) // 2))
      for each in ((2, 2), (2, 1, 3), (1, 2, 1, 1, 2)) for transform in ("NONE", "SOFTMAX", "LOGISTIC")),
    classifier("strings", (1, 2), classlabels_strings=("a", "b")),
    classifier("vector", x=X[0]),
    *(classifier(np.dtype(dtype).name, x=(3 * X).astype(dtype)) for dtype in (np.float64, np.int64, np.int32)),
    *(linear(f"no-vectors-{transform}", (5, 6, 7), numbers(9), post_transform=transform) for transform in TRANSFORMS),
]  # fmt: skip
