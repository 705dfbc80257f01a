"""Running sums and products, triangles, identity matrices."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import cumulative as op
from graphc.types import bool_, float64, int32

FLAGS = [(False, False), (True, False), (False, True), (True, True)]


def number(value: int, dtype: type = np.int64) -> np.ndarray:
    return np.array(value, dtype)


CASES = [
    *(Case(op.CumSum(exclusive, reverse), [random(2, 3, 4), number(axis)], id=f"{axis}-{exclusive}-{reverse}",
           const=(1,))
      for exclusive, reverse in FLAGS for axis in (0, 1, -1)),
    *(Case(op.CumProd(exclusive, reverse), [random(2, 3, 2, low=1, high=2), number(axis)],
           id=f"{axis}-{exclusive}-{reverse}", const=(1,), oracle="reference")
      for exclusive, reverse in FLAGS for axis in (0, 1, -1)),
    Case(op.CumSum(), [random(5), number(0, np.int32)], id="run-time-axis"),
    Case(op.CumSum(), [random(5), np.array([-1], np.int64)], id="axis-vector", oracle=lambda x, a: np.cumsum(x)),
    Case(op.CumProd(), [random(5, low=1, high=2), number(0, np.int32)], id="run-time-axis", oracle="reference",
         grad=False),  # its gradient needs a constant axis
    *(Case(cls(), [random(2, 3, dtype=dtype, low=0, high=9), number(1)], id=np.dtype(dtype).name,
           oracle=lambda x, a, f=f: f(x, 1, dtype=x.dtype), const=(1,))
      for cls, f in ((op.CumSum, np.cumsum), (op.CumProd, np.cumprod))
      for dtype in (np.int32, np.int64, np.uint32, np.uint64, np.float64)),
    *(Case(op.CumSum(), [random(2, 40).astype(dtype), number(1)], id=np.dtype(dtype).name, const=(1,),
           oracle=lambda x, a: np.cumsum(x.astype(np.float32), 1).astype(x.dtype))
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    *(Case(op.CumSum(exclusive, reverse), [random(2, 0, 3), number(1)], id=f"empty-{exclusive}-{reverse}", const=(1,),
           oracle=lambda x, a: x)
      for exclusive, reverse in FLAGS),
    *(Case(op.CumProd(exclusive, reverse), [np.array([[0, 2, 3], [4, 0, 0.5], [2, 3, 0]], np.float32), number(1)],
           id=f"zeros-{exclusive}-{reverse}", oracle="reference", const=(1,))
      for exclusive, reverse in FLAGS),
    # Triangles.
    *(Case(op.Trilu(upper), [random(*shape)], id=f"{shape}-{upper}")
      for upper in (True, False) for shape in ((3, 3), (2, 4), (2, 2, 3, 2))),
    *(Case(op.Trilu(upper), [random(3, 4), number(k)], id=f"k={k}-{upper}", const=(1,) if k > 0 else ())
      for upper in (True, False) for k in (-9, -1, 0, 1, 2, 9)),
    *(Case(op.Trilu(), [random(2, 3, dtype=dtype, low=-9, high=9)], id=np.dtype(dtype).name, oracle=np.triu)
      for dtype in (np.int8, np.int64, np.bool_, np.float16, np.complex64)),
    Case(op.Trilu(), [random(2, 3).astype(ml_dtypes.bfloat16)], id="bfloat16", oracle=np.triu),
    Case(op.Trilu(upper=False), [np.array([["a", "b"], ["c", "d"]], object)], id="string",
         oracle=lambda x: np.array([["a", ""], ["c", "d"]], object)),
    Case(op.Trilu(), [random(2, 0, 3)], id="empty"),
    Case(op.Trilu(), [random(3, 3), np.array([1], np.int64)], id="k-vector", const=(1,)),
    # Identities.
    *(Case(op.EyeLike(k=k), [random(3, 4)], id=f"k={k}") for k in (-9, -1, 0, 2, 9)),
    *(Case(op.EyeLike(dtype), [random(2, 2, dtype=np.int64, low=0, high=2)], id=f"{dtype}")
      for dtype in (None, int32, float64)),
    Case(op.EyeLike(bool_), [random(2, 2)], id="bool", oracle=lambda x: np.eye(2, dtype=bool)),
    Case(op.EyeLike(), [random(0, 2)], id="empty"),
]  # fmt: skip
