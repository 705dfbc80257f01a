"""Elementary functions and powers."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import math as op

LAYOUTS = [(2, 3), (), (0, 3), (2, 1, 3, 2)]
INF, NAN = np.inf, np.nan
special = np.array([-INF, -1.5, -0.0, 0.0, 0.5, 1.5, 2.5, INF, NAN], np.float32)
halves = np.array([-2.5, -1.5, -0.5, -0.2, 0.3, 0.5, 1.5, 2.5, 3.7], np.float32)
exact_erf = np.vectorize(math.erf, otypes=[np.float64])

# op, the interval of the inputs, the NumPy function
FUNCTIONS = [
    (op.Abs, -2, 2, np.abs), (op.Sign, -2, 2, np.sign), (op.Ceil, -2, 2, np.ceil), (op.Floor, -2, 2, np.floor),
    (op.Round, -2, 2, np.rint), (op.Reciprocal, 0.5, 2, np.reciprocal), (op.Sqrt, 0.5, 4, np.sqrt),
    (op.Exp, -2, 2, np.exp), (op.Log, 0.5, 4, np.log), (op.Erf, -2, 2, exact_erf),
    (op.Sin, -4, 4, np.sin), (op.Cos, -4, 4, np.cos), (op.Tan, -1, 1, np.tan),
    (op.Asin, -0.9, 0.9, np.arcsin), (op.Acos, -0.9, 0.9, np.arccos), (op.Atan, -4, 4, np.arctan),
    (op.Sinh, -2, 2, np.sinh), (op.Cosh, -2, 2, np.cosh), (op.Tanh, -2, 2, np.tanh),
    (op.Asinh, -4, 4, np.arcsinh), (op.Acosh, 1.5, 4, np.arccosh), (op.Atanh, -0.9, 0.9, np.arctanh),
]  # fmt: skip


def narrow(function):
    """`function` in float64, rounded once to the type of the input."""
    return lambda x: function(x.astype(np.float64)).astype(x.dtype)


def exact_power(x, y):
    """Integer powers by Python's integers, wrapped to the type of x."""
    wide = [int(a) ** int(b) for a, b in np.broadcast(x, y)]
    shape = np.broadcast_shapes(x.shape, y.shape)
    bits = 8 * x.dtype.itemsize
    wrapped = [(w + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1) for w in wide]
    return np.array(wrapped, x.dtype).reshape(shape)


CASES = [
    *(
        Case(cls(), [random(*shape, low=low, high=high)], id=f"float32-{shape}")
        for cls, low, high, _ in FUNCTIONS
        for shape in LAYOUTS
    ),
    *(
        Case(cls(), [random(3, 4, dtype=np.float64, low=low, high=high)], narrow(f), id="float64", rtol=1e-14)
        for cls, low, high, f in FUNCTIONS
    ),
    # 16-bit floats are held to the exact result, rounded; one unit in the last place is allowed.
    *(
        Case(cls(), [random(3, 4, dtype=dtype, low=low, high=high)], narrow(f), id=np.dtype(dtype).name, rtol=rtol)
        for cls, low, high, f in FUNCTIONS
        for dtype, rtol in [(np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)]
    ),
    *(
        Case(cls(), [random(3, 4, dtype=dtype, low=low, high=9)], id=np.dtype(dtype).name)
        for cls in (op.Abs, op.Sign)
        for dtype, low in [(np.int8, -9), (np.int32, -9), (np.int64, -9), (np.uint8, 0), (np.uint64, 0)]
    ),
    Case(op.Abs(), [np.array([-128, -127, 127], np.int8)], lambda x: np.array([-128, 127, 127], np.int8), id="wraps"),
    *(
        Case(cls(), [special], narrow(f), id="special", grad=False)  # infinities and kinks
        for cls, _, _, f in FUNCTIONS
    ),
    Case(op.Round(), [halves], id="halves", grad=False),  # jumps at the halves
    Case(op.Erf(), [np.linspace(-6.5, 6.5, 100)], exact_erf, id="wide", rtol=1e-15, atol=0),
    # powers
    *(
        Case(op.Pow(), [random(*a, low=0.5, high=2), random(*b, low=-2, high=3, seed=1)], id=f"{a}-{b}")
        for a, b in [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((3,), ()), ((), (2, 2)), ((0, 3), (3,))]
    ),
    *(
        Case(op.Pow(), [random(2, 3, low=0.5, high=2), np.array(y, np.float32)], id=f"to-{y}", const=(1,))
        for y in (2, 3, -1, 0, 0.5, 1)
    ),
    Case(op.Pow(), [random(2, 3, low=-2, high=2), np.array([[2], [3]], np.int64)], id="integer-exponent"),
    Case(op.Pow(), [random(2, 3, low=-2, high=2), np.array([2], np.int32)], id="square", const=(1,)),
    Case(op.Pow(), [random(2, low=0.5, high=2), np.array([[2]], np.int32)], id="square-of-lower-rank"),
    Case(op.Pow(), [np.zeros(2, np.float32), np.array([0, 2], np.float32)], id="of-zero", const=(1,),
         grad=False),  # one-sided
    Case(op.Pow(), [random(2, 3, low=0.5, high=2), random(3, dtype=np.float64, low=-2, high=2)], id="float64-exponent"),
    Case(op.Pow(), [random(2, 3, dtype=np.float64, low=0.5, high=2), random(3, low=-2, high=2)], id="float64-base"),
    Case(op.Pow(), [random(3, dtype=np.float16, low=0.5, high=2), random(3, dtype=np.float16, low=-2, high=2)],
         lambda x, y: np.power(x.astype(np.float64), y).astype(x.dtype), id="float16", rtol=1e-3),
    Case(op.Pow(), [random(3, dtype=ml_dtypes.bfloat16, low=0.5, high=2), np.array([2, 3, 1], np.int8)],
         lambda x, y: np.power(x.astype(np.float64), y).astype(x.dtype), id="bfloat16", rtol=8e-3),
    *(
        Case(op.Pow(), [random(3, 4, dtype=x, low=-9, high=9), random(4, dtype=y, low=0, high=6, seed=1)],
             exact_power, id=f"{np.dtype(x)}-{np.dtype(y)}")
        for x, y in [(np.int32, np.int32), (np.int64, np.int64), (np.int32, np.uint8), (np.int64, np.int16)]
    ),
    Case(op.Pow(), [np.array([3, 7, -3], np.int64), np.array([40, 41, 63], np.int64)], exact_power, id="wraps"),
    Case(op.Pow(), [np.array([1, -1, -1, 2, 0], np.int32), np.array([-3, -3, -2, -1, -1], np.int32)],
         lambda x, y: np.array([1, -1, 1, 0, 2**31 - 1], np.int32), id="negative-exponent"),
    Case(op.Pow(), [np.array([2, 9, 10, -2], np.int32), np.array([0.5, 0.5, 20, 3], np.float32)],
         lambda x, y: np.array([1, 3, 2**31 - 1, -8], np.int32), id="int-to-float"),
]  # fmt: skip
