"""Softmax, LogSoftmax and Hardmax."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import softmax as op

INF = np.inf
ties = np.array([[1, 3, 3, 2], [5, 5, 5, 5]], np.float32)


def softmax(x, axis=-1):
    e = np.exp((w := x.astype(np.float64)) - w.max(axis, keepdims=True))
    return (e / e.sum(axis, keepdims=True)).astype(x.dtype)


def log_softmax(x):
    w = x.astype(np.float64)
    return (w - w.max(-1, keepdims=True) - np.log(np.exp(w - w.max(-1, keepdims=True)).sum(-1, keepdims=True))).astype(
        x.dtype
    )


CASES = [
    *(
        Case(cls(axis=axis), [random(*shape, low=-3, high=3)], id=f"{shape}-{axis}")
        for cls in (op.Softmax, op.LogSoftmax, op.Hardmax)
        for shape, axis in [((2, 3), -1), ((2, 3), 0), ((5,), 0), ((2, 3, 4), 1), ((2, 3, 4), -2), ((2, 1, 3, 2), 3),
                            ((0, 3), -1), ((3, 1), -1)]
    ),
    *(
        Case(cls(), [random(3, 4, dtype=np.float64, low=-3, high=3)], id="float64", rtol=1e-13)
        for cls in (op.Softmax, op.LogSoftmax)
    ),
    Case(op.Hardmax(), [random(3, 4, dtype=np.float64)], "reference", id="float64"),
    *(
        Case(cls(), [random(3, 40, dtype=dtype, low=-3, high=3)], f, id=np.dtype(dtype).name, rtol=rtol)
        for cls, f in [(op.Softmax, softmax), (op.LogSoftmax, log_softmax)]
        for dtype, rtol in [(np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)]
    ),
    Case(op.Hardmax(), [random(3, 4, dtype=ml_dtypes.bfloat16)],
         lambda x: np.eye(4)[x.astype(np.float32).argmax(-1)].astype(x.dtype), id="bfloat16"),
    Case(op.Hardmax(), [ties], id="ties", grad=False),  # jumps
    Case(op.Hardmax(axis=0), [ties], id="ties-0", grad=False),  # jumps
    # Masked scores: infinities have no finite differences.
    *(
        Case(cls(), [np.array([[1, -INF, 2], [-INF, -INF, 0]], np.float32)], id="masked", grad=False)
        for cls in (op.Softmax, op.LogSoftmax)
    ),
    *(
        Case(cls(), [np.array([[1e4, -1e4, 9.99e3], [300, 299, -300]], np.float32)], id="large", grad=False)
        for cls in (op.Softmax, op.LogSoftmax)
    ),
]  # fmt: skip
