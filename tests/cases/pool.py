"""Pooling over windows and over all spatial axes, and MaxUnpool."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import pool as op

BFLOAT16 = ml_dtypes.bfloat16


def distinct(*shape, dtype=np.float32, seed=0):
    """Values well apart from each other and from 0, so that finite differences meet no kink."""
    order = np.random.default_rng([seed, *shape]).permutation(int(np.prod(shape)))
    return (order.reshape(shape) * 0.05 - 0.97).astype(dtype)


def definition(function, x, kernel, strides=None, pads=None, dilations=None, counts=None):
    """`function` of the elements of each window that lie on the input, in float64."""
    n = len(kernel)
    strides, dilations, pads = strides or (1,) * n, dilations or (1,) * n, pads or (0,) * 2 * n
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if counts is None:
        counts = [(x.shape[2 + i] + pads[i] + pads[n + i] - spans[i]) // strides[i] + 1 for i in range(n)]
    y = np.zeros((*x.shape[:2], *counts))
    for at in np.ndindex(*counts):
        index = []
        for i in range(n):
            places = at[i] * strides[i] - pads[i] + np.arange(kernel[i]) * dilations[i]
            index.append(places[(places >= 0) & (places < x.shape[2 + i])])
        window = x[(slice(None), slice(None), *np.ix_(*index))].astype(np.float64)
        y[(..., *at)] = function(window.reshape(*x.shape[:2], -1))
    return y


# Attributes, on inputs of shape (1, 2, 6, 7) unless one is given.
COMMON = {
    "2d": {"kernel_shape": (2, 3)},
    "strides": {"kernel_shape": (2, 3), "strides": (2, 3)},
    "overlapping": {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)},
    "asymmetric": {"kernel_shape": (3, 4), "strides": (2, 1), "pads": (0, 2, 1, 3)},
    "ceil": {"kernel_shape": (3, 2), "strides": (2, 2), "ceil_mode": True},
    "ceil-padded": {"kernel_shape": (3, 3), "strides": (3, 2), "pads": (1, 1, 1, 1), "ceil_mode": True},
    "ceil-last-window-in-padding": {"kernel_shape": (2, 2), "strides": (3, 4), "pads": (0, 1, 1, 1), "ceil_mode": True},
    "dilations": {"kernel_shape": (2, 3), "dilations": (3, 2), "strides": (1, 2), "pads": (1, 0, 0, 2)},
    "unread": {"kernel_shape": (1, 2), "strides": (4, 4)},
    "same-upper": {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "SAME_UPPER"},
    "same-lower": {"kernel_shape": (3, 2), "strides": (2, 2), "auto_pad": "SAME_LOWER"},
    "valid": {"kernel_shape": (3, 2), "strides": (2, 3), "auto_pad": "VALID"},
}
SHAPED = {
    "1d": ((2, 2, 7), {"kernel_shape": (3,), "strides": (2,), "pads": (1, 1)}),
    "1d-ceil": ((2, 2, 8), {"kernel_shape": (3,), "strides": (2,), "ceil_mode": True}),
    "3d": ((1, 2, 3, 4, 3), {"kernel_shape": (2, 2, 2), "strides": (1, 2, 1), "pads": (0, 1, 1, 1, 0, 1)}),
    "3d-ceil": ((1, 1, 3, 4, 4), {"kernel_shape": (2, 2, 2), "strides": (2, 2, 3), "ceil_mode": True}),
}


def rows(cls, shape, attributes, id, **options):
    return Case(cls(**attributes), [distinct(*shape)], id=id, **options)


CASES = [
    *(rows(cls, (1, 2, 6, 7), attributes, name) for cls in (op.MaxPool, op.AveragePool, op.LpPool)
      for name, attributes in COMMON.items()),
    *(rows(cls, shape, attributes, name) for cls in (op.MaxPool, op.AveragePool, op.LpPool)
      for name, (shape, attributes) in SHAPED.items()),

    # MaxPool
    *(rows(op.MaxPool, (2, 2, 6, 7), attributes | {"outputs": 2}, f"{name}-indices")
      for name, attributes in COMMON.items()),
    *(rows(op.MaxPool, shape, attributes | {"outputs": 2}, f"{name}-indices")
      for name, (shape, attributes) in SHAPED.items()),
    rows(op.MaxPool, (2, 2, 4, 3), {"kernel_shape": (2, 2), "storage_order": 1, "outputs": 2}, "column-major"),
    rows(op.MaxPool, (1, 2, 2, 3, 4), {"kernel_shape": (2, 2, 2), "storage_order": 1, "outputs": 2}, "column-major-3d"),
    rows(op.MaxPool, (2, 1, 4, 3), {"kernel_shape": (2, 2), "storage_order": 1}, "column-major-values"),
    Case(op.MaxPool((2, 2), outputs=2), [np.array([[[[1, 1, 0], [1, 1, 0]]]], np.float32)], id="ties", grad=False),
    Case(op.MaxPool((2,), pads=(1, 1), outputs=2), [np.full((1, 1, 2), -np.inf, np.float32)], id="infinite", grad=False,
         oracle=lambda x: (np.full((1, 1, 3), -np.inf, np.float32), np.array([[[0, 0, 1]]]))),
    *(Case(op.MaxPool((2, 2), strides=(2, 1), pads=(1, 0, 0, 1)), [random(1, 2, 4, 5, dtype=dtype, low=low, high=99)],
           id=np.dtype(dtype).name) for dtype, low in [(np.int8, -99), (np.uint8, 0)]),
    Case(op.MaxPool((2, 2), pads=(1, 1, 1, 1)), [np.full((1, 1, 2, 2), -128, np.int8)], id="least"),
    Case(op.MaxPool((2, 2), outputs=2), [random(1, 1, 4, 5, dtype=np.int8, low=-9, high=9)], id="int8-indices"),
    Case(op.MaxPool((2, 2), outputs=2), [distinct(1, 2, 3, 3, dtype=np.float64)], id="float64-indices"),
    *(Case(op.MaxPool((2, 2)), [distinct(1, 2, 3, 3, dtype=dtype)], id=np.dtype(dtype).name,
           oracle=lambda x: definition(lambda v: v.max(-1), x, (2, 2)).astype(x.dtype))
      for dtype in (np.float16, BFLOAT16)),
    Case(op.MaxPool((2,)), [np.array([[[1, np.nan, 2, 3]]], np.float32)], id="nan", grad=False,
         oracle=lambda x: np.array([[[np.nan, np.nan, 3]]], np.float32)),
    Case(op.MaxPool((2,), outputs=2), [np.array([[[1, np.nan, np.nan, 3, 4]]], np.float32)], id="nan-indices",
         grad=False, oracle=lambda x: (np.array([[[np.nan] * 3 + [4]]], np.float32), np.array([[[1, 1, 2, 4]]]))),
    Case(op.MaxPool((1, 1, 2, 2), strides=(2, 1, 1, 2)), [distinct(1, 1, 3, 2, 3, 4)], id="4d",
         oracle=lambda x: definition(lambda v: v.max(-1), x, (1, 1, 2, 2), (2, 1, 1, 2)).astype(np.float32)),
    Case(op.MaxPool((2, 2), outputs=2), [np.zeros((0, 2, 3, 3), np.float32)], id="empty-batch",
         oracle=lambda x: (np.zeros((0, 2, 2, 2), np.float32), np.zeros((0, 2, 2, 2), np.int64))),
    Case(op.MaxPool((3,), strides=(2,), auto_pad="SAME_UPPER"), [np.zeros((1, 2, 0), np.float32)], id="empty",
         oracle=lambda x: np.zeros((1, 2, 0), np.float32)),
    Case(op.MaxPool((3, 2), auto_pad="SAME_LOWER", dilations=(2, 1)), [distinct(1, 1, 5, 4)], id="same-dilated",
         oracle=lambda x: definition(lambda v: v.max(-1), x, (3, 2), None, (2, 1, 2, 0), (2, 1)).astype(np.float32)),
    Case(op.MaxPool((3,), strides=(3,), auto_pad="VALID", ceil_mode=True), [distinct(1, 1, 7)], id="valid-ceil"),

    # AveragePool
    *(rows(op.AveragePool, (1, 2, 6, 7), attributes | {"count_include_pad": True}, f"{name}-include")
      for name, attributes in COMMON.items() if "pads" in attributes or "auto_pad" in attributes),
    *(rows(op.AveragePool, shape, attributes | {"count_include_pad": True}, f"{name}-include")
      for name, (shape, attributes) in SHAPED.items()),
    rows(op.AveragePool, (1, 1, 2), {"kernel_shape": (2,), "pads": (3, 3)}, "windows-of-padding",
         oracle=lambda x: np.array([[[0, 0, x[0, 0, 0], x.mean(), x[0, 0, 1], 0, 0]]], np.float32)),
    *(Case(op.AveragePool((2, 2)), [random(1, 2, 3, 3, dtype=dtype)], id=np.dtype(dtype).name, rtol=rtol, atol=rtol,
           oracle=lambda x: definition(lambda v: v.mean(-1), x, (2, 2)).astype(x.dtype))
      for dtype, rtol in [(np.float64, 1e-12), (np.float16, 1e-3), (BFLOAT16, 1e-2)]),
    Case(op.AveragePool((2, 2)), [np.zeros((2, 0, 3, 3), np.float32)], id="no-channels",
         oracle=lambda x: np.zeros((2, 0, 2, 2), np.float32)),

    # LpPool
    *(rows(op.LpPool, (1, 2, 4, 5), {"kernel_shape": (2, 3), "p": p, "strides": (1, 2), "pads": (1, 0, 0, 1)}, f"p{p}")
      for p in (1, 2, 3, 4)),
    Case(op.LpPool((2,)), [np.array([[[0, 0, 0, 3, 4]]], np.float32)], id="zeros", grad=False,  # |x| has a kink at 0
         oracle=lambda x: np.array([[[0, 0, 3, 5]]], np.float32)),
    *(Case(op.LpPool((2, 2), p=3), [random(1, 2, 3, 3, dtype=dtype)], id=np.dtype(dtype).name, rtol=rtol, atol=rtol,
           oracle=lambda x: definition(lambda v: np.cbrt((abs(v) ** 3).sum(-1)), x, (2, 2)).astype(x.dtype))
      for dtype, rtol in [(np.float64, 1e-12), (np.float16, 2e-3), (BFLOAT16, 1e-2)]),

    # Global pooling
    *(Case(cls(), [distinct(2, 3, *sizes)], id=f"{len(sizes)}d")
      for cls in (op.GlobalAveragePool, op.GlobalMaxPool) for sizes in [(5,), (3, 4), (2, 3, 2)]),
    *(Case(op.GlobalLpPool(p), [distinct(1, 2, *sizes)], id=f"{len(sizes)}d-p{p}", opset=21)
      for p, sizes in [(1, (3, 4)), (2, (5,)), (2, (3, 4)), (2, (2, 3, 2)), (3, (3, 4)), (4, (5,))]),
    *(Case(cls(), [distinct(2, 3, 4, dtype=dtype)], id=np.dtype(dtype).name, rtol=rtol, atol=rtol,
           oracle=lambda x, f=f: f(x.astype(np.float64)).astype(x.dtype))
      for cls, f in [(op.GlobalAveragePool, lambda x: x.mean(-1, keepdims=True)),
                     (op.GlobalMaxPool, lambda x: x.max(-1, keepdims=True)),
                     (op.GlobalLpPool, lambda x: np.sqrt((x * x).sum(-1, keepdims=True)))]
      for dtype, rtol in [(np.float64, 1e-12), (np.float16, 1e-3), (BFLOAT16, 1e-2)]),
    Case(op.GlobalAveragePool(), [np.zeros((0, 3, 2, 2), np.float32)], id="empty-batch",
         oracle=lambda x: np.zeros((0, 3, 1, 1), np.float32)),

    # MaxUnpool
    Case(op.MaxUnpool((2, 2), strides=(2, 2)), [distinct(1, 1, 2, 2), np.array([[[[5, 7], [8, 10]]]])], id="2d"),
    Case(op.MaxUnpool((2,), strides=(2,)), [distinct(1, 2, 2), np.array([[[1, 2], [5, 6]]])], id="1d"),
    Case(op.MaxUnpool((3, 2), strides=(2, 1), pads=(1, 0, 0, 1)),
         [distinct(1, 2, 2, 2), np.array([[[[0, 3], [4, 7]], [[8, 9], [13, 12]]]])], id="pads"),
    *(Case(op.MaxUnpool((2, 2), strides=(2, 2)),
           [distinct(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]]), np.array([1, 1, 5, 6])], "reference",
           f"output_shape{const}", const=const) for const in ((), (2,))),
    Case(op.MaxUnpool((3,), strides=(2,), pads=(1, 0)),
         [distinct(2, 1, 2), np.array([[[0, 3]], [[5, 6]]]), np.array([3, 2, 4])], "reference",
         "output_shape-pads", const=(2,)),
    Case(op.MaxUnpool((2, 2, 1), strides=(1, 2, 1)), [distinct(1, 1, 1, 2, 2), np.array([[[[[0, 3], [9, 13]]]]])],
         id="3d"),
]  # fmt: skip
