"""Element-wise arithmetic."""

from __future__ import annotations

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
    Case(op.Neg(), [random(3, 4)]),
    Case(op.Neg(), [random(3, 4, dtype=np.int8, low=-9, high=9)], id="int8"),
]  # fmt: skip
