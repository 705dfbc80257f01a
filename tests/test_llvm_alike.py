"""Nodes that are alike: which are, and that their one kernel computes each on its own values."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from nests import lowered

import graphc
from graphc.backends.llvm import LlvmBackend
from graphc.backends.llvm.alike import key_of
from graphc.interpret import interpret
from graphc.ir import Graph, Node, Value
from graphc.ops.activation import LeakyRelu, Relu
from graphc.ops.arithmetic import Add, Mul, Sub
from graphc.ops.base import const
from graphc.ops.conv import Conv
from graphc.ops.linear import MatMul
from graphc.ops.movement import Concat, Tile, Transpose
from graphc.passes.fuse import fuse
from graphc.random import random_feeds
from graphc.types import TensorType, float32, float64

NAMES = itertools.count()
BLOCKS_IN_A_ROW = 5


def x(*shape: int, dtype=float32) -> Value:
    return Value(TensorType(dtype, shape or (4, 6)), name=f"x{next(NAMES)}")


def numbers(seed: int, *shape: int) -> Value:
    return const(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def fused(make: Callable[..., Value], *inputs: Value) -> Node:
    """The one node that fusing `make` of these inputs gives."""
    graph = fuse(Graph([v for v in inputs if v.node is None], [make(*inputs)]))
    (node,) = [n for n in graph.nodes if n.inputs]
    return node


A, B = x(), x()
# Two nodes that are made of one another's kind, and whether one kernel serves both.
PAIRS: dict[str, tuple[Node, Node, bool]] = {
    "values": (Add()(A, B).node, Add()(x(), x()).node, True),
    "weights": (MatMul()(A, numbers(0, 6, 9)).node, MatMul()(B, numbers(1, 6, 9)).node, True),
    "names": (Relu()(A, name="a").node, Relu()(B, name="b").node, True),
    "op": (Add()(A, B).node, Sub()(A, B).node, False),
    "shape": (Add()(A, B).node, Add()(x(4, 1), B).node, False),
    "type": (Add()(A, B).node, Add()(x(dtype=float64), x(dtype=float64)).node, False),
    "attribute": (LeakyRelu(0.5)(A).node, LeakyRelu(0.25)(A).node, False),
    "sign of zero": (LeakyRelu(0.0)(A).node, LeakyRelu(-0.0)(A).node, False),
    "one twice": (Add()(A, B).node, Add()(A, A).node, False),
    "constant": (MatMul()(A, numbers(0, 6, 9)).node, MatMul()(A, x(6, 9)).node, False),
    "number": (Mul()(A, const(np.float32(2))).node, Mul()(A, const(np.float32(3))).node, False),
    "integers": (Tile()(A, const(np.array([1, 2]))).node, Tile()(A, const(np.array([2, 1]))).node, False),
    "equal integers": (Tile()(A, const(np.array([1, 2]))).node, Tile()(B, const(np.array([1, 2]))).node, True),
    "fused": (fused(lambda a, b: Relu()(a + b), A, B), fused(lambda a, b: Relu()(a + b), x(), x()), True),
    "fused otherwise": (fused(lambda a, b: Relu()(a + b), A, B), fused(lambda a, b: Relu()(a - b), A, B), False),
    "fused in another order": (fused(lambda a, b: Relu()(a) - b, A, B), fused(lambda a, b: b - Relu()(a), A, B), False),
    "fused number": (fused(lambda a: Relu()(a * 2.0), A), fused(lambda a: Relu()(a * 3.0), A), False),
    "fused weights": (
        fused(lambda a: Relu()(a * numbers(0, 4, 6)), A), fused(lambda a: Relu()(a * numbers(1, 4, 6)), B), True
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_which_are_alike(row: tuple[Node, Node, bool]) -> None:
    a, b, alike = row
    assert (key_of(a) == key_of(b)) is alike
    assert key_of(a) == key_of(a)


def blocks(block: Callable[[Value, int], Value], *shape: int, count: int = BLOCKS_IN_A_ROW) -> Graph:
    """`block` of each block's output, with weights of its own."""
    first = y = Value(TensorType(float32, shape), name="x")
    for seed in range(count):
        y = block(y, seed)
    return fuse(Graph([first], [y]))


def convolution(y: Value, seed: int) -> Value:
    return Relu()(Conv(pads=(1, 1, 1, 1))(y, numbers(seed, 32, 32, 3, 3), numbers(seed, 32)))


def residual(y: Value, seed: int) -> Value:
    inner = Relu()(Conv()(y, numbers(seed, 24, 32, 1, 1), numbers(seed, 24)))
    return Relu()(y + Conv()(inner, numbers(seed, 32, 24, 1, 1)) * 0.125)


def products(y: Value, seed: int) -> Value:
    return Transpose((1, 0))(y @ numbers(seed, 24, 24)) * numbers(seed, 24, 24)


def joined(y: Value, seed: int) -> Value:
    """Outputs that are written into another tensor, and one that is read twice."""
    halves = [Relu()(y @ numbers(seed + k, 24, 12)) for k in (0, 10)]
    return Concat(1)(*halves) + y


BLOCKS = {
    "convolution": blocks(convolution, 1, 32, 12, 12),
    "residual": blocks(residual, 1, 32, 6, 7),
    "products": blocks(products, 24, 24),
    "joined": blocks(joined, 24, 24),
}


@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize("graph", BLOCKS.values(), ids=BLOCKS)
def test_blocks(graph: Graph, winograd: bool) -> None:
    feeds = [*random_feeds(graph, seed=3).values()]
    (expected,) = interpret(graph, feeds)
    result = graphc.compile(graph, backend=LlvmBackend(winograd=winograd))(*feeds)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("graph", BLOCKS.values(), ids=BLOCKS)
def test_blocks_share_kernels_but_the_first_and_the_last(graph: Graph, width: int) -> None:
    kernels = [k for k in lowered(graph, width)[1].kernels if k.node is not None]
    in_each = len(kernels) // BLOCKS_IN_A_ROW
    assert len({k.nest for k in kernels}) <= 3 * in_each
    assert len({k.values for k in kernels}) == len(kernels)
