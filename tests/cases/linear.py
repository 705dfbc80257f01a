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
]  # fmt: skip
