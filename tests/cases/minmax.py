"""Minimum, maximum, sum and mean of several tensors, and clipping."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import minmax as op

NAN = np.nan
SHAPES = [((2, 3),), ((2, 3), (2, 3)), ((2, 1, 3), (3,), (4, 1)), ((), (2,)), ((0, 3), (1, 3))]
DTYPES = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64)
nans = [np.array([1, NAN, 3], np.float32), np.array([[2], [NAN]], np.float32)]


def several(shapes, dtype=np.float32, low=-4, high=4):
    return [random(*shape, dtype=dtype, low=low, high=high, seed=i) for i, shape in enumerate(shapes)]


def clip(low, high, dtype=np.float32):
    return [None if b is None else np.array(b, dtype) for b in (low, high)]


x = random(3, 4, low=-4, high=4)
CASES = [
    *(
        Case(cls(), several(shapes), id="-".join(map(str, shapes)))
        for cls in (op.Max, op.Min, op.Sum, op.Mean)
        for shapes in SHAPES
    ),
    *(
        Case(cls(), several([(3,), (2, 3)], np.float64), f, id="float64", rtol=1e-15)
        for cls, f in [(op.Max, np.maximum), (op.Min, np.minimum), (op.Sum, np.add),
                       (op.Mean, lambda a, b: (a + b) / 2)]
    ),
    *(
        Case(cls(), several([(3,), (2, 3), (1,)], dtype, high=9, low=0), f, id=np.dtype(dtype).name)
        for cls, f in [(op.Max, lambda a, b, c: np.maximum(np.maximum(a, b), c)),
                       (op.Min, lambda a, b, c: np.minimum(np.minimum(a, b), c))]
        for dtype in (*DTYPES, np.float16, ml_dtypes.bfloat16)
    ),
    *(
        Case(cls(), several([(3,), (2, 3), (1,)], dtype), f, id=np.dtype(dtype).name, rtol=rtol)
        for cls, f in [
            (op.Sum, lambda a, b, c: (a.astype(np.float64) + b + c).astype(a.dtype)),
            (op.Mean, lambda a, b, c: ((a.astype(np.float64) + b + c) / 3).astype(a.dtype)),
        ]
        for dtype, rtol in [(np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)]
    ),
    *(Case(cls(), nans, id="nan", grad=False) for cls in (op.Max, op.Min)),  # NaN has no differences
    Case(op.Max(), [np.arange(-3, 3), np.array(0)], id="int64-const", const=(1,)),
    # clipping
    *(
        Case(op.Clip(), [x, *clip(low, high)], id=f"{low}-{high}-{const}", const=const)
        for low, high in [(-1, 2), (None, 1.5), (-2, None), (3, -1), (-9, 9)]
        for const in [(), (1, 2)]
    ),
    Case(op.Clip(), [x], id="unbounded"),
    Case(op.Clip(), [x, np.array([-1], np.float32), np.array([1], np.float32)], lambda v, a, b: np.clip(v, a, b),
         id="one-element"),
    Case(op.Clip(), [random(), *clip(-0.1, 0.1)], id="scalar"),
    Case(op.Clip(), [random(0, 2), *clip(-0.1, 0.1)], id="empty"),
    Case(op.Clip(), [np.array([NAN, 5], np.float32), *clip(-1, 1)], id="nan", grad=False),  # NaN has no differences
    *(
        Case(op.Clip(), [random(3, 4, dtype=dtype, low=0, high=9), *clip(2, 6, dtype)],
             lambda v, a, b: np.minimum(b, np.maximum(v, a)), id=np.dtype(dtype).name)
        for dtype in (*DTYPES, np.float16, np.float64, ml_dtypes.bfloat16)
    ),
]  # fmt: skip
