"""Conversion between element types: every pair, and then what happens at the edges of their ranges."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import FLOAT8, SMALL_INTEGERS, Case, random

from graphc.ops import cast as op
from graphc.types import (
    COMPLEX,
    DTYPES,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float4e2m1,
    float6e2m3,
    float6e3m2,
    float8e4m3fn,
    float8e5m2,
    float8e8m0,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    string,
    uint2,
    uint4,
    uint8,
    uint16,
    uint32,
    uint64,
)

INF, NAN = np.inf, np.nan


def ones_and_zeros(dtype):
    """[1, 0, 1] in `dtype`, as far as it has a zero."""
    if dtype is string:
        return np.array(["1", "0", "1"], object)
    return np.array([1, 1 if dtype is float8e8m0 else 0, 1]).astype(dtype.numpy)


def text(value, source):
    """How a number of type `source` is written."""
    if source in COMPLEX:
        return f"({value}+0j)" if value else "0j"
    if source is bool_:
        return str(bool(value))
    return f"{value}.0" if source.is_float else f"{value}"


def converted(source, to):
    """What `ones_and_zeros(source)` must become."""
    values = [1, 1 if source is float8e8m0 else 0, 1]
    if to is string:
        return np.array([text(v, source) for v in values], object)
    if to is float8e8m0:
        values = [v or 2.0**-127 for v in values]
    return np.array(values).astype(to.numpy)


def cast(values, source, to, expected, id, **attributes):
    """A row: `values` of type `source` become `expected` of type `to`, exactly."""
    want = np.array(expected, object if to is string else None)
    with np.errstate(over="ignore"):  # some are infinite in `source`
        given = np.array(values, source.numpy)
    return Case(op.Cast(to=to, **attributes), [given], lambda x: want.astype(to.numpy),
                id=f"{source}-{to}-{id}", rtol=0, atol=0, grad=False)  # differences do not see rounding  # fmt: skip


def limits(dtype):
    return float(ml_dtypes.finfo(dtype.numpy).max)


edges = [3.7, -3.7, 1e30, -1e30, INF, -INF, NAN]
words = ["12", "-3", "1e2", "2.75", "INF", "+inf", "-Inf", "NaN"]

CASES = [
    *(
        Case(op.Cast(to=to), [ones_and_zeros(source)], lambda x, s=source, t=to: converted(s, t), id=f"{source}-{to}",
             rtol=0, atol=0, grad=source.is_float and to is float64)  # others round
        for source in DTYPES
        for to in DTYPES
    ),
    *(
        Case(op.Cast(to=to), [random(*shape, dtype=source.numpy, low=0, high=9)], id=f"{source}-{to}-{shape}",
             grad=False)  # rounds
        for source, to in [(float32, int32), (int64, float32), (float64, float16), (bool_, float32), (int32, bool_)]
        for shape in [(), (0, 2), (2, 3), (2, 1, 3)]
    ),
    *(
        Case(op.Cast(to=to), [random(3, 4, dtype=source.numpy, low=-100, high=100)], id=f"{source}-{to}-onnxruntime",
             grad=False)  # rounds
        for source, to in [(float32, float16), (float32, int8), (float64, int64), (int32, int8), (int64, uint8),
                           (float16, float32), (int16, float64), (float32, float64)]
    ),
    Case(op.Cast(to=float32), [np.arange(6).reshape(2, 3)], id="const", const=(0,)),
    # floats to integers: truncated, clipped, NaN is 0
    cast(edges, float32, int32, [3, -3, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 0], "edges"),
    cast(edges, float64, int64, [3, -3, 2**63 - 1, -(2**63), 2**63 - 1, -(2**63), 0], "edges"),
    cast(edges, float32, int64, [3, -3, 2**63 - 1, -(2**63), 2**63 - 1, -(2**63), 0], "edges"),
    cast(edges, bfloat16, uint64, np.array([3, 0, 2**64 - 1, 0, 2**64 - 1, 0, 0], np.uint64), "edges"),
    cast(edges, float16, int8, [3, -3, 127, -128, 127, -128, 0], "edges"),
    cast(edges, float16, uint16, [3, 0, 65535, 0, 65535, 0, 0], "edges"),
    cast([-0.9, 255.9, 256, 127.5], float32, uint8, [0, 255, 255, 127], "bounds"),
    cast([2.0**31, 2.0**31 - 1, -(2.0**31) - 0.5], float64, int32, [2**31 - 1, 2**31 - 1, -(2**31)], "bounds"),
    # … but those of 4 and 2 bits wrap
    *(
        Case(op.Cast(to=to), [np.array([[-9.5, -8, -1.7, 0], [0.6, 7, 8, 20]], source.numpy)], "reference",
             id=f"{source}-{to}-wraps", grad=False)  # rounds
        for source in (float32, float16)
        for to in SMALL_INTEGERS
    ),
    # integers wrap
    *(
        Case(op.Cast(to=to), [np.array([-300, -129, -1, 127, 128, 200, 70000], np.int32)], "reference",
             id=f"int32-{to}-wraps")
        for to in (int8, uint8, int16, uint16, uint32, uint64, *SMALL_INTEGERS)
    ),
    cast([-1, 2**62], int64, uint64, np.array([2**64 - 1, 2**62], np.uint64), "wraps"),
    cast([2**63], uint64, int64, [-(2**63)], "wraps"),
    cast([16777217, -3], int64, float32, [16777216, -3], "rounds"),
    cast([70000, -70000], int32, float16, [INF, -INF], "overflows"),
    cast([1e39, -1e39, NAN], float64, float32, [INF, -INF, NAN], "overflows"),
    cast([1e5, 1.001], float32, float16, [INF, np.float16(1.001)], "overflows"),
    cast([NAN, 0.5, -0.0, INF], float32, bool_, [True, True, False, True], "special"),
    # 8-bit floats
    *(
        cast([1e9, -1e9, INF, -INF, NAN, 0.1], float32, to, [limits(to), -limits(to)] * 2 + [NAN, 0.1], "saturates")
        for to in FLOAT8
    ),
    *(
        cast([1e9, -1e9, INF, -INF, NAN, 0.1], float32, to,
             [INF, -INF, INF, -INF, NAN, 0.1] if to is float8e5m2 else [NAN] * 5 + [0.1], "overflows", saturate=False)
        for to in FLOAT8
    ),
    *(
        Case(op.Cast(to=to, saturate=saturate), [random(4, 5, low=-500, high=500).astype(source.numpy)], "reference",
             id=f"{source}-{to}-{saturate}", grad=False)  # rounds
        for source in (float32, float16, float64)
        for to in FLOAT8
        for saturate in (True, False)
    ),
    cast([1000, -1000, 3], int32, float8e4m3fn, [448, -448, 3], "saturates"),
    # float8e8m0: powers of two
    *(
        cast([0, 1e-45, 1, 1.2, 1.5, 1.9, 2.0**127, 3e38, INF, NAN], float32, float8e8m0, expected, mode,
             round_mode=mode)
        for mode, expected in [
            ("up", [2.0**-127, 2.0**-127, 1, 2, 2, 2, 2.0**127, 2.0**127, 2.0**127, NAN]),
            ("down", [2.0**-127, 2.0**-127, 1, 1, 1, 1, 2.0**127, 2.0**127, 2.0**127, NAN]),
            ("nearest", [2.0**-127, 2.0**-127, 1, 1, 2, 2, 2.0**127, 2.0**127, 2.0**127, NAN]),
        ]
    ),
    cast([0, 1e-45, 1.5, 3e38, INF, NAN], float32, float8e8m0, [NAN, NAN, 2, NAN, NAN, NAN], "no-saturate",
         saturate=False, round_mode="nearest"),
    # floats of 4 and 6 bits have no infinity
    cast([1e9, -INF, 2.4, 0.1], float32, float4e2m1, [6, -6, 2, 0], "saturates"),
    cast([1e9, -INF, 2.4, 0.1], float32, float6e2m3, [7.5, -7.5, 2.5, 0.125], "saturates"),
    cast([1e9, -INF, 2.4, 0.1], float32, float6e3m2, [28, -28, 2.5, 0.125], "saturates"),
    # strings
    cast([0.1, 1, 1e-7, -2.5, NAN, INF, -INF], float32, string, ["0.1", "1.0", "1e-07", "-2.5", "NaN", "INF", "-INF"],
         "text"),
    cast([0.1, 1 / 3], float64, string, ["0.1", "0.3333333333333333"], "text"),
    cast([-7, 2**62], int64, string, ["-7", str(2**62)], "text"),
    cast(words, string, float32, [12, -3, 100, 2.75, INF, INF, -INF, NAN], "text"),
    cast(words, string, float64, [12, -3, 100, 2.75, INF, INF, -INF, NAN], "text"),
    cast(words, string, bfloat16, [12, -3, 100, 2.75, INF, INF, -INF, NAN], "text"),
    cast(words, string, int32, [12, -3, 100, 2, 2**31 - 1, 2**31 - 1, -(2**31), 0], "text"),
    cast(["9007199254740993", "-1"], string, int64, [9007199254740993, -1], "exact"),
    cast(["300", "-1"], string, uint8, [255, 0], "clips"),
    cast(["true", "False", "2", "0.0"], string, bool_, [True, False, True, False], "names"),
    # complex
    cast([1 + 2j, -1.5j], complex64, float32, [1, 0], "real"),
    cast([1 + 2j, -1.5j], complex64, complex128, [1 + 2j, -1.5j], "wider"),
    # the other two ops
    *(
        Case(op.CastLike(), [ones_and_zeros(source), ones_and_zeros(to)[:0]],
             lambda x, _, s=source, t=to: converted(s, t), id=f"{source}-{to}", grad=False)  # checked for Cast
        for source, to in [(float32, int32), (int8, bool_), (float16, float8e5m2), (string, float32), (bool_, string)]
    ),
    Case(op.CastLike(), [random(2, 3), random(4, dtype=np.float64)], id="float64"),
    Case(op.CastLike(saturate=False), [np.array([1e9], np.float32), np.zeros(1, ml_dtypes.float8_e4m3fn)],
         lambda x, _: np.array([NAN], ml_dtypes.float8_e4m3fn), id="no-saturate", grad=False),  # rounds
    *(
        Case(op.BitCast(to=to), [values], lambda x, t=to: x.view(t.numpy), id=f"{values.dtype}-{to}")
        for values, to in [
            (np.array([1, -2.5, NAN], np.float32), int32), (np.array([[-1], [5]], np.int64), uint64),
            (np.array(1.5, np.float16), bfloat16), (np.zeros((0, 2), np.int8), uint8),
            (np.array([1, 2], np.float64), complex64), (np.array([-1, 3], ml_dtypes.int4), uint4),
            (np.array([True, False]), uint8), (np.array([-1, 0], ml_dtypes.int2), uint2),
        ]
    ),
]  # fmt: skip
