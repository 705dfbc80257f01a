"""Deformable convolution."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import deform as op
from graphc.ops.conv import Conv


def case(id, x, w, out, bias=False, mask=False, scale=1.5, oracle="reference", dtype=np.float32, **attributes):
    groups, kernel = attributes.get("offset_group", 1), int(np.prod(w[2:]))
    inputs = [random(*x), random(*w, seed=1),
              random(x[0], groups * kernel * len(out), *out, seed=2, low=-scale, high=scale),
              random(w[0], seed=3) if bias else None,
              random(x[0], groups * kernel, *out, seed=4) if mask else None]  # fmt: skip
    inputs = [v if v is None else v.astype(dtype) for v in inputs]
    while inputs[-1] is None:
        inputs.pop()
    # Without offsets, every sample lies on an element, where its slope jumps.
    return Case(op.DeformConv(**attributes), inputs, oracle, id=id, rtol=1e-4, atol=1e-5, grad=scale != 0)


def plain(**attributes):
    """Without offsets, it is a convolution, here onnxruntime's."""
    return lambda x, w, offset: tuple(Case(Conv(**attributes), [x, w]).expected())


STRIDED = {"group": 2, "strides": (2, 1), "dilations": (1, 2), "pads": (1, 0, 0, 2)}

CASES = [
    case("2d", (1, 2, 4, 5), (3, 2, 2, 2), (3, 4)),
    case("bias-mask", (2, 2, 4, 4), (2, 2, 2, 2), (3, 3), bias=True, mask=True),
    case("mask", (1, 1, 4, 4), (2, 1, 3, 3), (4, 4), mask=True, pads=(1, 1, 1, 1)),
    case("bias", (1, 1, 4, 4), (2, 1, 2, 2), (3, 3), bias=True),
    case("groups", (1, 4, 4, 4), (4, 2, 2, 2), (3, 3), group=2),
    case("offset-groups", (1, 4, 4, 4), (2, 4, 2, 2), (3, 3), mask=True, offset_group=2),
    case("strides-dilations-pads", (1, 4, 5, 6), (2, 2, 2, 2), (3, 6), **STRIDED),
    case("far", (1, 1, 3, 3), (1, 1, 2, 2), (2, 2), scale=9),
    case("no-offset", (1, 4, 5, 6), (2, 2, 2, 2), (3, 6), scale=0, oracle=plain(**STRIDED), **STRIDED),
    case("1d", (2, 2, 6), (2, 2, 3), (4,), scale=0, oracle=plain()),
    case("3d", (1, 2, 3, 4, 3), (2, 2, 2, 2, 2), (2, 3, 2), scale=0, oracle=plain()),
    case("empty", (0, 2, 4, 4), (2, 2, 2, 2), (3, 3), oracle=lambda x, w, o: np.zeros((0, 2, 3, 3), np.float32)),
    case("float64", (1, 2, 4, 4), (2, 2, 2, 2), (3, 3), dtype=np.float64, kernel_shape=(2, 2)),
]  # fmt: skip
