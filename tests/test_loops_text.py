"""Listings of nests: what they look like, that they read back, and that what is read runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conformance import all_cases
from nests import TARGETS, lowered, run, run_kernels, tensor

from graphc.backends.llvm.kernels import Lowered
from graphc.errors import CompileError, InvalidModel
from graphc.expr import Buffer, Const, Expr, Load, call, select
from graphc.index import Index, linear
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.loops.layout import row_major
from graphc.loops.lower import lower
from graphc.loops.nest import For, Nest, Store
from graphc.loops.schedule import schedule
from graphc.loops.text import parse_nest
from graphc.ops.base import const
from graphc.ops.conv import Conv
from graphc.ops.pool import MaxPool
from graphc.ops.ranking import TopK
from graphc.ops.reduction import ReduceSum
from graphc.ops.softmax import Softmax
from graphc.types import DType, TensorType, bfloat16, float16, float32, float64, int32, int64

Golden = Callable[..., None]


def weights(*shape: int) -> Value:
    return const(np.random.default_rng(0).normal(size=shape).astype(np.float32), float32)


# name -> shape of the input, and what is made of it.
NESTS: dict[str, tuple[tuple[int, ...], Op | Callable[[Value], Value]]] = {
    "softmax": ((6, 40), Softmax(-1)),
    "convolution": (
        (1, 16, 4, 8),
        lambda x: Conv(pads=(1, 1, 1, 1)).apply([x, weights(32, 16, 3, 3), weights(32)])[0],
    ),
    "max-pool": ((1, 2, 9, 9), MaxPool((3, 3), strides=(2, 2), pads=(1, 1, 1, 1))),
    "top-k": ((2, 100), lambda x: TopK().apply([x, const(np.array([12]), int64)])[0]),
    "column-sums": ((21, 40), lambda x: ReduceSum().apply([x, const(np.array([0]), int64)])[0]),
}


@pytest.mark.parametrize("name", NESTS)
def test_nests(name: str, golden: Golden) -> None:
    """For vectors of 512 bits. What runs is what the listing says, read back."""
    shape, made = NESTS[name]
    x = Value(TensorType(float32, shape), name="x")
    graph = Graph([x], [made.apply([x])[0] if isinstance(made, Op) else made(x)])
    graph, kernels = lowered(graph, 64)
    golden("\n\n".join(str(k.nest) for k in kernels.kernels), name)
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    (got,) = run_kernels(read_back(kernels), {x: array}, graph.outputs)
    np.testing.assert_allclose(got, interpret(graph, [array])[0], 1e-4, 1e-5)


def test_fused_map(golden: Golden) -> None:
    """A bias and a Relu as one body."""
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(6, 40)).astype(np.float32), rng.normal(size=40).astype(np.float32)
    source, bias = tensor(x, "x"), tensor(b, "b")
    y = Buffer("y", float32, x.size)
    nest = lower(y, row_major(x.shape), lambda *i: call("max", source[i] + bias.broadcast(i), 0.0))
    text = str(schedule(nest, TARGETS[64].schedule))
    golden(text, "bias-relu")
    np.testing.assert_array_equal(run(parse_nest(text), x, b), np.maximum(x + b, 0).reshape(-1))


def read_back(kernels: Lowered) -> Lowered:
    return replace(kernels, kernels=[replace(k, nest=parse_nest(str(k.nest))) for k in kernels.kernels])


ROUND_TRIPS = [
    "AveragePool-", "Conv-", "CumSum-", "Gather-", "GridSample-", "LayerNormalization", "LogSoftmax", "MatMul-", "Mod-",
    "OneHot", "Pad-", "Resize-", "RotaryEmbedding", "ScatterND", "Cast-", "TopK", "Trilu", "GroupNormalization",
]  # fmt: skip


@pytest.mark.parametrize("prefix", ROUND_TRIPS)
def test_nests_of_conformance_rows_read_back(prefix: str) -> None:
    for case in [c for c in all_cases() if c.name.startswith(prefix)][:12]:
        try:
            _, kernels = lowered(case.graph(), 32)
        except CompileError:
            continue
        for kernel in kernels.kernels:
            assert str(parse_nest(str(kernel.nest))) == str(kernel.nest), case.name


def kernel(*lines: str) -> str:
    return "\n".join(["kernel(x: f32[8], i: i32[8], out y: f32[8]) {", *(f"  {line}" for line in lines), "}"])


@pytest.mark.parametrize(
    "lines",
    [
        ["y[0] = 0.5", "y[1] = x[2]", "y[2] add= -1", "y[3] max= -inf", "y[4] = nan"],
        ["y[0] = select((i[0] < 3), x[[cast.i64(i[1]) in 0..7]], exp(f32(-2.5)))"],
        ["y[0] = cast.f32(<5>)", "y[1] = bitcast.f32((i[0] + 1))", "y[2] = cast.f32(i64(7))"],
        ["if ((i[0] == 2) == true) {", "  y[0] = select(false, f32(1), f32(2))", "}"],
        ["for a < 2 {", "  vector l < 4 {", "    y[4*a + l] = x[-4*a - l + 7]", "  }", "}"],
        ["parallel a < 8 {", "  y[((a) // 2)] = x[((a + 3) % 8)]", "}"],
        ["register t: f32[2]", "unrolled a < 2 {", "  t[a] = 0", "  t[a] add= fma(x[a], x[a + 2], t[a])", "}"],
        ["let v0 = (x[0] + 1.0)", "let v1 = (v0 * v0)", "y[0] = (v1 / (v1 - 2))"],
        ["y[0] = guard((i[0] != 0), x[[i64(3) in -inf..inf]])"],
        ["for a < 2 {", "  prefetch1 x[a]", "  prefetch2 x[8*a + 16]", "  y[a] = x[a]", "}"],
        ["for t < 2 {", "  for t_1 < 2 {", "    y[2*t + t_1] = 1", "  }", "}", "register t: i64[1]"],
    ],
)
def test_texts_are_what_they_read_as(lines: list[str]) -> None:
    text = kernel(*lines)
    assert str(parse_nest(text)) == text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["y[0] = z[0]"], "line 2: z is no buffer that is defined above"),
        (["y[j] = 1"], "line 2: j is no index that is defined above"),
        (["y[0] = 1", "y[0] = sine(x[0])"], "line 3: no function sine of 1 arguments"),
        (["y[0] = exp(2)"], "line 2: the type of 2 is not known"),
        (["y[0] = (x[0] ? 1)"], r"line 2: expected an operator, found '\? 1\)'"),
        (["y[0] = x[0", "y[1] = 2"], "line 3: expected '\\]'"),
        (["for y < 3 {", "}"], "line 2: y is defined twice"),
        (["for a < n {", "}"], "line 2: expected a number"),
        (["register t: float[1]"], "line 2: 'float' is no element type"),
        (["y[0] = " + "(" * 9999], "the listing is nested too deeply"),
        (["}"], "line 3: expected the end, found '}'"),
    ],
)
def test_what_does_not_read(lines: list[str], message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        parse_nest(kernel(*lines))


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float64], ids=str)
def test_constants_read_back_exactly(dtype: DType) -> None:
    if dtype in (float16, bfloat16):
        values = np.arange(0, 2**16, 61, dtype=np.uint16).view(dtype.numpy)
        values = values[np.isfinite(values.astype(np.float32))]
    else:
        values = np.exp(np.random.default_rng(0).uniform(-80, 80, 400)).astype(dtype.numpy)
    y = Buffer("y", dtype, len(values))
    nest = Nest((y,), (y,), tuple(Store(y, linear(k), Const(v, dtype)) for k, v in enumerate(values)))
    again = parse_nest(str(nest))
    assert str(again) == str(nest)
    read = np.array([s.value.value for s in again.body], dtype.numpy)  # type: ignore[union-attr]
    np.testing.assert_array_equal(read, values)


def test_names_in_sight_differ() -> None:
    """Loops and buffers may be called alike; what is printed is not."""
    a, b, outer, inner = Buffer("x", float32, 4), Buffer("x", int32, 4), Index("i", 2), Index("i", 2)
    y = Buffer("y", float32, 4)
    store = Store(
        y,
        outer * 2 + inner,
        select(
            call(
                "lt",
                Load(b, linear(inner)),
                2,
            ),
            Load(a, linear(outer)),
            0.0,
        ),
    )
    text = str(Nest((a, b, y), (y,), (For(outer, "serial", (For(inner, "serial", (store,)),)),)))
    assert "kernel(x: f32[4], x_1: i32[4], out y: f32[4])" in text
    assert "y[2*i + i_1] = " in text
    assert str(parse_nest(text)) == text


def test_shared_parts_are_printed_once() -> None:
    """A chain of squares: as a tree it has 2⁶⁴ leaves."""
    x, y = Buffer("x", float32, 1), Buffer("y", float32, 1)
    e: Expr = Load(x, linear(0)) + 1.0
    for _ in range(64):
        e = e * e
    nest = lower(y, row_major((1,)), lambda i: e)
    text = str(nest)
    assert text.count("\n") == 66
    assert str(parse_nest(text)) == text


def test_a_long_chain_is_split_into_lines() -> None:
    x, y = Buffer("x", float32, 1), Buffer("y", float32, 1)
    e: Expr = Load(x, linear(0))
    for _ in range(1500):
        e = call("abs", e) + math.pi
    text = str(lower(y, row_major((1,)), lambda i: e))
    assert max(map(len, text.splitlines())) < 1000
    assert str(parse_nest(text)) == text
