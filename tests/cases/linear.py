"""Matrix products and what is built on them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import linear as op


def product_in_float32(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)


CASES = [
    *(Case(op.MatMul(), [random(*a), random(*b, seed=1)], id=f"{a}-{b}")
      for a, b in [((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3, 4), (4, 2)),
                   ((3,), (2, 3, 4)), ((2, 2, 3), (3,)), ((2, 1, 2, 3), (3, 3, 2)), ((1, 2, 3), (2, 3, 1)),
                   ((2, 3), (2, 3, 2)), ((0, 3), (3, 2)), ((2, 3, 0), (0, 2)), ((2, 0), (0,)), ((0, 2, 3), (3, 4))]),
    *(Case(op.MatMul(), [random(2, 3, dtype=dtype, low=0, high=9), random(3, 2, dtype=dtype, low=0, high=9, seed=1)],
           id=np.dtype(dtype).name)
      for dtype in (np.int32, np.int64, np.uint32, np.uint64, np.float64)),
    *(Case(op.MatMul(), [random(2, 40).astype(dtype), random(40, 3, seed=1).astype(dtype)], id=np.dtype(dtype).name,
           oracle=product_in_float32)
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    Case(op.MatMul(), [random(65, 130, low=0.5), random(130, 70, low=0.5)], id="large"),
    Case(op.MatMul(), [random(3, 3, 2).T, random(3, 4, 2, seed=1).transpose(2, 0, 1)], id="strided"),
    # Gemm.
    *(Case(op.Gemm(transA=ta, transB=tb), [random(*((3, 2) if ta else (2, 3))), random(*((4, 3) if tb else (3, 4)))],
           id=f"{ta}-{tb}")
      for ta in (False, True) for tb in (False, True)),
    *(Case(op.Gemm(0.5, 2.0, ta, tb), [random(*((3, 2) if ta else (2, 3))), random(*((4, 3) if tb else (3, 4))),
                                       random(4)], id=f"bias-{ta}-{tb}")
      for ta in (False, True) for tb in (False, True)),
    *(Case(op.Gemm(), [random(2, 3), random(3, 4, seed=1), random(*c)], id=f"c={c}")
      for c in ((), (1,), (4,), (1, 1), (1, 4), (2, 1), (2, 4))),
    Case(op.Gemm(beta=0.0), [random(2, 3), random(3, 4), random(2, 4)], id="beta=0", oracle=lambda a, b, c: a @ b),
    Case(op.Gemm(), [random(2, 0), random(0, 3), random(3)], id="empty-inner"),
    Case(op.Gemm(), [random(0, 2), random(2, 3), random(3)], id="no-rows"),
    *(Case(op.Gemm(alpha=2.0, beta=3.0), [random(2, 3, dtype=dtype, low=0, high=9),
                                                  random(3, 2, dtype=dtype, low=0, high=9),
                                                  random(2, dtype=dtype, low=0, high=9)], id=np.dtype(dtype).name,
           oracle=lambda a, b, c: a @ b * a.dtype.type(2) + c * a.dtype.type(3))
      for dtype in (np.int32, np.int64, np.uint32, np.uint64, np.float64)),
    Case(op.Gemm(alpha=0.5), [np.array([[3, -3]], np.int32), np.array([[1], [2]], np.int32)], id="truncates",
         oracle=lambda a, b: np.array([[-1]], np.int32)),
    *(Case(op.Gemm(transB=True), [random(2, 40).astype(dtype), random(3, 40).astype(dtype), random(3).astype(dtype)],
           id=np.dtype(dtype).name,
           oracle=lambda a, b, c: (a.astype("f4") @ b.astype("f4").T + c.astype("f4")).astype(a.dtype))
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    # Determinants.
    *(Case(op.Det(), [random(*shape)], id=str(shape), oracle=np.linalg.det)
      for shape in ((1, 1), (2, 2), (3, 3), (2, 3, 3), (0, 2, 2))),
    Case(op.Det(), [np.zeros((2, 0, 0), np.float32)], id="nothing", oracle=lambda x: np.ones(2, np.float32)),
    Case(op.Det(), [np.array([[1, 2], [2, 4]], np.float32)], id="singular", oracle=lambda x: np.zeros((), np.float32)),
    Case(op.Det(), [random(3, 3, dtype=np.float64)], id="float64", oracle=np.linalg.det),
    Case(op.Det(), [np.array([[1, 2], [3, 5]], np.float16)], id="float16", oracle=lambda x: np.array(-1, np.float16)),
]  # fmt: skip
