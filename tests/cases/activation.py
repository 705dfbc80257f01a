"""Activation functions."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import activation as op

# Away from the kinks at 0, ±0.5, ±1, ±2.5 and ±3 that the gradients have.
x = np.array([[-4.1, -2.9, -1.7, -0.7], [-0.3, 0.2, 0.6, 0.9], [1.3, 2.2, 3.4, 5.2]], np.float32)
wide = np.array([-1e4, -100, -20, 20, 100, 1e4], np.float32)
exact_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def softplus(v):
    return np.logaddexp(v, 0)


def elu(v, alpha):
    return np.where(v > 0, v, alpha * np.expm1(v))


# the op, its function in float64
VARIANTS = [
    (op.Relu(), lambda v: np.maximum(v, 0)),
    (op.LeakyRelu(), lambda v: np.where(v > 0, v, 0.01 * v)),
    (op.LeakyRelu(alpha=0.2), lambda v: np.where(v > 0, v, 0.2 * v)),
    (op.ThresholdedRelu(), lambda v: np.where(v > 1, v, 0)),
    (op.ThresholdedRelu(alpha=2.5), lambda v: np.where(v > 2.5, v, 0)),
    (op.Shrink(), lambda v: np.where(np.abs(v) > 0.5, v, 0)),
    (op.Shrink(bias=0.25, lambd=1.0), lambda v: np.where(np.abs(v) > 1, v - 0.25 * np.sign(v), 0)),
    (op.Elu(), lambda v: elu(v, 1)),
    (op.Elu(alpha=0.5), lambda v: elu(v, 0.5)),
    (op.Selu(), lambda v: 1.050701 * elu(v, 1.6732632)),
    (op.Selu(alpha=2.0, gamma=0.5), lambda v: 0.5 * elu(v, 2)),
    (op.Celu(), lambda v: elu(v, 1)),
    (op.Celu(alpha=2.0), lambda v: np.maximum(v, 0) + np.minimum(0, 2 * np.expm1(v / 2))),
    (op.Sigmoid(), sigmoid),
    (op.Swish(), lambda v: v * sigmoid(v)),
    (op.Swish(alpha=0.5), lambda v: v * sigmoid(0.5 * v)),
    (op.HardSigmoid(), lambda v: np.clip(0.2 * v + 0.5, 0, 1)),
    (op.HardSigmoid(alpha=0.5, beta=0.6), lambda v: np.clip(0.5 * v + 0.6, 0, 1)),
    (op.HardSwish(), lambda v: v * np.clip(v / 6 + 0.5, 0, 1)),
    (op.Softplus(), softplus),
    (op.Mish(), lambda v: v * np.tanh(softplus(v))),
    (op.Softsign(), lambda v: v / (1 + np.abs(v))),
    (op.Gelu(), lambda v: 0.5 * v * (1 + exact_erf(v / math.sqrt(2)))),
    (op.Gelu(approximate="tanh"),
     lambda v: 0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))),
]  # fmt: skip


def name(variant):
    return "-".join(f"{k}={v}" for k, v in variant.attributes().items()) or "default"


def rounded(function):
    return lambda v: np.asarray(function(v.astype(np.float64))).astype(v.dtype)


CASES = [
    *(Case(v, [x], rounded(f), id=f"{name(v)}-exact") for v, f in VARIANTS),
    *(
        Case(v, [random(*shape, low=-4, high=4)], "reference" if v.name == "Swish" else "onnxruntime",
             id=f"{name(v)}-{shape}")
        for v, _ in VARIANTS
        for shape in [(), (0, 2), (2, 3, 1, 2)]
    ),
    *(
        Case(v, [x.astype(dtype)], rounded(f), id=f"{name(v)}-{np.dtype(dtype).name}", rtol=rtol, atol=rtol / 10)
        for v, f in VARIANTS
        for dtype, rtol in [(np.float64, 1e-13), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)]
        if not (v.name == "Shrink" and dtype is ml_dtypes.bfloat16)  # which ONNX's Shrink does not take
    ),
    # Nothing overflows to NaN; `wide` is beyond where differences are exact.
    *(Case(v, [wide], rounded(f), id=f"{name(v)}-wide", grad=False) for v, f in VARIANTS),
    Case(op.Relu(), [np.array([np.nan, -1, 1], np.float32)], id="nan", grad=False),
    *(
        Case(op.Relu(), [random(3, 4, dtype=dtype, low=-9, high=9)], lambda v: np.maximum(v, 0),
             id=np.dtype(dtype).name)
        for dtype in (np.int8, np.int16, np.int32, np.int64)
    ),
    *(
        Case(op.Shrink(bias=1.5, lambd=2.0), [random(3, 4, dtype=dtype, low=low, high=9)], "reference",
             id=np.dtype(dtype).name)
        for dtype, low in [(np.int32, -9), (np.uint8, 0), (np.int64, -9)]
    ),
    *(
        Case(op.PRelu(), [x, np.asarray(random(*slope, low=0.1, high=0.5), np.float32)], id=f"{slope}")
        for slope in [(3, 4), (4,), (1,), (3, 1), ()]
    ),
    Case(op.PRelu(), [random(2, 3, 2, 2, low=-4, high=4), random(3, 1, 1)], id="channels", const=(1,)),
    Case(op.PRelu(), [random(0, 3), random(3)], id="empty"),
    Case(op.PRelu(), [x.astype(np.float16), np.array([0.25], np.float16)],
         lambda v, s: np.where(v > 0, v, v * s), id="float16"),
    *(
        Case(op.PRelu(), [random(3, 4, dtype=dtype, low=low, high=9), np.array([2, 3, 1, 4], dtype)],
             lambda v, s: np.where(v >= 0, v, v * s), id=np.dtype(dtype).name)
        for dtype, low in [(np.int32, -9), (np.int64, -9), (np.uint32, 0), (np.uint64, 0)]
    ),
    *(
        Case(op.SwiGLU(alpha), [random(*shape, low=-4, high=4), random(*shape, seed=1)], "reference",
             id=f"{alpha}-{shape}")
        for alpha in (1.0, 0.5)
        for shape in [(), (0, 2), (2, 3, 2)]
    ),
    *(
        Case(op.SwiGLU(0.7), [x.astype(dtype), np.flip(x).astype(dtype)],
             lambda a, b: (a.astype(float) * sigmoid(0.7 * a.astype(float)) * b.astype(float)).astype(a.dtype),
             id=np.dtype(dtype).name, rtol=rtol, atol=rtol / 10)
        for dtype, rtol in [(np.float64, 1e-13), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)]
    ),
]  # fmt: skip
