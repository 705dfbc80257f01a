"""Element-wise arithmetic."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import arithmetic as op

INT_MIN = np.iinfo(np.int32).min
positive = random(4, 5, low=0.5, high=2, seed=1)

CASES = [
    *(
        Case(cls(), [random(*a, dtype=dtype, low=-9, high=9), random(*b, dtype=dtype, low=1, high=9, seed=1)],
             id=f"{np.dtype(dtype)}-{a}-{b}")
        for cls in (op.Add, op.Sub, op.Mul, op.Div)
        for dtype, a, b in [(np.float32, (2, 3), (2, 3)), (np.float32, (2, 1, 4), (3, 1)), (np.float64, (3,), ()),
                            (np.int32, (2, 3), (3,)), (np.int64, (0, 3), (1, 3)), (np.float16, (4,), (2, 4))]
    ),
    Case(op.Div(), [np.array([INT_MIN, -7, 7, -6], np.int32), np.array([-1, 2, -2, 4], np.int32)], id="truncates",
         oracle=lambda a, b: np.array([INT_MIN, -3, -3, -1], np.int32)),
    Case(op.Mod(), [random(4, 5, dtype=np.int32, low=-9, high=9), random(5, dtype=np.int32, low=1, high=4)], id="int"),
    Case(op.Mod(fmod=True), [random(4, 5, low=-5, high=5), positive], id="fmod"),
    Case(op.Mod(), [np.array([-4.3, 7.2, 5, 4.3, -7.2, 8], np.float32),
                    np.array([2.1, -3.4, 8, -2.1, 3.4, 5], np.float32)], "reference", id="float"),
    Case(op.Mod(), [np.array([0, -0.0, -3, 3, np.inf, 1, np.nan], np.float32),
                    np.array([-2, 2, np.inf, -np.inf, 2, 0, 1], np.float32)], "reference", id="special", grad=False),
    *(
        Case(op.Mod(fmod=fmod), [random(4, dtype=dtype, low=-9, high=9), random(4, dtype=dtype, low=1, high=3, seed=1)],
             lambda a, b, f=np.fmod if fmod else np.mod: f(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype),
             id=f"{np.dtype(dtype)}-{fmod}")
        for fmod in (False, True)
        for dtype in (np.float16, ml_dtypes.bfloat16, np.float64, np.int8)
    ),
    *(
        Case(cls(), [random(2, 3, dtype=dtype, low=1, high=60), random(3, dtype=dtype, low=1, high=60, seed=1)],
             f, id=np.dtype(dtype).name)
        for cls, f in [(op.Add, np.add), (op.Sub, np.subtract), (op.Mul, np.multiply), (op.Div, lambda a, b: a // b)]
        for dtype in (np.int8, np.int16, np.uint8, np.uint16, np.uint32, np.uint64)
    ),
    *(
        Case(cls(), [random(2, 3, dtype=ml_dtypes.bfloat16, low=1, high=60), np.array(3, ml_dtypes.bfloat16)],
             lambda a, b, f=f: f(a.astype(np.float64), 3).astype(a.dtype), id="bfloat16")
        for cls, f in [(op.Add, np.add), (op.Sub, np.subtract), (op.Mul, np.multiply), (op.Div, np.divide)]
    ),
    *(
        Case(op.Neg(), [random(3, 4, dtype=dtype, low=-9, high=9)], lambda x: np.negative(x), id=np.dtype(dtype).name)
        for dtype in (np.float16, ml_dtypes.bfloat16, np.float64, np.int16, np.int32, np.int64)
    ),
    Case(op.Neg(), [random(3, 4)]),
    Case(op.Neg(), [random(3, 4, dtype=np.int8, low=-9, high=9)], id="int8"),
]  # fmt: skip
