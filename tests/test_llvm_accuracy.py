"""The error of native kernels in float32, against the same computation in float64, is of the size of NumPy's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from graphc.backends.llvm import LlvmBackend
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops.activation import Gelu
from graphc.ops.attention import Attention
from graphc.ops.base import const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.normalization import BatchNormalization, GroupNormalization, InstanceNormalization, LayerNormalization
from graphc.ops.pool import AveragePool, GlobalAveragePool, LpPool
from graphc.ops.recurrent import GRU, LSTM
from graphc.ops.reduction import ReduceL2, ReduceLogSumExp
from graphc.ops.softmax import LogSoftmax, Softmax
from graphc.runtime.backend import Options
from graphc.types import TensorType, dtype_of, float32

FACTOR = 4
WINOGRAD = 12  # of convolutions in fewer multiplications: twice the error of the sums of 9 products for each channel
CHAIN = 8  # of what adds thousands of products one after the other, where NumPy adds shorter sums
IMAGE, C = (1, 64, 14, 14), (64,)
ROWS: dict[str, tuple[Op, Sequence[tuple[int, ...]]]] = {
    "conv-3x3": (Conv(pads=(1, 1, 1, 1)), [(1, 256, 14, 14), (64, 256, 3, 3), (64,)]),
    "conv-1x1": (Conv(), [(1, 256, 14, 14), (64, 256, 1, 1), (64,)]),
    "conv-pixels": (Conv(group=4), [(1, 136, 14, 14), (136, 34, 1, 1), (136,)]),
    "conv-depthwise": (Conv(pads=(1, 1, 1, 1), group=64), [IMAGE, (64, 1, 3, 3), C]),
    "conv-transposed": (ConvTranspose(strides=(2, 2)), [IMAGE, (64, 32, 3, 3)]),
    "matmul": (MatMul(), [(64, 1024), (1024, 96)]),
    "matmul-vector": (MatMul(), [(1, 1024), (1024, 96)]),
    "gemm": (Gemm(transB=True), [(16, 1024), (96, 1024), (96,)]),
    "softmax": (Softmax(-1), [(64, 1000)]),
    "log-softmax": (LogSoftmax(-1), [(64, 1000)]),
    "layer-norm": (LayerNormalization(), [(64, 768), (768,), (768,)]),
    "batch-norm": (BatchNormalization(), [IMAGE, C, C, C, C]),
    "group-norm": (GroupNormalization(8), [IMAGE, C, C]),
    "instance-norm": (InstanceNormalization(), [IMAGE, C, C]),
    "gelu": (Gelu(), [(64, 768)]),
    "gelu-tanh": (Gelu("tanh"), [(64, 768)]),
    "lstm": (LSTM(hidden_size=32), [(20, 4, 24), (1, 128, 24), (1, 128, 32)]),
    "gru": (GRU(hidden_size=32), [(20, 4, 24), (1, 96, 24), (1, 96, 32)]),
    "attention": (Attention(), [(1, 4, 64, 32), (1, 4, 64, 32), (1, 4, 64, 32)]),
    "average-pool": (AveragePool((3, 3), pads=(1, 1, 1, 1), strides=(2, 2)), [IMAGE]),
    "global-average-pool": (GlobalAveragePool(), [IMAGE]),
    "lp-pool": (LpPool((3, 3)), [IMAGE]),
    "long-mean": (GlobalAveragePool(), [(1, 32, 300, 301)]),
    "l2": (ReduceL2(), [(4, 100_000)]),
    "log-sum-exp": (ReduceLogSumExp(), [(4, 10_000)]),
}


def run(op: Op, arrays: Sequence[npt.NDArray[np.floating]], *, native: bool) -> list[npt.NDArray[np.float64]]:
    xs = [Value(TensorType(dtype_of(a.dtype), a.shape), name=f"x{i}") for i, a in enumerate(arrays)]
    graph = Graph(xs, op.apply(xs))
    if native:
        assert all(LlvmBackend().supports(n) is None for n in graph.nodes)
        results = LlvmBackend().compile(graph, Options()).run(arrays)
    else:
        results = interpret(graph, arrays)
    return [np.asarray(y).astype(np.float64) for y in results]


@pytest.mark.parametrize(("winograd", "factor"), [(True, WINOGRAD), (False, CHAIN)])
def test_error_of_convolutions_with_constant_weights(winograd: bool, factor: int) -> None:
    rng = np.random.default_rng(0)
    x = Value(TensorType(float32, (1, 256, 14, 14)), name="x")
    w = rng.standard_normal((64, 256, 3, 3)).astype(np.float32)
    array = rng.standard_normal((1, 256, 14, 14)).astype(np.float32)
    graph = Graph([x], [Conv(pads=(1, 1, 1, 1))(x, const(w))])
    (native,) = LlvmBackend(winograd=winograd).compile(graph, Options()).run([array])
    exact, numpy = (
        run(Conv(pads=(1, 1, 1, 1)), [a.astype(d) for a in (array, w)], native=False)[0]
        for d in (np.float64, np.float32)
    )
    theirs, ours = (float(np.abs(y - exact).max()) for y in (numpy, native))
    assert ours <= factor * theirs, f"{ours:.2g}, NumPy's {theirs:.2g}"


@pytest.mark.parametrize("name", ROWS)
def test_error(name: str) -> None:
    op, shapes = ROWS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    if name == "batch-norm":
        arrays[4] = np.abs(arrays[4]) + np.float32(0.1)
    if name in ("lstm", "gru"):
        arrays[1:] = [a / np.float32(8) for a in arrays[1:]]
    exact = run(op, [a.astype(np.float64) for a in arrays], native=False)
    numpy, native = run(op, arrays, native=False), run(op, arrays, native=True)
    for right, a, b in zip(exact, numpy, native, strict=True):
        scale = np.abs(right).max()
        theirs, ours = (float(np.abs(y - right).max() / scale) for y in (a, b))
        factor = CHAIN if name == "conv-3x3" else FACTOR
        assert ours <= factor * max(theirs, np.finfo(np.float32).eps / 2), f"{ours:.2g}, NumPy's {theirs:.2g}"
