"""Batch normalisation and affine folding for every linear op, and whole blocks through the pipelines."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import graphc
from graphc.difference import compare
from graphc.dims import sym
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops.activation import Relu
from graphc.ops.base import Constant, const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.normalization import BatchNormalization
from graphc.ops.pool import GlobalAveragePool
from graphc.ops.reshaping import Flatten
from graphc.passes.fold_affine import fold_affine
from graphc.passes.fold_batch_norm import fold_batch_norm
from graphc.passes.fold_constants import fold_constants
from graphc.passes.fuse import fuse
from graphc.passes.manager import optimize
from graphc.passes.share_subexpressions import share_subexpressions
from graphc.random import random_feeds
from graphc.text import format_graph
from graphc.types import DType, Tensor, TensorType, dtype_of, float16, float32, float64


def weight(name: str, *shape: int, dtype: DType = float32) -> Value:
    return const(np.random.default_rng([*name.encode()]).uniform(0.25, 1.0, shape).astype(dtype.numpy), dtype, name)


def batch_norm(x: Value, channels: int, *, name: str = "bn", dtype: DType = float32) -> Value:
    parameters = [weight(f"{name}.{p}", channels, dtype=dtype) for p in ("scale", "bias", "mean", "var")]
    return BatchNormalization()(x, *parameters, name=name)


# op, shapes of x, w and b; x has 4 channels, the result 6
LINEAR: list[tuple[Op, Sequence[int], Sequence[int], Sequence[int] | None]] = [
    (Conv(), (2, 4, 5), (6, 4, 3), None),
    (Conv(strides=(2, 1)), (2, 4, 5, 6), (6, 4, 3, 2), (6,)),
    (Conv(group=2), (2, 4, 5, 6), (6, 2, 3, 2), (6,)),
    (ConvTranspose(), (2, 4, 5, 6), (4, 6, 3, 2), (6,)),
    (ConvTranspose(group=2, strides=(2, 2)), (2, 4, 5, 6), (4, 3, 3, 2), None),
    (Gemm(), (5, 4), (4, 6), None),
    (Gemm(0.5, 2.0, False, True), (5, 4), (6, 4), (6,)),
    (Gemm(0.5, 2.0), (5, 4), (4, 6), (5, 1)),
    (MatMul(), (5, 4), (4, 6), None),
]


def linear_graph(
    case: tuple[Op, Sequence[int], Sequence[int], Sequence[int] | None], where: str, dtype: DType
) -> Graph:
    op, x_shape, w_shape, b_shape = case
    x = Value(TensorType(dtype, tuple(x_shape)), name="x")
    w = weight("w", *w_shape, dtype=dtype)
    b = None if b_shape is None else weight("b", *b_shape, dtype=dtype)
    if where == "before":
        y = op.apply((batch_norm(x, 4, dtype=dtype), w, b))[0]
    else:
        y = batch_norm(op.apply((x, w, b))[0], 6, dtype=dtype)
    return Graph([x], [y])


def same_results(before: Graph, after: Graph, rtol: float = 1e-5) -> None:
    feeds = list(random_feeds(before).values())
    for got, want in zip(interpret(after, feeds), interpret(before, feeds), strict=True):
        assert compare(got, want, rtol=rtol).ok


def ops(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes if n.op.name != "Constant"]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("case", LINEAR, ids=lambda c: f"{c[0].name}{'' if c[3] is None else '-bias'}-{len(c[1])}")
def test_batch_norm_folds(case: tuple[Op, Sequence[int], Sequence[int], Sequence[int] | None], where: str) -> None:
    graph = linear_graph(case, where, float64)
    after = fold_constants(fold_batch_norm(graph))
    if isinstance(case[0], ConvTranspose) and where == "before":
        assert after is graph
        return
    assert ops(after) == [case[0].name] + ["Add"] * isinstance(case[0], MatMul)
    same_results(graph, after, 1e-12)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("operator", ["mul", "div", "add"])
@pytest.mark.parametrize("case", LINEAR, ids=lambda c: f"{c[0].name}{'' if c[3] is None else '-bias'}-{len(c[1])}")
def test_affine_folds(
    case: tuple[Op, Sequence[int], Sequence[int], Sequence[int] | None], operator: str, where: str
) -> None:
    op, x_shape, w_shape, b_shape = case
    x = Value(TensorType(float64, tuple(x_shape)), name="x")
    channels = 4 if where == "before" else 6
    c = weight("c", channels, *[1] * (len(x_shape) - 2), dtype=float64)
    apply: Callable[[Value], Value] = {"mul": lambda v: v * c, "div": lambda v: v / c, "add": lambda v: v + c}[operator]
    w, b = weight("w", *w_shape, dtype=float64), None if b_shape is None else weight("b", *b_shape, dtype=float64)
    y = op.apply((apply(x), w, b))[0] if where == "before" else apply(op.apply((x, w, b))[0])
    graph = Graph([x], [y])
    after = fold_constants(fold_affine(graph))
    kept = (isinstance(op, ConvTranspose) and where == "before") or (isinstance(op, MatMul) and operator == "add")
    assert ops(after) == (ops(graph) if kept else [op.name])
    same_results(graph, after, 1e-12)


@pytest.mark.parametrize("where", ["before", "after"])
def test_batch_norm_folds_into_a_left_factor(where: str) -> None:
    x = Value(TensorType(float64, (sym("n"), 4, 5)), name="x")
    w = weight("w", 6, 4, dtype=float64)
    y = w @ batch_norm(x, 4, dtype=float64) if where == "before" else batch_norm(w @ x, 6, dtype=float64)
    graph = Graph([x], [y])
    after = fold_constants(fold_batch_norm(graph))
    assert ops(after) == ["MatMul", "Add"]
    same_results(graph, after, 1e-12)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("operator", ["mul", "div"])
@pytest.mark.parametrize("rest", [(), (5,), (5, 3)])
def test_factors_fold_into_a_left_factor(rest: tuple[int, ...], operator: str, where: str) -> None:
    x = Value(TensorType(float64, (*rest[1:], 4, *rest[:1])), name="x")
    w = weight("w", 6, 4, dtype=float64)
    c = weight("c", 4 if where == "before" else 6, *[1] * (len(rest) > 0), dtype=float64)
    apply: Callable[[Value], Value] = (lambda v: v * c) if operator == "mul" else (lambda v: v / c)
    graph = Graph([x], [w @ apply(x) if where == "before" else apply(w @ x)])
    after = fold_constants(fold_affine(graph))
    assert ops(after) == ["MatMul"]
    same_results(graph, after, 1e-12)


@pytest.mark.parametrize(("divisor", "folds"), [(1e-5, True), (3e4, True), (0.0, False), (np.nan, False)])
def test_divisors_of_16_bits(divisor: float, folds: bool) -> None:
    """The inverse of a small float16 is no float16, and that of 0 would make NaNs of zeros."""
    x = Value(TensorType(float16, (3, 4)), name="x")
    w = const(np.full((4, 2), 1e-4 if divisor < 1 else 1.0, np.float16), float16, "w")
    graph = Graph([x], [(x @ w) / const(np.full(2, divisor, np.float16), float16)])
    after = fold_constants(fold_affine(graph))
    assert ops(after) == (["MatMul"] if folds else ["MatMul", "Div"])
    same_results(graph, after, 2e-2)


def test_two_batch_norms_and_a_scale_fold_into_one_convolution() -> None:
    x = Value(TensorType(float32, (sym("n"), 3, 8, 8)), name="x")
    y = Conv(pads=(1, 1, 1, 1))(x, weight("w", 4, 3, 3, 3))
    graph = Graph([x], [batch_norm(batch_norm(y, 4, name="bn1"), 4, name="bn2") * 0.5])
    after, _ = optimize(graph, 1)
    assert ops(after) == ["Conv"]
    assert [n.name for n in after.constants()] == ["w", "bn1.bias"]
    same_results(graph, after)


def test_statistics_of_another_type_are_converted() -> None:
    x = Value(TensorType(float16, (2, 3, 4, 4)), name="x")
    y = Conv()(x, weight("w", 4, 3, 1, 1, dtype=float16))
    scale, bias, mean, var = (weight(p, 4) for p in ("scale", "bias", "mean", "var"))
    graph = Graph([x], [BatchNormalization()(y, scale, bias, mean, var)])
    after, _ = optimize(graph, 1)
    assert ops(after) == ["Conv"]
    assert after.outputs[0].dtype is float16
    same_results(graph, after, 5e-3)


def test_training_batch_norm_stays() -> None:
    x = Value(TensorType(float32, (2, 3, 4, 4)), name="x")
    y = Conv()(x, weight("w", 4, 3, 1, 1))
    parameters = [weight(p, 4) for p in ("scale", "bias", "mean", "var")]
    graph = Graph([x], [BatchNormalization(training_mode=True)(y, *parameters)])
    assert fold_batch_norm(graph) is graph


def residual_network() -> Graph:
    """A small residual network as an exporter writes it."""

    def conv_bn(x: Value, name: str, m: int, c: int, k: int) -> Value:
        y = Conv(pads=(k // 2,) * 4)(x, weight(f"{name}.weight", m, c, k, k), name=f"{name}.conv")
        return batch_norm(y, m, name=f"{name}.bn")

    x = Value(TensorType(float32, (sym("n"), 3, 8, 8)), name="x")
    stem = Relu()(conv_bn(x, "stem", 4, 3, 3), name="stem.relu")
    main = conv_bn(Relu()(conv_bn(stem, "a", 6, 4, 3), name="a.relu"), "b", 6, 6, 3)
    y = Relu()(main + conv_bn(stem, "shortcut", 6, 4, 1), name="block")
    features = Flatten()(GlobalAveragePool()(y))
    logits = features @ weight("fc.weight", 6, 10) + weight("fc.bias", 10)
    return Graph([x], [logits], ["logits"], name="residual")


@pytest.mark.parametrize("level", [1, 2])
def test_a_residual_network(level: int, golden: Callable[[str], None]) -> None:
    graph = residual_network()
    after, _ = optimize(graph, level)
    golden(re.sub(r"(%([\w.]+): [^=]+ = const )\[.*", r"\1@\2", format_graph(after)))
    same_results(graph, after)


def late(graph: Graph) -> list[Tensor]:
    """The constants of `graph` that are still to be computed."""
    return [n.op.value for n in graph.nodes if isinstance(n.op, Constant) and not n.op.value.is_read]


def test_large_products_are_computed_when_they_are_read() -> None:
    x, w, s = Value(TensorType(float32, (2, 512)), name="x"), weight("w", 512, 512), weight("s", 512)
    graph, _ = optimize(Graph([x], [x @ (w * s)]), passes=[fold_constants])
    (only,) = late(graph)
    assert w.node is not None
    assert s.node is not None
    expected = w.node.op.eval() * s.node.op.eval()
    np.testing.assert_array_equal(only.read(), expected)
    assert not only.is_read
    given = np.random.default_rng(0).random((2, 512), np.float32)
    for backend in ("numpy", "llvm"):
        result = graphc.compile(graph, backend=backend)(given)
        np.testing.assert_allclose(result, given.astype(np.float64) @ expected.astype(np.float64), rtol=1e-5)


def test_products_that_are_still_to_be_computed_are_shared() -> None:
    x, w = Value(TensorType(float32, (2, 512)), name="x"), weight("w", 512, 512)
    scales = [weight("s", 512), weight("s", 512), weight("t", 512)]
    made = Graph([x], [x @ (w * s * t) for s in scales for t in scales])
    graph, _ = optimize(made, passes=[fold_constants, share_subexpressions])
    assert len(late(graph)) == 4
    assert sum(isinstance(n.op, MatMul) for n in graph.nodes) == 4


def test_many_large_products_in_a_row() -> None:
    w = weight("w", 256, 256)
    y = w
    for _ in range(3000):
        y = y + w
    graph, _ = optimize(Graph([], [y]), passes=[fold_constants, share_subexpressions])
    (result,) = interpret(graph, [])
    assert w.node is not None
    np.testing.assert_allclose(result, 3001 * w.node.op.eval().astype(np.float64), rtol=1e-3)


def test_the_later_of_two_convolutions_takes_the_sum() -> None:
    x = Value(TensorType(float32, (1, 3, 4, 4)), name="x")
    first, second = (Conv()(x, weight(f"w{i}", 4, 3, 1, 1), name=f"conv{i}") for i in (1, 2))
    after = fuse(Graph([x], [Relu()(first + second, name="sum")]))
    assert [n.label for n in after.nodes if n.op.name != "Constant"] == ["Conv 'conv1'", "Fused 'sum'"]


def test_a_broadcast_ends_a_group() -> None:
    x = Value(TensorType(float32, (1, 3, 1, 1)), name="x")
    big = Value(TensorType(float32, (1, 4, 5, 5)), name="big")
    y = Relu()(Conv()(x, weight("w", 4, 3, 1, 1)))
    after = fuse(Graph([x, big], [Relu()(y + big)]))
    bodies = [[n.op.name for n in f.op.graphs()["body"].nodes] for f in after.nodes if f.op.name == "Fused"]
    assert bodies == [["Conv", "Relu"], ["Add", "Relu"]]


def test_groups_are_bounded_and_do_not_nest() -> None:
    x = Value(TensorType(float32, (4,)), name="x")
    v = x
    for _ in range(500):
        v = Relu()(v * 0.5)
    after = fuse(Graph([x], [v]))
    sizes = [len(n.op.graphs()["body"].nodes) for n in after.nodes]
    assert max(sizes) <= 128
    assert fuse(after) is after
    assert dtype_of(interpret(after, [np.ones(4, np.float32)])[0].dtype) is float32
