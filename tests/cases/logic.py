"""Comparison, logic, selection, identity."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import logic as op

SHAPES = [((2, 3), (2, 3)), ((2, 1, 4), (3, 1)), ((3,), ()), ((0, 3), (1, 3)), ((), ())]
COMPARISONS = [
    (op.Equal, np.equal), (op.Greater, np.greater), (op.GreaterOrEqual, np.greater_equal), (op.Less, np.less),
    (op.LessOrEqual, np.less_equal),
]  # fmt: skip
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
FLOAT8 = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2, ml_dtypes.float8_e5m2fnuz)
edges = np.array([-np.inf, -1, 0, np.nan, 2, np.inf], np.float32)
words = np.array([["a", "b"], ["", "ü"]], object)
masks = [random(2, 3, dtype=bool), random(2, 1, 3, dtype=bool, seed=1), random(dtype=bool)]


def choose(condition, x, y):
    return np.where(condition, x, y)


CASES = [
    *(
        Case(cls(), [random(*a, low=-3, high=3), random(*b, low=-3, high=3, seed=1)], id=f"{a}-{b}")
        for cls, _ in COMPARISONS
        for a, b in SHAPES
    ),
    *(
        Case(cls(), [random(3, 4, dtype=dtype, high=4, low=0), random(4, dtype=dtype, high=4, low=0, seed=1)], f,
             id=np.dtype(dtype).name)
        for cls, f in COMPARISONS
        for dtype in (*INTEGERS, *FLOATS)
    ),
    *(Case(cls(), [edges, edges[::-1].copy()], id="special") for cls, _ in COMPARISONS),
    *(Case(cls(), [np.arange(4), np.array(2)], id="const", const=(1,)) for cls, _ in COMPARISONS),
    Case(op.Equal(), [random(3, 4, dtype=bool), random(4, dtype=bool, seed=1)], id="bool"),
    Case(op.Equal(), [words, np.array(["a", "ü"], object)], id="string"),
    *(
        Case(cls(), [random(*a, dtype=bool), random(*b, dtype=bool, seed=1)], id=f"{a}-{b}")
        for cls in (op.And, op.Or, op.Xor)
        for a, b in SHAPES
    ),
    *(Case(op.Not(), [mask], id=f"{mask.shape}") for mask in masks),
    Case(op.Not(), [np.array([True, False])], id="const", const=(0,)),
    # kinds of numbers
    *(Case(op.IsNaN(), [edges.astype(dtype)], lambda x: np.isnan(x), id=np.dtype(dtype).name)
      for dtype in (*FLOATS, *FLOAT8)),
    *(Case(op.IsNaN(), [random(*shape)], id=f"{shape}") for shape in [(), (0, 2), (2, 3, 2)]),
    *(
        Case(op.IsInf(detect_negative=negative, detect_positive=positive), [edges], id=f"{negative}-{positive}")
        for negative in (True, False)
        for positive in (True, False)
    ),
    *(Case(op.IsInf(), [edges.astype(dtype)], lambda x: np.isinf(x), id=np.dtype(dtype).name)
      for dtype in (*FLOATS, *FLOAT8)),
    Case(op.IsInf(detect_positive=False), [edges.astype(ml_dtypes.float8_e5m2)],
         lambda x: np.array([1, 0, 0, 0, 0, 0], bool), id="float8-negative"),
    # selection
    *(
        Case(op.Where(), [random(*c, dtype=bool), random(*a), random(*b, seed=1)], id=f"{c}-{a}-{b}")
        for c, a, b in [((2, 3), (2, 3), (2, 3)), ((3,), (2, 1), ()), ((), (2, 3), (3,)), ((2, 1, 1), (3, 1), (2,)),
                        ((0, 2), (1,), (2,)), ((), (), ())]
    ),
    *(
        Case(op.Where(), [np.array([[True], [False]]), random(2, 3, dtype=dtype, high=9, low=0),
                          random(3, dtype=dtype, high=9, low=0, seed=1)], choose, id=np.dtype(dtype).name)
        for dtype in (*INTEGERS, *FLOATS, bool)
    ),
    *(
        Case(op.Where(), [np.array([True, False]), np.array([1 + 2j, 3], dtype), np.array([4j, 5j], dtype)], choose,
             id=np.dtype(dtype).name)
        for dtype in (np.complex64, np.complex128)
    ),
    Case(op.Where(), [np.array([[True, False], [False, True]]), words, np.array("z", object)], id="string"),
    Case(op.Where(), [np.array([True, False, False]), np.array([7]), np.array([1, 2, 3])], id="const", const=(0, 1)),
    Case(op.Where(), [np.array([True, True]), np.array([[1, 2]]), np.array([[5], [6]])], id="one-branch", const=(0, 1)),
    # identity
    *(Case(op.Identity(), [random(*shape)], id=f"{shape}") for shape in [(), (2, 3), (0, 2)]),
    *(
        Case(op.Identity(), [np.array([0, 1, 1]).astype(dtype)], lambda x: x, id=np.dtype(dtype).name)
        for dtype in (*INTEGERS, *FLOATS, *FLOAT8, bool, ml_dtypes.int4, ml_dtypes.uint2, ml_dtypes.float4_e2m1fn,
                      np.complex64)
    ),
    Case(op.Identity(), [words], id="string"),
    Case(op.Identity(), [[random(2, 3), random(1, 3)]], id="sequence", grad=False),  # of tensors only
    Case(op.StopGradient(), [random(2, 3)], oracle=lambda x: x, grad=False),  # it says that there is none
    Case(op.Barrier(), [random(2, 3), random(4), random(1)], oracle=lambda x, *before: x, id="two"),
]  # fmt: skip
