"""Attention whose scores and probabilities are changed by bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np

from graphc.dims import Dim
from graphc.errors import InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Cost, Graph, Op, Value, elements, substitute, traffic
from graphc.limits import check_tensor
from graphc.ops.attention import grouped_matmul, heads_of, in_dtype, in_wide, same_size
from graphc.ops.base import Array, TensorType, check_dtype, check_rank, check_same_dtype, known_sizes
from graphc.ops.bodies import body_cost, fitted_inputs
from graphc.ops.elementwise import widen
from graphc.ops.softmax import Softmax
from graphc.ops.vjp import decomposed_grad
from graphc.types import BY_ONNX, FLOATS, DType, dtype_of, float32, float64, same_type

MODIFIERS = ("score_mod", "prob_mod")


def precision(dtype: DType, softmax_precision: int | None) -> DType:
    """The element type of the scores: the one asked for, or else float64 for float64 and float32 for the others."""
    if softmax_precision is None:
        return float64 if dtype is float64 else float32
    found = BY_ONNX.get(softmax_precision)
    if found not in FLOATS:
        raise TypeMismatch(f"softmax_precision is {softmax_precision}, expected 1, 10, 11 or 16")
    return found


def scores_type(Q: Value, K: Value, softmax_precision: int | None) -> TensorType:
    """The type that the bodies of a FlexAttention take and give: (batch, query heads, queries, keys)."""
    for what, x in (("Q", Q), ("K", K)):
        check_rank(x, what, 4)
    q, k = heads_of(Q, None, "Q"), heads_of(K, None, "K")
    batch = same_size("batch size", (("Q", Q, q[0]), ("K", K, k[0])))
    return TensorType(precision(Q.dtype, softmax_precision), (batch, q[1], q[2], k[2]))


class FlexAttention(Op):
    """y = prob_mod(softmax(score_mod(scale · Q Kᵀ))) V for each head. ONNX ai.onnx.preview FlexAttention-1.

    Q is (batch, heads, queries, size), K and V are (batch, shared heads, keys, size); each shared head serves an equal
    number of query heads. Inputs: Q, K, V, then the captured values, which both bodies take after the scores.

    Attributes:
        prob_mod, score_mod: bodies that change the probabilities and the scores, not their shape; none by default.
        scale: default 1/sqrt(size).
        softmax_precision: the element type of what the bodies see, as ONNX's number; see `precision`.
        captured: how many of the inputs, at the end, are captured values.
    """

    domain: ClassVar[str] = "ai.onnx.preview"
    prob_mod: Graph | None = None
    scale: float | None = None
    score_mod: Graph | None = None
    softmax_precision: int | None = None
    captured: int = field(default=0, metadata={"onnx": False})

    def refine(self, xs: Sequence[Value | None]) -> Op:
        given = [x for x in xs if x is not None]
        if len(given) < 3:
            return self
        scores = scores_type(given[0], given[1], self.softmax_precision)
        contents = [None, *(x.content for x in given[3:])]
        fitted = {}
        for name, body in self.graphs().items():
            # Sizes that nothing is known of are new each time: the body may call them as it does already.
            named = [v.type for v in body.inputs[:1] if None in (given[0].shape, given[1].shape)]
            first = next((t for t in named if same_type(t, scores)), scores)
            inputs = fitted_inputs(body, [first, *(x.type for x in given[3:])], contents)
            if inputs is not None:
                outputs = substitute(body, dict(zip(body.inputs, inputs, strict=True)))
                fitted[name] = Graph(inputs, outputs, body.output_names, name=body.name)
        return replace(self, **fitted) if fitted else self  # type: ignore[arg-type]

    def infer(self, Q: Value, K: Value, V: Value, *captured: Value) -> TensorType:
        check_dtype(Q, FLOATS, "Q")
        check_same_dtype(Q, K, V)
        for what, x in (("Q", Q), ("K", K), ("V", V)):
            check_rank(x, what, 4)
        q, k, v = heads_of(Q, None, "Q"), heads_of(K, None, "K"), heads_of(V, None, "V")
        batch = same_size("batch size", (("Q", Q, q[0]), ("K", K, k[0]), ("V", V, v[0])))
        heads = same_size("number of heads", (("K", K, k[1]), ("V", V, v[1])))
        same_size("length", (("K", K, k[2]), ("V", V, v[2])))
        same_size("head size", (("Q", Q, q[3]), ("K", K, k[3])))
        if isinstance(heads, int) and isinstance(q[1], int) and (heads == 0 or q[1] % heads):
            raise ShapeError(f"{q[1]} query heads cannot share {heads} heads: Q {Q.tensor}, K {K.tensor}")
        scores = scores_type(Q, K, self.softmax_precision)
        for name, body in self.graphs().items():
            if len(body.outputs) != 1:
                raise InvalidModel(f"{name} gives {len(body.outputs)} outputs, expected 1")
            made = body.outputs[0].tensor
            if made.dtype is not scores.dtype:
                raise TypeMismatch(f"{name} takes {scores} and gives {made}")
            if made.shape is not None and (len(made.shape) != 4 or any(map(_differ, made.shape, scores.shape or ()))):
                raise ShapeError(f"{name} takes {scores} and gives {made}, expected the same shape")
        return TensorType(Q.dtype, (batch, q[1], q[2], v[3]))

    def _scale(self, size: int) -> float:
        return size**-0.5 if self.scale is None else self.scale

    def eval(self, Q: Array, K: Array, V: Array, *captured: Any) -> Array:
        batch, heads, queries, size = Q.shape
        shared, keys = K.shape[1:3]
        exact = precision(dtype_of(Q.dtype), self.softmax_precision).numpy
        left = widen(Q).reshape(batch, shared, heads // max(shared, 1) * queries, size)
        check_tensor((batch, heads, queries, keys), left.itemsize, "attention scores")
        scores = np.matmul(left * left.dtype.type(self._scale(size)), widen(K).swapaxes(2, 3))
        scores = scores.reshape(batch, heads, queries, keys).astype(exact)
        if self.score_mod is not None:
            (scores,) = interpret(self.score_mod, [scores, *captured])
        weights = Softmax().eval(scores)
        if self.prob_mod is not None:
            (weights,) = interpret(self.prob_mod, [weights, *captured])
        y = np.matmul(widen(weights).reshape(batch, shared, -1, keys), widen(V).astype(widen(weights[:0]).dtype))
        return np.asarray(y.reshape(batch, heads, queries, V.shape[3]), Q.dtype)

    def decompose(self, Q: Value, K: Value, V: Value, *captured: Value) -> tuple[Value]:
        """y in terms of other ops; needs known sizes but for the batch."""
        (size,) = known_sizes(Q, 3)
        exact = precision(Q.dtype, self.softmax_precision)
        scores = grouped_matmul(in_wide(Q) * self._scale(size), in_wide(K).transpose([0, 1, 3, 2]))
        scores = in_dtype(scores, exact)
        if self.score_mod is not None:
            (scores,) = self.score_mod(scores, *captured)
        weights: Value = Softmax()(scores)
        if self.prob_mod is not None:
            (weights,) = self.prob_mod(weights, *captured)
        weights = in_wide(weights)
        return (in_dtype(grouped_matmul(weights, in_dtype(in_wide(V), weights.dtype)), Q.dtype),)

    def grad(self, dy: Value, y: Value, *xs: Value) -> Sequence[Value | None]:
        return decomposed_grad(self.decompose, dy, y, xs)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """The two products, the softmax, and the bodies."""
        q, k = xs[0], xs[1]
        if q is None or k is None or q.shape is None or k.shape is None or ys[0].shape is None:
            return Cost(0, traffic(xs, ys))
        flops: Dim = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * (2 * q.shape[3] + 2 * ys[0].shape[3] + 5)
        for body in self.graphs().values():
            flops = flops + body_cost(body).flops
        return Cost(flops + elements(ys[0]), traffic(xs, ys))


def _differ(a: Dim, b: Dim) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b
