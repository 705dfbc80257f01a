"""Losses of classification."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import loss as op

REDUCTIONS = ("none", "sum", "mean")


def labels(*shape: int, dtype: type = np.int64, ignored: int | None = None) -> np.ndarray:
    """Labels of four classes; the first is `ignored`, if that is given."""
    found = random(*shape, dtype=dtype, low=0, high=4, seed=3)
    if ignored is not None:
        found.flat[0] = ignored
    return found


def log_softmax(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide - np.log(np.exp(wide).sum(1, keepdims=True))).astype(x.dtype)


def mean_loss(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    logs = log_softmax(scores.astype(np.float64))
    return np.asarray(-np.take_along_axis(logs, classes[:, np.newaxis], 1).mean()).astype(scores.dtype)


WEIGHTS = random(4, low=0.5, high=2, seed=5)

CASES = [
    *(Case(cls(reduction), [random(3, 4, *rest, low=-2, high=2), labels(3, *rest), *weights],
           id=f"{reduction}-{rest}-{len(weights)}")
      for cls in (op.NegativeLogLikelihoodLoss, op.SoftmaxCrossEntropyLoss) for reduction in REDUCTIONS
      for rest in ((), (2,), (2, 2)) for weights in ([], [WEIGHTS])),
    *(Case(cls(reduction, ignored), [random(3, 4, *rest, low=-2, high=2), labels(3, *rest, ignored=ignored), *weights],
           id=f"ignore={ignored}-{reduction}-{rest}-{len(weights)}")
      for cls in (op.NegativeLogLikelihoodLoss, op.SoftmaxCrossEntropyLoss) for reduction in REDUCTIONS
      for ignored, rest in ((0, ()), (-100, (2,)), (255, ())) for weights in ([], [WEIGHTS])),
    *(Case(op.SoftmaxCrossEntropyLoss(reduction, outputs=2), [random(3, 4, *rest, low=-2, high=2), labels(3, *rest)],
           id=f"log-{reduction}-{rest}")
      for reduction in REDUCTIONS for rest in ((), (2,))),
    *(Case(cls(), [random(3, 4), labels(3, dtype=np.int32)], id="int32")
      for cls in (op.NegativeLogLikelihoodLoss, op.SoftmaxCrossEntropyLoss)),
    *(Case(op.SoftmaxCrossEntropyLoss(), [random(3, 4).astype(dtype), labels(3)], id=np.dtype(dtype).name,
           oracle=mean_loss)
      for dtype in (np.float16, ml_dtypes.bfloat16, np.float64)),
    Case(op.SoftmaxCrossEntropyLoss(), [np.array([[1000, -1000], [-1000, 1000]], np.float32), np.array([0, 0])],
         id="large", oracle=lambda x, c: np.array(1000, np.float32)),
    *(Case(cls("sum"), [random(0, 4), labels(0)], id="empty", oracle=lambda x, c: np.zeros((), np.float32))
      for cls in (op.NegativeLogLikelihoodLoss, op.SoftmaxCrossEntropyLoss)),
    Case(op.NegativeLogLikelihoodLoss("none", 1), [np.array([[-1, -np.inf], [-2, -3]], np.float32), np.array([1, 0])],
         id="ignored-infinity", oracle=lambda x, c: np.array([0, 2], np.float32), grad=False),  # infinity
]  # fmt: skip
