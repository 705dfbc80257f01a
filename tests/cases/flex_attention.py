"""FlexAttention. The bodies are graphs, so the oracle is the same computation in float64."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.ops.flex_attention import FlexAttention
from graphc.ops.logic import Where
from graphc.ops.math import Tanh
from graphc.types import DType, TensorType, dtype_of, float16, float32, float64

q, k, v = random(2, 2, 3, 4), random(2, 2, 5, 4, seed=1), random(2, 2, 5, 3, seed=2)
q1, k1, v1 = random(1, 2, 2, 2), random(1, 1, 3, 2, seed=1), random(1, 1, 3, 2, seed=2)
bias = random(3, 5, seed=3)
LATER = np.triu(np.ones((3, 5), bool), 2)


def wide(*xs: np.ndarray) -> list[np.ndarray]:
    return [x.astype(np.float64) for x in xs]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(
    scale: float | None = None,
    score: Callable[..., np.ndarray] = lambda s, *c: s,
    prob: Callable[..., np.ndarray] = lambda p, *c: p,
) -> Callable[..., np.ndarray]:
    def oracle(Q: np.ndarray, K: np.ndarray, V: np.ndarray, *captured: np.ndarray) -> np.ndarray:
        a, b, c = wide(Q, K, V)
        b, c = (np.repeat(x, Q.shape[1] // x.shape[1], 1) for x in (b, c))
        scores = a @ b.swapaxes(2, 3) * (Q.shape[3] ** -0.5 if scale is None else scale)
        return (prob(softmax(score(scores, *captured)), *captured) @ c).astype(Q.dtype)

    return oracle


def body(function: Callable[..., Value], dtype: DType = float32, *captured: np.ndarray) -> Graph:
    """A body on scores of unknown sizes."""
    types = [TensorType(dtype, None), *(TensorType(dtype_of(c.dtype), c.shape) for c in captured)]
    inputs = [Value(t, name=f"b{i}") for i, t in enumerate(types)]
    return Graph(inputs, [function(*inputs)])


def masked(s: Value) -> Value:
    return Where()(const(LATER), const(-np.inf), s)


CASES = [
    Case(FlexAttention(), [q, k, v], attention(), "plain"),
    Case(FlexAttention(), [q1, k1, v1], attention(), "shared-heads"),
    Case(FlexAttention(scale=0.3), [random(2, 4, 3, 4), k, v], attention(0.3), "scale"),
    # Bodies with constants are in float64, in which gradients are checked.
    Case(FlexAttention(score_mod=body(masked, float64)), wide(q, k, v),
         attention(score=lambda s: np.where(LATER, -np.inf, s)), "mask"),
    Case(FlexAttention(score_mod=body(lambda s: Tanh()(s / 2.0) * 2.0, float64)), wide(q1, k1, v1),
         attention(score=lambda s: 2 * np.tanh(s / 2)), "softcap"),
    Case(FlexAttention(prob_mod=body(lambda p: p * p)), [q, k, v], attention(prob=np.square), "probabilities"),
    Case(FlexAttention(score_mod=body(lambda s, c: s + c, float32, bias),
                       prob_mod=body(lambda p, c: p * c, float32, bias), captured=1),
         [q, k, v, bias], attention(score=np.add, prob=np.multiply), "captured"),
    Case(FlexAttention(score_mod=body(lambda s: s * 0.5, float64)), wide(q, k, v),
         attention(score=lambda s: s / 2), "float64", rtol=1e-12),
    *(
        Case(FlexAttention(score_mod=body(lambda s: s + 1.0, dtype), softmax_precision=precision),
             [x.astype(np.float16) for x in (q, k, v)], attention(), f"float16-{precision}", rtol=1e-2, atol=1e-3)
        for precision, dtype in ((None, float32), (1, float32), (10, float16), (11, float64))
    ),
    Case(FlexAttention(), [x.astype(ml_dtypes.bfloat16) for x in (q, k, v)], attention(), "bfloat16",
         rtol=2e-2, atol=1e-2),
    Case(FlexAttention(softmax_precision=11), [q, k, v], attention(), "precise"),
    Case(FlexAttention(), [q[:, :, :0], k, v], attention(), "no-queries"),
]  # fmt: skip
