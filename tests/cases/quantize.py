"""QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from conformance import FLOAT8, SMALL_INTEGERS, Case, random

from graphc.ops import quantize as op
from graphc.types import (
    bfloat16,
    float4e2m1,
    float6e2m3,
    float6e3m2,
    float8e5m2,
    float8e8m0,
    float16,
    float32,
    int4,
    int8,
    int16,
    uint8,
    uint16,
)  # fmt: skip

x = random(3, 4, 2, low=-90, high=90)
wide = random(4, 5, low=-9, high=9, seed=4)
scale = np.array(0.4, np.float32)
scales = np.array([0.5, 0.25, 0.3, 1.7], np.float32)
ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1000, -1000, np.inf, -np.inf], np.float32)
codes = random(3, 4, 2, dtype=np.uint8, low=0, high=255)
points = np.array([3, 128, 0, 255], np.uint8)


def small(dtype, *shape, low=-2, high=2, seed=0):
    return random(*shape, low=low, high=high, seed=seed).astype(dtype.numpy)


TINY = (float4e2m1, float6e2m3, float6e3m2, *SMALL_INTEGERS)
R = "reference"

ROWS = [
    Case(op.QuantizeLinear(), [x, scale], id="scalar"),
    Case(op.QuantizeLinear(), [x, scale.reshape(1), np.array([7], np.uint8)], id="one-element"),
    Case(op.QuantizeLinear(), [ties, np.array(1, np.float32), np.array(3, np.int8)], id="ties"),
    Case(op.QuantizeLinear(), [np.float32([np.nan]), np.array(1, np.float32)], id="nan",
         oracle=lambda a, s: np.zeros(1, np.uint8)),
    *(
        Case(op.QuantizeLinear(axis), [np.moveaxis(x, 1, at).copy(), scales, points], id=f"axis={axis}")
        for axis, at in ((0, 0), (1, 1), (-1, 2))
    ),
    Case(op.QuantizeLinear(0), [wide, scales], id="const-scale", const=(1,)),
    Case(op.QuantizeLinear(), [np.zeros((0, 4), np.float32), scales], id="empty"),
    Case(op.QuantizeLinear(), [np.array(3.3, np.float32), scale], id="0-d"),
    *(
        Case(op.QuantizeLinear(), [wide * 40, scale, np.array(5).astype(d.numpy)], id=f"to-{d}")
        for d in (int8, uint8, int16, uint16)
    ),
    *(Case(op.QuantizeLinear(output_dtype=d), [wide * 40, scale], id=f"output-{d}", oracle=R) for d in FLOAT8 + TINY),
    *(Case(op.QuantizeLinear(), [wide, scale, np.array(1).astype(d.numpy)], id=f"to-{d}", oracle=R) for d in TINY),
    Case(op.QuantizeLinear(saturate=False, output_dtype=float8e5m2), [wide * 1e5, scale], id="no-saturation", oracle=R),
    Case(op.QuantizeLinear(), [wide.astype(np.float16), scale.astype(np.float16), np.array(points[0])], id="float16",
         oracle=R),
    Case(op.QuantizeLinear(precision=float32), [wide.astype(np.float16), scale.astype(np.float16)], id="precision",
         oracle=R),
    Case(op.QuantizeLinear(), [wide.astype(bfloat16.numpy), scale.astype(bfloat16.numpy)], id="bfloat16", oracle=R),
    Case(op.QuantizeLinear(), [np.array([-9, 10, 200], np.int32), scale, np.array(9, np.uint8)], id="int32", oracle=R),
    Case(op.QuantizeLinear(precision=float32), [wide, np.array(0.5, float8e8m0.numpy)], id="float8e8m0-scale",
         oracle=R),
    *(
        Case(op.QuantizeLinear(axis, block), [wide * 5, random(*shape, low=0.1, high=1, seed=8),
             np.full(shape, 100, np.uint8)], id=f"blocks-{axis}-{block}", oracle=R)
        for axis, block, shape in ((1, 2, (4, 3)), (0, 2, (2, 5)), (-1, 5, (4, 1)), (0, 3, (2, 5)))
    ),
    Case(op.DequantizeLinear(), [codes, scale, np.array(points[0])], id="scalar"),
    Case(op.DequantizeLinear(), [codes, scale], id="no-zero-point"),
    *(
        Case(op.DequantizeLinear(axis), [np.moveaxis(codes, 1, at).copy(), scales, points], id=f"axis={axis}")
        for axis, at in ((0, 0), (1, 1), (-1, 2))
    ),
    Case(op.DequantizeLinear(), [codes[:0], scales, points], id="empty"),
    Case(op.DequantizeLinear(), [np.array(9, np.int8), scale], id="0-d"),
    Case(op.DequantizeLinear(0), [random(5, dtype=np.int32, low=-99999, high=99999), random(5, seed=3)], id="int32"),
    *(
        Case(op.DequantizeLinear(), [random(3, dtype=d.numpy, low=0, high=99), scale, np.array(5).astype(d.numpy)],
             id=f"{d}", const=(1, 2))
        for d in (int8, uint8, int16, uint16)
    ),
    *(Case(op.DequantizeLinear(), [small(d, 5), scale], id=f"{d}", oracle=R) for d in FLOAT8 + TINY),
    Case(op.DequantizeLinear(), [small(int4, 5), scale, np.array(-3).astype(int4.numpy)], id="int4-zero-point",
         oracle=R),
    Case(op.DequantizeLinear(), [codes, scale.astype(np.float16), np.array(points[1])], id="float16-scale"),
    Case(op.DequantizeLinear(output_dtype=float16), [codes, scale], id="output-float16", oracle=R),
    Case(op.DequantizeLinear(output_dtype=float32), [codes, np.array(0.25, float8e8m0.numpy)], id="float8e8m0-scale",
         oracle=lambda c, s: c.astype(np.float32) * 0.25),
    Case(op.DequantizeLinear(), [codes, scale.astype(bfloat16.numpy)], id="bfloat16-scale", oracle=R),
    *(
        Case(op.DequantizeLinear(axis, block), [random(4, 5, dtype=np.uint8, low=0, high=255),
             random(*shape, low=0.1, high=1, seed=8), np.full(shape, 100, np.uint8)],
             id=f"blocks-{axis}-{block}", oracle=R)
        for axis, block, shape in ((1, 2, (4, 3)), (0, 2, (2, 5)), (-1, 5, (4, 1)))
    ),
    Case(op.DynamicQuantizeLinear(), [x]),
    Case(op.DynamicQuantizeLinear(), [np.abs(x)], id="positive"),
    Case(op.DynamicQuantizeLinear(), [-np.abs(x)], id="negative"),
    Case(op.DynamicQuantizeLinear(), [np.zeros(3, np.float32)], id="zeros"),
    Case(op.DynamicQuantizeLinear(), [np.zeros((0, 2), np.float32)], id="empty",
         oracle=lambda a: (np.zeros((0, 2), np.uint8), np.float32(1), np.uint8(0))),
]  # fmt: skip

# Gradients are checked in float64, which scales never are; tests/test_quantize.py checks that of a scale.


def has_slope(case: Case) -> bool:
    """Of what rounds there is none; a scale in float32 has one, and is compared in float32."""
    if isinstance(case.op, op.DynamicQuantizeLinear):
        return bool(case.inputs[0].any())
    return isinstance(case.op, op.DequantizeLinear) and not case.op.block_size and case.inputs[0].dtype.kind in "iu"


CASES = [replace(case, grad=has_slope(case)) for case in ROWS]
