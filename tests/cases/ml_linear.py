"""Linear models."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import ml_linear as op

X = np.array([[0.5, -1, 2], [0, 0.25, 0], [-3, 1, 0.25]], np.float32)
W, B = (0.1, 0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.9), (0.1, -0.2, 0.3)
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
LABELS = {"classlabels_ints": (5, 6, 7)}


def classifier(id, x=X, w=W, b=B, labels=LABELS, **attributes):
    return Case(op.LinearClassifier(w, intercepts=b, **labels, **attributes), [x], id=id)


CASES = [
    *(Case(op.LinearRegressor(W[: 3 * n], B[:n], transform, n), [X], id=f"{transform}-{n}")
      for n in (1, 3) for transform in TRANSFORMS),
    Case(op.LinearRegressor((0.01, 0.02, 0.03), (0.4,), "PROBIT"), [X], id="PROBIT", rtol=1e-4),
    Case(op.LinearRegressor(W[:3]), [X], id="no-intercept"),
    Case(op.LinearRegressor(W[:6], targets=2), [X[0]], id="vector"),
    *(Case(op.LinearRegressor(W[:3], (0.5,)), [random(4, 3, dtype=dtype, low=-9, high=9)], id=np.dtype(dtype).name,
           oracle=lambda x: (x @ np.array(W[:3], np.float32)[:, None] + 0.5).astype(np.float32))
      for dtype in (np.float64, np.int64, np.int32)),
    Case(op.LinearRegressor(W[:3]), [X[:0]], lambda x: np.zeros((0, 1), np.float32), id="no-rows"),

    *(classifier(f"3-{transform}", post_transform=transform) for transform in TRANSFORMS),
    *(classifier(f"2-{transform}", w=W[:6], b=B[:2], labels={"classlabels_strings": ("a", "b")},
                 post_transform=transform) for transform in TRANSFORMS),
    *(classifier(f"single-{transform}", w=W[:3], b=(-0.2,), labels={"classlabels_ints": (5, 6)},
                 post_transform=transform, multi_class=1) for transform in TRANSFORMS),
    classifier("single-strings", w=W[:3], b=(-0.2,), labels={"classlabels_strings": ("a", "b")}),
    classifier("vector", X[0]),
    *(classifier(np.dtype(dtype).name, random(4, 3, dtype=dtype, low=-9, high=9))
      for dtype in (np.float64, np.int64, np.int32)),
]  # fmt: skip
