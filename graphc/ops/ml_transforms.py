"""The transforms of scores of ai.onnx.ml as graph code; `ml_scores` has them on arrays."""

from __future__ import annotations

import math

import numpy as np

from graphc.errors import CompileError
from graphc.ops.activation import Sigmoid
from graphc.ops.base import Value, const
from graphc.ops.logic import Equal, where
from graphc.ops.math import Abs, Exp, Log, Sqrt
from graphc.ops.movement import Concat
from graphc.ops.reduction import ReduceMax
from graphc.ops.softmax import Softmax


def transform(scores: Value, name: str) -> Value:
    """The scores (N, E) after the transform of each row; see `ml_scores.transformed`."""
    if scores.shape is None or not isinstance(scores.shape[1], int):
        raise CompileError("the number of scores is not known")
    if name == "PROBIT":
        return _probit(scores)
    if name == "NONE" or scores.shape[1] < 2:
        return scores
    if name == "LOGISTIC":
        return Sigmoid().apply((scores,))[0]
    if name == "SOFTMAX":
        return Softmax(1).apply((scores,))[0]
    top = ReduceMax(True)(scores, const(np.array([1], np.int64)))
    powers = where(Abs()(scores) > 1e-7, Exp()(scores - top), scores * Exp()(-top))
    total = powers.sum(1, keepdims=True)
    is_zero = Equal()(total, const(0.0, scores.dtype))
    return where(is_zero, total + 0.5, powers / where(is_zero, total + 1, total))


def _probit(x: Value) -> Value:
    y = 2 * x - 1
    log = Log()((1 - y) * (1 + y))
    v = 2 / (math.pi * 0.147) + 0.5 * log
    size = math.sqrt(2) * Sqrt()(Sqrt()(v * v - log / 0.147) - v)
    return where(y < 0, -size, size)


def two_columns(score: Value, name: str, *, probability: bool) -> Value:
    """The scores (N, 2) of both classes from that of the second one, (N, 1); see `ml_scores.two_columns`."""
    both = Concat(1)(1 - score if probability and name != "LOGISTIC" else -score, score)
    return transform(both, name) if name in ("LOGISTIC", "PROBIT") else both
