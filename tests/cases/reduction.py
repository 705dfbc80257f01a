"""Reductions over axes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import reduction as op

FLOATING = (op.ReduceSum, op.ReduceMean, op.ReduceMax, op.ReduceMin, op.ReduceProd, op.ReduceL1, op.ReduceL2,
            op.ReduceSumSquare, op.ReduceLogSum, op.ReduceLogSumExp)  # fmt: skip
INTEGER = (op.ReduceSum, op.ReduceMean, op.ReduceMax, op.ReduceMin, op.ReduceProd, op.ReduceL1, op.ReduceL2,
           op.ReduceSumSquare)  # fmt: skip
ORDER = {op.ReduceMax: np.max, op.ReduceMin: np.min}


def axes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def positive(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """All different, away from the kinks of |x| and from log 0."""
    return random(*shape, dtype=dtype, low=1, high=5)


def in_float32(case: op.Reduce, *, axis: int) -> object:
    """What `case` gives in float32, for 16-bit floats."""
    function = {op.ReduceSum: np.sum, op.ReduceMean: np.mean, op.ReduceMax: np.max}[type(case)]
    return lambda x, a: function(x.astype(np.float32), axis=axis, keepdims=True).astype(x.dtype)


CASES = [
    *(Case(cls(keepdims=keep), [positive(2, 3, 4), a], id=f"{a}-{keep}", const=(1,))
      for cls in FLOATING for keep in (True, False) for a in (axes(1), axes(-1, 0))),
    # Gradients of gradients need axes that are known, as in the other rows; that of a product does at once.
    *(Case(cls(keepdims=keep), [positive(2, 3, 2), axes(0, 2)], id=f"run-time-axes-{keep}",
           grad=cls is not op.ReduceProd, second=False)
      for cls in FLOATING for keep in (True, False)),
    *(Case(cls(keepdims=False), [positive(2, 3)], id="all") for cls in FLOATING),
    *(Case(cls(), [positive(2, 3)], id="all-kept") for cls in FLOATING),
    *(Case(cls(keepdims=False), [positive(2, 3), axes()], id="empty-axes", const=(1,)) for cls in FLOATING),
    *(Case(cls(noop_with_empty_axes=True), [positive(2, 3), axes()], id="no-axes", const=(1,), oracle="reference")
      for cls in FLOATING),
    *(Case(cls(noop_with_empty_axes=True, keepdims=False), [positive(2, 3)], id="no-axes-input", oracle="reference")
      for cls in FLOATING),
    *(Case(cls(), [positive()], id="rank-0") for cls in FLOATING),
    *(Case(cls(), [positive(2, 3, dtype=np.float64), axes(1)], id="float64", oracle="reference", const=(1,))
      for cls in FLOATING),
    *(Case(cls(keepdims=False), [random(3, 4, dtype=dtype, low=low, high=6), axes(0)], id=np.dtype(dtype).name,
           oracle="reference")
      for cls in INTEGER for dtype, low in ((np.int32, -5), (np.int64, -5), (np.uint32, 0), (np.uint64, 0))
      # The reference evaluator rounds means down and squares in 64 bits.
      if cls is not op.ReduceSumSquare and (cls is not op.ReduceMean or low == 0)),
    *(Case(op.ReduceSumSquare(), [random(3, 4, dtype=dtype, low=0, high=9), axes(0)], id=np.dtype(dtype).name,
           oracle=lambda x, a: np.einsum("ij,ij->j", x, x)[np.newaxis])
      for dtype in (np.int32, np.int64, np.uint32, np.uint64)),
    *(Case(op.ReduceMean(), [np.array([[-3, -4], [5, 2]], dtype), axes(1)], id=f"truncates-{np.dtype(dtype)}",
           oracle=lambda x, a: np.array([[-3], [3]], x.dtype))
      for dtype in (np.int32, np.int64)),
    *(Case(cls(), [random(3, 4, dtype=dtype, low=0, high=100), axes(1)], id=np.dtype(dtype).name,
           oracle=lambda x, a, f=f: f(x, axis=1, keepdims=True))
      for cls, f in ORDER.items() for dtype in (np.int8, np.uint8, np.bool_)),
    *(Case(cls(), [positive(3, 4, dtype=dtype), axes(1)], id=np.dtype(dtype).name, oracle=in_float32(cls(), axis=1))
      for cls in (op.ReduceSum, op.ReduceMean, op.ReduceMax) for dtype in (np.float16, ml_dtypes.bfloat16)),
    # Over nothing.
    *(Case(cls(), [positive(2, 0, 3), axes(1)], id="empty", const=(1,),
           grad=cls not in (op.ReduceMean, op.ReduceLogSum),  # their slopes over nothing are infinite
           oracle=lambda x, a, v=value: np.full((2, 1, 3), v, np.float32))
      for cls, value in ((op.ReduceSum, 0), (op.ReduceMean, np.nan), (op.ReduceMax, -np.inf), (op.ReduceMin, np.inf),
                         (op.ReduceProd, 1), (op.ReduceL1, 0), (op.ReduceL2, 0), (op.ReduceSumSquare, 0),
                         (op.ReduceLogSum, -np.inf), (op.ReduceLogSumExp, -np.inf))),
    *(Case(cls(keepdims=False), [np.zeros((0, 2), dtype), axes(0)], id=f"empty-{np.dtype(dtype)}",
           oracle=lambda x, a, v=value: np.full(2, v, x.dtype))
      for cls, dtype, value in ((op.ReduceMax, np.int32, np.iinfo(np.int32).min), (op.ReduceMax, np.bool_, False),
                                (op.ReduceMin, np.uint8, 255), (op.ReduceMin, np.bool_, True))),
    *(Case(cls(keepdims=False), [positive(0, 2), axes(1)], id="no-results", const=(1,)) for cls in FLOATING),
    # Large and infinite exponents.
    Case(op.ReduceLogSumExp(), [np.array([[1000, 1001], [-1000, -1001], [-np.inf, 3], [-np.inf, -np.inf],
                                          [np.inf, 0], [np.nan, 0]]), axes(1)], id="range", grad=False,  # infinities
         oracle=lambda x, a: np.array([[1001.3132616875182], [-999.6867383124818], [3], [-np.inf], [np.inf],
                                       [np.nan]])),
    Case(op.ReduceProd(), [np.array([[0, 2, 3], [0, 0, 3], [1, 2, 3]], np.float32), axes(1)], id="zeros", const=(1,)),
    Case(op.ReduceSum(), [np.array([[2**31 - 1, 1]], np.int32), axes(1)], id="wraps",
         oracle=lambda x, a: np.array([[-(2**31)]], np.int32)),
    Case(op.ReduceMax(), [np.array([[1, np.nan, 3]], np.float32), axes(1)], id="nan", grad=False,  # NaN
         oracle=lambda x, a: np.array([[np.nan]], np.float32)),
]  # fmt: skip
