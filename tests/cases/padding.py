"""Pad."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import padding as op


def ints(*values: int, dtype: type = np.int64) -> np.ndarray:
    return np.array(values, dtype)


value = np.array(1.5, np.float32)
# (input shape, pads)
PADS = [((3, 4), (1, 0, 2, 3)), ((4,), (2, 2)), ((3, 4), (0, 0, 0, 0)), ((2, 3, 4), (0, 1, 0, 0, 0, 2)),
        ((3, 4), (-1, 0, 1, -2)), ((5,), (-2, -1)), ((4,), (-1, 2))]  # fmt: skip


def numpy_pad(mode: str) -> object:
    """What NumPy gives for non-negative pads."""
    return lambda x, pads: np.pad(x, list(zip(pads[: x.ndim], pads[x.ndim :], strict=True)), mode=mode)


CASES = [
    *(Case(op.Pad(mode), [random(*s), ints(*p)], id=f"{mode}-{s}-{p}", const=(1,))
      for mode in op.MODES for s, p in PADS),
    *(Case(op.Pad(mode), [random(*s), ints(*p)], id=f"{mode}-{s}-{p}-run-time")
      for mode in op.MODES for s, p in PADS[::3]),
    Case(op.Pad(), [random(3, 2), ints(1, 0, 0, 1), value], id="value", const=(1,)),
    Case(op.Pad(), [random(3, 2), ints(1, -1, 0, 1), value], id="value-run-time"),
    *(Case(op.Pad(mode), [random(2, 3), ints(1, 2), None, ints(a)], id=f"{mode}-axis-{a}", const=(1, 3))
      for mode in op.MODES for a in (1, -1)),
    Case(op.Pad(), [random(2, 3, 4), ints(1, 0, 2, 1), value, ints(2, 0, dtype=np.int32)], id="axes", const=(1, 3)),
    Case(op.Pad(), [random(2, 3, 4), ints(1, 0, 2, 1), value, ints(-1, 0)], id="axes-run-time"),
    *(Case(op.Pad(mode), [random(3), ints(7, 8)], id=f"{mode}-far", const=(1,), oracle=numpy_pad(mode))
      for mode in op.MODES),
    *(Case(op.Pad(mode), [random(1, 2), ints(2, 0, 1, 0)], id=f"{mode}-one", oracle=numpy_pad(mode))
      for mode in op.MODES),
    Case(op.Pad(), [random(0, 2), ints(1, 0, 1, 0), value], id="empty"),
    Case(op.Pad(), [random(), ints()], id="scalar", oracle=lambda x, p: x),
    Case(op.Pad(), [random(2), ints(-5, 8), value], id="beyond",
         oracle=lambda x, p, v: np.full(5, v, x.dtype)),
    *(Case(op.Pad(), [random(2, 3, dtype=d, high=9), ints(1, 0, 0, 1), np.array(1, d)], id=str(np.dtype(d)))
      for d in (np.int8, np.int32, np.int64, np.uint8, np.float16, np.float64, bool)),
    Case(op.Pad(), [random(2, dtype=ml_dtypes.bfloat16), ints(1, 0), np.array(2, ml_dtypes.bfloat16)], id="bfloat16",
         oracle=lambda x, p, v: np.concatenate([v[None], x])),
    Case(op.Pad(), [np.array(["a"], object), ints(1, 1)], id="string",
         oracle=lambda x, p: np.array(["", "a", ""], object)),
]  # fmt: skip
