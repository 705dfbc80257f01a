"""Reductions, normalisations, pools, products and convolutions at sizes where loops are scheduled, in every float."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from conformance import compare

from graphc.backends.llvm import LlvmBackend
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops.arithmetic import Add
from graphc.ops.base import const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.fused import Fused
from graphc.ops.linear import Gemm, MatMul
from graphc.ops.normalization import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    RMSNormalization,
)
from graphc.ops.pool import AveragePool, GlobalAveragePool, GlobalLpPool, GlobalMaxPool, LpPool, MaxPool
from graphc.ops.reduction import (
    Reduce,
    ReduceL1,
    ReduceL2,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    ReduceSumSquare,
)
from graphc.ops.softmax import Hardmax, LogSoftmax, Softmax
from graphc.runtime.backend import Options
from graphc.types import TensorType, dtype_of, float32, int64

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
X, C = (2, 24, 9, 17), (24,)
ROWS: dict[str, tuple[Op, Sequence[tuple[int, ...]]]] = {
    "batch": (BatchNormalization(training_mode=True, outputs=3), [X, C, C, C, C]),
    "instance": (InstanceNormalization(), [X, C, C]),
    "group": (GroupNormalization(4), [X, C, C]),
    "layer": (LayerNormalization(outputs=3), [X, (17,), (17,)]),
    "layer-2": (LayerNormalization(axis=2, outputs=3), [X, (9, 17)]),
    "rms": (RMSNormalization(), [X, (17,)]),
    "softmax": (Softmax(1), [X]),
    "log-softmax": (LogSoftmax(-1), [X]),
    "hardmax": (Hardmax(-1), [X]),
    "max": (MaxPool((3, 3), pads=(1, 1, 1, 1), strides=(2, 1), outputs=2), [X]),
    "max-columns": (MaxPool((3, 2), dilations=(2, 3), ceil_mode=True, storage_order=1, outputs=2), [X]),
    "lp": (LpPool((3, 3), p=3, pads=(1, 1, 1, 1)), [X]),
    "average": (AveragePool((3, 3), pads=(1, 1, 1, 1), strides=(2, 2), ceil_mode=True, count_include_pad=True), [X]),
    "max-partial": (MaxPool((3, 3), pads=(1, 1, 1, 1), strides=(2, 1)), [(2, 30, 9, 17)]),
    "average-partial": (AveragePool((3, 3), pads=(1, 1, 1, 1), strides=(2, 2)), [(2, 31, 9, 17)]),
    "global-max": (GlobalMaxPool(), [X]),
    "global-average": (GlobalAveragePool(), [X]),
    "global-lp": (GlobalLpPool(1), [X]),
    "transposed": (ConvTranspose(strides=(2, 2), pads=(1, 1, 1, 1), group=2), [X, (24, 5, 4, 3), (10,)]),
    "transposed-dilated": (ConvTranspose(strides=(2, 3), dilations=(3, 2)), [X, (24, 5, 4, 3), (5,)]),
    "conv-1d": (Conv(pads=(1, 1)), [(2, 8, 33), (12, 8, 3), (12,)]),
    "conv-3d": (Conv(auto_pad="SAME_LOWER", strides=(1, 2, 1), group=2), [(1, 4, 7, 8, 19), (6, 2, 3, 2, 3)]),
    "conv-pixels": (Conv(group=4), [(2, 28, 7, 9), (20, 7, 1, 1), (20,)]),
    "conv-pixels-3d": (Conv(group=3), [(1, 15, 3, 7, 5), (30, 5, 1, 1, 1)]),
    "matmul": (MatMul(), [(3, 1, 17, 33), (4, 33, 20)]),
    "matmul-vector": (MatMul(), [(33,), (4, 33, 20)]),
    "gemm": (Gemm(alpha=0.5, beta=2.0, transA=True), [(33, 17), (33, 20), (20,)]),
}


def check(op: Op, arrays: Sequence[npt.NDArray[np.generic]], *constants: Value) -> None:
    xs = [Value(TensorType(dtype_of(a.dtype), a.shape), name=f"x{i}") for i, a in enumerate(arrays)]
    graph = Graph(xs, op.apply((*xs, *constants)))
    want = interpret(graph, arrays)
    for got, w in zip(LlvmBackend().compile(graph, Options()).run(arrays), want, strict=True):
        assert got.dtype == w.dtype
        narrow = w.dtype.itemsize == 2
        compare(got, w, 2e-2 if narrow else 1e-4, 2e-2 if narrow else 1e-4)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", ROWS)
def test_matches_numpy(name: str, dtype: npt.DTypeLike) -> None:
    op, shapes = ROWS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, s).astype(dtype) for s in shapes]
    if name in ("hardmax", "max", "max-columns"):
        arrays[0][0, 3, 2, 5], arrays[0][1, 2] = np.nan, -np.inf
    check(op, arrays)


@pytest.mark.parametrize("op", [Softmax(), Softmax(3), Add()], ids=["softmax-last", "softmax-3", "columns"])
def test_pixels_that_are_told_apart(op: Op) -> None:
    """What is fused to a convolution of single pixels and knows where in the image they are."""
    x, w = (Value(TensorType(float32, s), name="xw"[i]) for i, s in enumerate([(1, 8, 5, 7), (12, 4, 1, 1)]))
    conv = Conv(group=2)(x, w)
    operands = [conv, const(np.arange(7), float32)] if isinstance(op, Add) else [conv]
    rng = np.random.default_rng(0)
    fused = Fused(Graph([x, w], op.apply(operands)))
    check(fused, [rng.standard_normal(v.tensor.sizes).astype(np.float32) for v in (x, w)])


@pytest.mark.parametrize("axes", [[0], [1], [2], [0, 2], [-1, -2], []], ids=str)
@pytest.mark.parametrize(
    "op",
    [ReduceL1, ReduceL2, ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceSum, ReduceSumSquare],
    ids=lambda op: op.__name__,
)
def test_reductions(op: type[Reduce], axes: list[int]) -> None:
    rng = np.random.default_rng(0)
    for dtype in (*FLOATS, np.int32, np.uint64, np.int8, np.bool_):
        if dtype_of(np.dtype(dtype)) in op.dtypes:
            check(op(len(axes) == 1), [rng.uniform(0, 9, (3, 37, 21)).astype(dtype)], const(axes, int64))
