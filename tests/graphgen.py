"""Random valid graphs for property tests: `graphs()` is a Hypothesis strategy, `feeds_for` makes arrays for one.

Results stay finite, and nothing in a graph jumps (no comparison of floats, no rounding), so that two ways to compute it
agree up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import strategies as st

from graphc.dims import substitute, sym
from graphc.ir import Graph, Op, Value
from graphc.ops.activation import Relu, Sigmoid
from graphc.ops.arithmetic import Add, Div, Mul, Neg, Sub
from graphc.ops.base import const
from graphc.ops.cast import Cast
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.dropout import Dropout
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.logic import Identity
from graphc.ops.math import Tanh
from graphc.ops.minmax import Clip, Max, Min
from graphc.ops.movement import Concat, Transpose
from graphc.ops.normalization import BatchNormalization
from graphc.ops.padding import Pad
from graphc.ops.pool import AveragePool, MaxPool
from graphc.ops.reduction import ReduceMax, ReduceMean, ReduceSum
from graphc.ops.reshaping import Expand, Flatten, Reshape, Squeeze, Unsqueeze
from graphc.ops.shape import Shape
from graphc.ops.slicing import Slice
from graphc.types import Array, DType, TensorType, float32, int32, int64

MAX_SIZE = 6
MAX_ELEMENTS = 2048
BATCH = sym("n")


def feeds_for(graph: Graph, seed: int) -> list[Array]:
    """One array for each input: floats in [-1, 1), integers in [-4, 4]; symbols become sizes from 1 to 4."""
    rng = np.random.default_rng(seed)
    sizes: dict[str, int] = {}
    feeds = []
    for v in graph.inputs:
        shape = [int(substitute(d, lambda s: sizes.setdefault(s.name, int(rng.integers(1, 5))))) for d in v.shape or ()]
        feeds.append(_random(rng, shape, v.dtype))
    return feeds


def graphs(*, max_nodes: int = 12) -> st.SearchStrategy[Graph]:
    """Graphs of up to about `max_nodes` steps, with float32 and integer inputs, several outputs, and shared values."""
    return _graphs(max_nodes)


def _random(rng: np.random.Generator, shape: Sequence[int], dtype: DType, low: float = -1.0) -> Array:
    if dtype.is_integer:
        return rng.integers(-4, 5, shape).astype(dtype.numpy)
    return rng.uniform(low, 1.0, shape).astype(dtype.numpy)


class Builder:
    """The values made so far, and draws from them."""

    def __init__(self, draw: st.DrawFn):
        self.draw, self.count = draw, 0
        self.rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
        self.inputs: list[Value] = []
        self.values: list[Value] = []

    def choose(self, options: Sequence[object]) -> object:
        return options[self.draw(st.integers(0, len(options) - 1))]

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def input(self) -> None:
        dtype = self.choose([float32, float32, float32, int32, int64])
        rank = self.choose([4, 4, 2, 3, 1, 0])
        shape: list[object] = [self.integer(1, MAX_SIZE) for _ in range(rank)]
        if rank and self.flag():
            shape[0] = BATCH
        name = f"x{len(self.inputs)}"
        self.inputs.append(Value(TensorType(dtype, tuple(shape)), name=name))
        self.values.append(self.inputs[-1])

    def pick(self, wanted: Callable[[Value], bool]) -> Value | None:
        """One of the values that are `wanted`, mostly the last one, so that graphs are deep."""
        found = [v for v in self.values if wanted(v)][::-1]
        return None if not found else found[self.choose([0, 0, 0, *range(min(len(found), 4))])]

    def constant(self, shape: Sequence[int], dtype: DType = float32, *, low: float = -1.0) -> Value:
        name = f"c{self.count}" if self.flag() else ""
        self.count += 1
        return const(_random(self.rng, shape, dtype, low), dtype, name)

    def ints(self, *numbers: int) -> Value:
        return const(np.array(numbers, np.int64))


def is_float(v: Value) -> bool:
    return v.dtype is float32


def is_image(v: Value) -> bool:
    """(N, C, H, W) of float32 with known C, H, W."""
    return is_float(v) and v.rank == 4 and all(isinstance(d, int) and d >= 1 for d in (v.shape or ())[1:])


def known(v: Value, axis: int) -> bool:
    return v.shape is not None and isinstance(v.shape[axis], int)


# -- steps: each adds one value or a few, or returns None where nothing fits -------------------------------------------
def unary(b: Builder) -> Value | None:
    x = b.pick(lambda v: True)
    assert x is not None
    ops: list[Op] = [Neg(), Identity()] + ([Relu(), Tanh(), Sigmoid(), Relu()] if is_float(x) else [])
    return b.choose(ops)(x)


def binary(b: Builder) -> Value | None:
    x = b.pick(lambda v: True)
    y = b.pick(lambda v: v.dtype is x.dtype and v.shape == x.shape)
    return b.choose([Add(), Sub(), Mul(), Max(), Min()])(x, y)


def with_constant(b: Builder) -> Value | None:
    x = b.pick(lambda v: True)
    rank = b.integer(0, len(x.shape))
    shape = [d if isinstance(d, int) and b.flag() else 1 for d in x.shape[len(x.shape) - rank :]]
    c = b.constant(shape, x.dtype)
    op = b.choose([Add(), Sub(), Mul()])
    return op(c, x) if b.flag() else op(x, c)


def neutral(b: Builder) -> Value | None:
    x = b.pick(lambda v: True)
    op, number = b.choose([(Add(), 0), (Add(), -0.0), (Sub(), 0), (Mul(), 1), (Div(), 1)])
    return op(x, const(np.array(number).astype(x.dtype.numpy)))


def divide(b: Builder) -> Value | None:
    x = b.pick(is_float)
    return None if x is None else Div()(x, b.constant([], low=0.5))


def clip(b: Builder) -> Value | None:
    x = b.pick(is_float)
    if x is None:
        return None
    low = const(np.float32(b.integer(-2, 0) / 2)) if b.flag() else None
    high = const(np.float32(b.integer(1, 3) / 2)) if b.flag() else None
    return Clip()(x, low, high)


def reduce(b: Builder) -> Value | None:
    x = b.pick(lambda v: len(v.shape) > 0)
    if x is None:
        return None
    axis = b.integer(-len(x.shape), len(x.shape) - 1)
    op = b.choose([ReduceSum, ReduceMax, *([ReduceMean] if is_float(x) else [])])
    return op(keepdims=b.flag())(x, b.ints(axis))


def matmul(b: Builder) -> Value | None:
    x = b.pick(lambda v: v.rank is not None and v.rank >= 2 and known(v, -1))
    if x is None:
        return None
    n = b.integer(1, MAX_SIZE)
    product = MatMul()(x, b.constant([x.shape[-1], n], x.dtype))
    return product + b.constant([n], x.dtype) if b.flag() else product


def gemm(b: Builder) -> Value | None:
    x = b.pick(lambda v: is_float(v) and v.rank == 2)
    if x is None:
        return None
    transposed = b.flag()
    inner = x.shape[0 if transposed else 1]
    if not isinstance(inner, int):
        return None
    n, swapped = b.integer(1, MAX_SIZE), b.flag()
    w = b.constant([n, inner] if swapped else [inner, n])
    c = b.constant(b.choose([[n], [1, n], [1], []])) if b.flag() else None
    alpha, beta = b.choose([(1.0, 1.0), (0.5, 2.0)])
    return Gemm(alpha, beta, transposed, swapped)(x, w, c)


def conv(b: Builder) -> Value | None:
    x = b.pick(is_image)
    if x is None:
        return None
    _, c, h, w = x.shape
    group = b.choose([g for g in (1, 2, 3) if c % g == 0])
    m = group * b.integer(1, 3)
    kernel = [b.integer(1, min(3, h)), b.integer(1, min(3, w))]
    pads = b.choose([None, (1, 1, 1, 1), (0, 1, 1, 0)])
    bias = b.constant([m]) if b.flag() else None
    strides = b.choose([None, (2, 1)])
    return Conv(group=group, pads=pads, strides=strides)(x, b.constant([m, c // group, *kernel]), bias)


def conv_transpose(b: Builder) -> Value | None:
    x = b.pick(is_image)
    if x is None:
        return None
    c = x.shape[1]
    group = b.choose([g for g in (1, 2, 3) if c % g == 0])
    m = b.integer(1, 2)
    bias = b.constant([m * group]) if b.flag() else None
    return ConvTranspose(group=group, strides=b.choose([None, (2, 1)]))(x, b.constant([c, m, 2, 2]), bias)


def batch_norm(b: Builder) -> Value | None:
    x = b.pick(lambda v: is_float(v) and len(v.shape) >= 2 and known(v, 1))
    if x is None:
        return None
    c = x.shape[1]
    parameters = [b.constant([c]), b.constant([c]), b.constant([c]), b.constant([c], low=0.25)]
    return BatchNormalization()(x, *parameters)


def pool(b: Builder) -> Value | None:
    x = b.pick(lambda v: is_image(v) and min(v.shape[2:]) >= 2)
    if x is None:
        return None
    pads = b.choose([None, (1, 0, 0, 1)])
    if b.flag():
        return MaxPool((2, 2), pads=pads)(x)
    return AveragePool((2, 2), pads=pads, count_include_pad=b.flag())(x)


def pad(b: Builder) -> Value | None:
    x = b.pick(lambda v: is_float(v) and len(v.shape) > 0)
    if x is None:
        return None
    rank = len(x.shape)
    first = 2 if rank == 4 and b.flag() else 0
    amounts = [b.integer(0, 1) if i % rank >= first else 0 for i in range(2 * rank)]
    value = b.choose([None, const(np.float32(0)), const(np.float32(0.5))])
    return Pad()(x, b.ints(*amounts), value)


def reshape(b: Builder) -> Value | None:
    x = b.pick(lambda v: len(v.shape) > 0)
    if x is None:
        return None
    rank = len(x.shape)
    kind = b.integer(0, 5)
    if kind == 0:
        return Flatten(b.integer(0, rank))(x)
    if kind == 1:
        return Unsqueeze()(x, b.ints(b.integer(0, rank)))
    if kind == 2:
        ones = [i for i, d in enumerate(x.shape) if d == 1]
        return Squeeze()(x, b.ints(b.choose(ones))) if ones else None
    if kind == 3:  # as exporters write it
        first = Slice()(Shape()(x), b.ints(0), b.ints(1))
        return Reshape()(x, Concat(0)(first, b.ints(-1)))
    if kind == 4:
        return Reshape()(x, b.ints(*[0] * (rank - 1), -1))
    return Reshape()(x, b.ints(-1))


def transpose(b: Builder) -> Value | None:
    x = b.pick(lambda v: len(v.shape) >= 2)
    if x is None:
        return None
    return Transpose(tuple(b.draw(st.permutations(range(len(x.shape))))))(x)


def concat(b: Builder) -> Value | None:
    x = b.pick(lambda v: len(v.shape) > 0)
    if x is None:
        return None
    y = b.pick(lambda v: v.type == x.type)
    axis = b.integer(0, len(x.shape) - 1)
    return Concat(axis)(x, y) if b.flag() else Concat(axis)(x)


def cut(b: Builder) -> Value | None:
    x = b.pick(lambda v: any(isinstance(d, int) and d >= 2 for d in v.shape))
    if x is None:
        return None
    axis = b.choose([i for i, d in enumerate(x.shape) if isinstance(d, int) and d >= 2])
    start, step = b.integer(0, 1), b.choose([1, 1, 2])
    return Slice()(x, b.ints(start), b.ints(x.shape[axis]), b.ints(axis), b.ints(step))


def nothing(b: Builder) -> Value | None:
    x = b.pick(is_float)
    if x is None:
        return None
    return b.choose([Dropout(), Cast(float32)])(x)


def expand(b: Builder) -> Value | None:
    x = b.pick(lambda v: len(v.shape) > 0)
    if x is None:
        return None
    return Expand()(x, b.ints(*(d if isinstance(d, int) and d > 1 else 1 for d in x.shape)))


def to_float(b: Builder) -> Value | None:
    x = b.pick(lambda v: v.dtype.is_integer)
    return None if x is None else Cast(float32)(x)


def again(b: Builder) -> Value | None:
    """A node made a second time: something to share."""
    x = b.pick(lambda v: v.node is not None)
    return None if x is None else x.node.op.apply(x.node.inputs)[0]


# -- steps that make what rules look for -------------------------------------------------------------------------------
def block(b: Builder) -> Value | None:
    """[scale, offset,] convolution or product [, offset] [, normalisation] [, scale] [, activation] [, residual]."""
    x = b.pick(lambda v: is_image(v) or (is_float(v) and v.rank == 2 and known(v, 1)))
    if x is None:
        return None
    image = x.rank == 4

    def channels(v: Value, low: float = -1.0) -> Value:
        return b.constant([v.shape[1], 1, 1] if image else [v.shape[1]], low=low)

    y = x
    if b.flag():
        y = y * channels(y) if b.flag() else y + channels(y)
    if b.flag() and not image and b.flag():
        y = Transpose()(Identity()(Transpose()(y)))
    n = b.integer(1, 4)
    if not image:
        y = MatMul()(y, b.constant([y.shape[1], n])) if b.flag() else Gemm()(y, b.constant([y.shape[1], n]))
    elif b.flag():
        y = ConvTranspose()(y, b.constant([y.shape[1], n, 1, 1]), b.constant([n]))
    else:
        if b.flag():
            y = Pad()(y, b.ints(0, 0, 1, 0, 0, 0, 0, 1))
        y = Conv(pads=b.choose([None, (1, 1, 1, 1)]))(y, b.constant([n, y.shape[1], 1, 1]))
    if b.flag():
        y = y + channels(y)
    if b.flag():
        parameters = [b.constant([y.shape[1]]) for _ in range(3)]
        y = BatchNormalization()(y, *parameters, b.constant([y.shape[1]], low=0.25))
    if b.flag():
        y = y / channels(y, low=0.5) if b.flag() else y * channels(y)
    if b.flag():
        y = b.choose([Relu(), Tanh()])(y)
    return y + x if y.type == x.type else y


def padded_pool(b: Builder) -> Value | None:
    x = b.pick(lambda v: is_image(v) and min(v.shape[2:]) >= 2)
    if x is None:
        return None
    largest = b.flag()
    fill = const(np.float32(-np.inf if largest else 0))
    y = Pad()(x, b.ints(0, 0, 1, 0, 0, 0, 1, 1), fill)
    return MaxPool((2, 2))(y) if largest else AveragePool((2, 2), count_include_pad=b.flag())(y)


def pair(b: Builder) -> Value | None:
    """Two of a kind: the second often undoes, merges with or repeats the first."""
    step = b.choose([unary, reshape, reshape, transpose, clip, neutral])
    first = step(b)
    if first is None:
        return None
    b.values.append(first)
    return step(b)


STEPS: tuple[Callable[[Builder], Value | None], ...] = (
    unary, unary, binary, binary, with_constant, with_constant, neutral, divide, clip, reduce, matmul, gemm, conv, conv,
    conv_transpose, batch_norm, batch_norm, pool, pad, reshape, reshape, transpose, transpose, concat, cut, nothing,
    expand, to_float, again, block, block, block, padded_pool, pair, pair, pair,
)  # fmt: skip


@st.composite
def _graphs(draw: st.DrawFn, max_nodes: int) -> Graph:
    b = Builder(draw)
    for _ in range(b.integer(1, 3)):
        b.input()
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=max_nodes)):
        made = step(b)
        if made is not None and is_small(made):
            b.values.append(made)
    outputs = [b.values[-1]]
    for _ in range(b.integer(0, 2)):
        outputs.append(b.choose(b.values))
    return Graph(b.inputs, outputs, [f"y{i}" for i in range(len(outputs))], name="random")


def is_small(v: Value) -> bool:
    sizes = [int(substitute(d, lambda s: 4)) for d in v.shape or ()]
    return v.shape is not None and len(sizes) <= 5 and int(np.prod(sizes)) <= MAX_ELEMENTS
