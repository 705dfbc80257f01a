"""Reductions, products, rankings, normalisations: what they refuse, and what they know before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from conformance import random

from graphc.autodiff import grad
from graphc.dims import sym
from graphc.errors import ExecutionError, GraphcError, InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value, elements
from graphc.ops.base import const
from graphc.ops.cumulative import CumSum, EyeLike, Trilu
from graphc.ops.einsum import Einsum
from graphc.ops.linear import Det, Gemm, MatMul
from graphc.ops.loss import NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss
from graphc.ops.normalization import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    RMSNormalization,
)
from graphc.ops.ranking import ArgMax, TopK, Unique
from graphc.ops.reduction import ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum
from graphc.ops.rescaling import LRN, LpNormalization, MeanVarianceNormalization
from graphc.ops.shape import Shape
from graphc.types import DType, TensorType, complex64, dtype_of, float16, float32, int32, int64, string

B, S = sym("batch"), sym("seq")


def value(*shape: object, dtype: DType = float32, name: str = "x") -> Value:
    return Value(TensorType(dtype, shape), name=name)  # type: ignore[arg-type]


def ints(*values: int) -> Value:
    return const(np.array(values, np.int64))


C = value(3)
REFUSED: list[tuple[Op, Sequence[Value | None], type[GraphcError], str]] = [
    (ReduceSum(), [value(2, 3), ints(2)], ShapeError, "axis 2 is out of range for rank 2"),
    (ReduceSum(), [value(2, 3), ints(0, -2)], ShapeError, "name one axis twice"),
    (ReduceSum(), [value(2, dtype=string)], TypeMismatch, "data is str[2]"),
    (ReduceSum(), [value(2), value(1)], TypeMismatch, "axes is f32[1]"),
    (ReduceSum(), [value(2), value(1, 1, dtype=int64)], ShapeError, "expected rank 1"),
    (MatMul(), [value(4, 8), value(9, 2)], ShapeError, "inner sizes differ: f32[4,8] @ f32[9,2] (8 against 9)"),
    (MatMul(), [value(), value(3)], ShapeError, "a factor has rank 0"),
    (MatMul(), [value(2, 3), value(3, dtype=int32)], TypeMismatch, "element types differ"),
    (MatMul(), [value(2, 3, 4), value(3, 4, 5)], ShapeError, "cannot broadcast"),
    (Gemm(), [value(2, 3), value(4, 5)], ShapeError, "inner sizes differ"),
    (Gemm(), [value(2, 3), value(3, 4), value(3, 4)], ShapeError, "c is f32[3,4]"),
    (Gemm(), [value(2, 3, 1), value(3, 4)], ShapeError, "expected rank 2"),
    (Det(), [value(2, 3)], ShapeError, "expected square matrices"),
    (Einsum("ij,jk"), [value(2, 3)], InvalidModel, "has 2 terms, got 1 inputs"),
    (Einsum("i$->i"), [value(2)], InvalidModel, "not made of letters"),
    (Einsum("i.j->i"), [value(2, 2)], InvalidModel, "not made of letters"),
    (Einsum("i......"), [value(2, 2)], InvalidModel, "not made of letters"),
    (Einsum("i->j"), [value(2)], InvalidModel, "'j' is in none of the inputs"),
    (Einsum("i->ii"), [value(2)], InvalidModel, "'i' is there twice"),
    (Einsum("i->i->i"), [value(2)], InvalidModel, "not made of letters"),
    (Einsum("ij"), [value(2)], ShapeError, "term 'ij' does not fit its input of shape [2]"),
    (Einsum("i"), [value(2, 2)], ShapeError, "term 'i' does not fit"),
    (Einsum("...i->i"), [value(2, 2)], ShapeError, "lacks the '...'"),
    (Einsum("ii"), [value(2, 3)], ShapeError, "index 'i' has sizes 2 and 3 in [2,3]"),
    (Einsum("i,i"), [value(2), value(3)], ShapeError, "index 'i' has sizes 2 and 3 in [2], [3]"),
    (CumSum(), [value(2), const(np.int64(1))], ShapeError, "axis 1 is out of range"),
    (CumSum(), [value(2), ints(0, 0)], ShapeError, "axis has 2 elements"),
    (Trilu(), [value(2)], ShapeError, "expected rank 2"),
    (EyeLike(complex64), [value(2, 2)], InvalidModel, "dtype is complex64"),
    (ArgMax(2), [value(2, 3)], ShapeError, "axis 2 is out of range"),
    (ArgMax(1), [value(2, 0)], ShapeError, "has no elements"),
    (TopK(), [value(2, 3), ints(4)], ShapeError, "k is 4, but axis -1 has only 3 elements"),
    (TopK(), [value(2, 3), ints(-1)], ShapeError, "k is -1"),
    (Unique(axis=1), [value(2)], ShapeError, "axis 1 is out of range"),
    (BatchNormalization(), [value(2, 3, 4), C, C, C, value(4)], ShapeError, "var is f32[4], expected [3]"),
    (BatchNormalization(outputs=3), [value(2, 3), C, C, C, C], InvalidModel, "3 outputs are wanted"),
    (InstanceNormalization(), [value(2, 3, 4), C, value(1)], ShapeError, "b is f32[1], expected [3]"),
    (GroupNormalization(2), [value(2, 3), C, C], ShapeError, "3 channels do not divide into 2 groups"),
    (GroupNormalization(0), [value(2, 3), C, C], InvalidModel, "num_groups is 0"),
    (LayerNormalization(), [value(2, 4), C], ShapeError, "scale is f32[3], which cannot be broadcast to f32[2,4]"),
    (LayerNormalization(stash_type=7), [value(2, 3), C], InvalidModel, "stash_type is 7"),
    (RMSNormalization(axis=2), [value(2, 3), C], ShapeError, "axis 2 is out of range"),
    (LRN(0), [value(2, 3)], InvalidModel, "size is 0"),
    (LpNormalization(p=3), [value(2, 3)], InvalidModel, "p is 3"),
    (MeanVarianceNormalization(), [value(2, 3)], ShapeError, "axis 2 is out of range"),
    (NegativeLogLikelihoodLoss("max"), [value(2, 3), value(2, dtype=int64)], InvalidModel, "reduction is 'max'"),
    (NegativeLogLikelihoodLoss(), [value(2, 3), value(3, dtype=int64)], ShapeError, "labels is i64[3]"),
    (NegativeLogLikelihoodLoss(), [value(2, 3, 4), value(2, dtype=int64)], ShapeError, "labels is i64[2]"),
    (SoftmaxCrossEntropyLoss(), [value(2, 4), value(2, dtype=int64), C], ShapeError, "weights is f32[3]"),
]


def op_name(parameter: object) -> str:
    return parameter.name if isinstance(parameter, Op) else ""


@pytest.mark.parametrize(("op", "inputs", "error", "message"), REFUSED, ids=op_name)
def test_refuses(op: Op, inputs: Sequence[Value | None], error: type[GraphcError], message: str) -> None:
    with pytest.raises(error) as caught:
        op(*inputs)
    assert message in str(caught.value)
    assert str(caught.value).startswith(op.name)


def run(op: Op, *arrays: np.ndarray) -> list[np.ndarray]:
    """`op` on inputs of which nothing but the rank was known before."""
    inputs = [
        value(*(sym(f"d{i}_{k}") for k in range(a.ndim)), dtype=dtype_of(a.dtype), name=f"x{i}")
        for i, a in enumerate(arrays)
    ]
    outputs = op.apply(inputs)
    return interpret(Graph(inputs, outputs, [f"y{i}" for i in range(len(outputs))]), arrays)


F = np.ones
AT_RUN_TIME = [
    (ReduceSum(), [F((2, 3), "f"), np.array([2])], "axis 2 is out of range"),
    (ReduceSum(), [F((2, 3), "f"), np.array([0, 0])], "one axis twice"),
    (ReduceMean(), [F((2, 0), np.int64), np.array([1])], "the mean of no integers is not defined"),
    (CumSum(), [F((2, 3), "f"), np.array(5)], "axis 5 is out of range"),
    (MatMul(), [F((2, 3), "f"), F((4, 5), "f")], "mismatch"),
    (Einsum("ij,jk"), [F((2, 3), "f"), F((4, 5), "f")], "index 'j' has sizes 3 and 4"),
    (ArgMax(), [F((0, 2), "f")], "has no elements"),
    (TopK(), [F((2, 3), "f"), np.array([4])], "k is 4, but axis -1 has only 3"),
    (BatchNormalization(), [F((2, 3), "f"), *[F(1, "f")] * 4], "expected [3]"),
    (GroupNormalization(2), [F((2, 3), "f"), F(3, "f"), F(3, "f")], "do not divide into 2 groups"),
    (NegativeLogLikelihoodLoss(), [F((2, 3), "f"), np.array([0, 3])], "label 3 at [1] is out of range, valid 0..2"),
    (NegativeLogLikelihoodLoss(), [F((2, 3), "f"), np.array([-1, 0])], "label -1 at [0]"),
    (NegativeLogLikelihoodLoss(), [F((2, 3), "f"), np.array([0, 0, 0])], "do not fit the input"),
    (NegativeLogLikelihoodLoss(), [F((2, 3), "f"), np.array([0, 0]), F(1, "f")], "expected [3]"),
]


@pytest.mark.parametrize(("op", "arrays", "message"), AT_RUN_TIME, ids=op_name)
def test_refuses_at_run_time(op: Op, arrays: list[np.ndarray], message: str) -> None:
    with pytest.raises(ExecutionError) as caught:
        run(op, *arrays)
    assert message in str(caught.value)


def test_shape_computations_go_through_reductions() -> None:
    sizes = Shape()(value(B, S, 8))
    assert ReduceProd(keepdims=False)(sizes, ints(0)).dims.item() == B * S * 8
    assert ReduceSum()(sizes).dims.tolist() == [B + S + 8]
    assert ReduceMin(keepdims=False)(Shape()(value(4, 8))).const.item() == 4
    assert str(ReduceMax(keepdims=False)(sizes).dims.item()) == "max(max(batch, seq), 8)"
    assert ReduceMax()(Shape()(value())).content is None  # the maximum of nothing says nothing of sizes


def test_keeps_symbolic_sizes() -> None:
    x = value(B, S, 8)
    assert ReduceMean()(x, ints(-1)).shape == (B, S, 1)
    assert (x @ value(8, 4)).shape == (B, S, 4)
    assert Einsum("bsd,btd->bst")(x, value(B, 5, 8)).shape == (B, S, 5)
    assert TopK(axis=1)(x, ints(3))[0].shape == (B, 3, 8)
    assert LayerNormalization(outputs=3)(x, value(8))[1].shape == (B, S, 1)
    assert NegativeLogLikelihoodLoss("none")(value(B, 4, S), value(B, S, dtype=int64)).shape == (B, S)


def test_counts_operations() -> None:
    product = MatMul()(value(B, 2, 3), value(3, 4)).node
    assert product.op.cost(product.inputs, product.outputs).flops == B * (2 * 2 * 3 * 4)
    same = Einsum("bij,jk->bik")(value(B, 2, 3), value(3, 4)).node
    assert same.op.cost(same.inputs, same.outputs).flops == B * (2 * 2 * 3 * 4)
    mean = ReduceMean()(value(B, 5)).node
    assert mean.op.cost(mean.inputs, mean.outputs).flops == elements(mean.inputs[0])


@pytest.mark.parametrize("k", [0, 1, 2])
def test_gradients_of_layer_statistics(k: int) -> None:
    """Each output of LayerNormalization against the same written out, whose gradients are checked elsewhere."""
    x, scale = value(2, 4, name="x"), value(4, name="scale")
    mean = x.mean(-1, keepdims=True)
    inverse = (((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) ** -0.5
    written = [(x - mean) * inverse * scale, mean, inverse][k]
    op = LayerNormalization(outputs=3)(x, scale)[k]
    arrays = [random(2, 4, low=-2, high=2), random(4)]
    seed = random(*(2, 4) if k == 0 else (2, 1), seed=1)
    results = [interpret(grad(Graph([x, scale], [y], ["y"])), [*arrays, seed]) for y in (op, written)]
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_gradients_with_symbolic_sizes() -> None:
    """What training with a symbolic batch needs."""
    x, w, gamma = value(B, 3, name="x"), value(3, 4, name="w"), value(4, name="gamma")
    labels = Value(TensorType(int64, (B,)), name="labels")
    scores = LayerNormalization()(x @ w, gamma)
    graph = Graph([x, w, gamma, labels], [SoftmaxCrossEntropyLoss()(scores, labels)], ["loss"])
    arrays = [random(5, 3), random(3, 4, seed=1), random(4, seed=2), np.array([0, 1, 2, 3, 0])]
    static = [Value(TensorType(v.dtype, a.shape), name=v.name) for v, a in zip(graph.inputs, arrays, strict=True)]
    fixed = Graph(static, graph(*static), ["loss"])
    for got, want in zip(interpret(grad(graph), arrays), interpret(grad(fixed), arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_gradient_of_a_float16_mean_of_many_elements() -> None:
    """100,000 elements are more than float16 can count, 1,000 for each mean are not."""
    x = Value(TensorType(float16, (1000, 100)), name="x")
    graph = grad(Graph([x], [x.mean(0).sum()]))
    (dx,) = interpret(graph, [np.ones((1000, 100), np.float16)])
    np.testing.assert_allclose(dx, 1e-3, rtol=1e-3)


def test_gradient_of_the_mean_of_nothing() -> None:
    x = Value(TensorType(float32, (0, 3)), name="x")
    graph = grad(Graph([x], [x.mean(0).sum()]))
    assert interpret(graph, [np.zeros((0, 3), np.float32)])[0].shape == (0, 3)
