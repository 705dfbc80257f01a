"""ConstantOfShape and Range."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case

from graphc.ops import generate as op
from graphc.types import Tensor


def scalars(*values: float, dtype: type) -> list[np.ndarray]:
    return [np.array(v, dtype) for v in values]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# (start, limit, delta)
INT_RANGES = [(0, 5, 1), (3, 9, 3), (10, 4, -2), (2, 2, 1), (5, 0, 1), (0, 7, 3), (-3, 3, 2), (0, -7, -3)]
FLOAT_RANGES = [(0.25, 2.25, 0.75), (1.0, -1.2, -0.5), (3.0, 2.0, 0.5), (-1.5, 1.6, 0.4)]

CASES = [
    *(Case(op.ConstantOfShape(), [ints(*s)], id=str(s), const=(0,)) for s in [(2, 3), (), (0, 2), (4,)]),
    *(Case(op.ConstantOfShape(), [ints(*s)], id=f"{s}-run-time") for s in [(2, 3), (), (0, 2)]),
    *(Case(op.ConstantOfShape(Tensor(np.array([3], d))), [ints(2, 2)], id=str(np.dtype(d)), const=(0,))
      for d in (np.int8, np.int32, np.int64, np.uint8, np.float16, np.float64, bool)),
    Case(op.ConstantOfShape(Tensor(np.array([2.5], ml_dtypes.bfloat16))), [ints(2)], id="bfloat16",
         oracle=lambda s: np.full(s, 2.5, ml_dtypes.bfloat16)),
    *(Case(op.Range(), scalars(*r, dtype=d), id=f"{np.dtype(d)}-{r}", const=const)
      for d in (np.int64, np.int32) for r in INT_RANGES for const in ((), (0, 1, 2))),
    *(Case(op.Range(), scalars(*r, dtype=d), id=f"{np.dtype(d)}-{r}", const=const)
      for d in (np.float32, np.float64) for r in FLOAT_RANGES for const in ((), (0, 1, 2), (1,))),
    Case(op.Range(), scalars(-2, 9, 3, dtype=np.int16), id="int16"),
    # One float16 ulp at 3000 is 2: computed in float32, the elements are still the nearest ones.
    Case(op.Range(), scalars(0, 3000, 1, dtype=np.float16), id="float16", oracle="reference", opset=27),
    Case(op.Range(), scalars(0, 300, 1, dtype=ml_dtypes.bfloat16), id="bfloat16",
         oracle=lambda a, b, d: np.arange(float(a), float(b), float(d)).astype(ml_dtypes.bfloat16)),
]  # fmt: skip
