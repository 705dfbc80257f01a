"""Transposed convolution."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import conv as op

BFLOAT16 = ml_dtypes.bfloat16


def case(x, w, b=None, *, id="", dtype=np.float32, **attributes):
    inputs = [random(*x, dtype=dtype), random(*w, dtype=dtype, seed=1)]
    if b is not None:
        inputs.append(random(b, dtype=dtype, seed=2))
    options = {k: attributes.pop(k) for k in ("oracle", "rtol", "atol", "const") if k in attributes}
    return Case(op.ConvTranspose(**attributes), inputs, id=id, **options)


def definition(x, w, strides):
    """Each input element adds its multiple of the kernel to the output, in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    sizes = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, w.shape[2:], strict=True)]
    y = np.zeros((len(x), w.shape[1], *sizes))
    for n, c, *at in np.ndindex(x.shape):
        window = tuple(slice(i * s, i * s + k) for i, s, k in zip(at, strides, w.shape[2:], strict=True))
        y[n, :, *window] += x[n, c, *at] * w[c]
    return y


def extended(y, more):
    """Zeros behind the rows and columns."""
    return np.pad(y, ((0, 0), (0, 0), (0, more[0]), (0, more[1]))).astype(np.float32)


def dilated(w, dilations):
    """The kernel with zeros between its elements."""
    wide = np.zeros((*w.shape[:2], *((k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True))))
    wide[:, :, :: dilations[0], :: dilations[1]] = w
    return wide


# Four copies of the kernel, times 1, 2, 3 and 4, two apart: they overlap in the middle row and column.
BY_HAND = Case(
    op.ConvTranspose(strides=(2, 2)),
    [
        np.array([[[[1, 2], [3, 4]]]], np.float32),
        np.array([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]], np.float32),
    ],
    lambda x, w: np.array(
        [[[
            [1, 2, 5, 4, 6],
            [4, 5, 14, 10, 12],
            [10, 14, 36, 24, 30],
            [12, 15, 34, 20, 24],
            [21, 24, 55, 32, 36],
        ]]],
        np.float32,
    ),
    id="by-hand", rtol=0, atol=0,
)  # fmt: skip

CASES = [
    BY_HAND,
    case((2, 3, 3, 4), (3, 2, 3, 3), 2, id="2d"),
    case((1, 2, 3, 2), (2, 3, 1, 1), id="pointwise"),
    case((1, 2, 4), (2, 2, 3), 2, id="1d", strides=(2,), pads=(1, 0)),
    case((1, 2, 2, 3, 2), (2, 1, 2, 2, 2), 1, id="3d", strides=(1, 2, 2), pads=(0, 1, 0, 1, 0, 1)),
    case((1, 1, 2, 1, 2, 2), (1, 2, 2, 2, 1, 2), id="4d", strides=(1, 2, 2, 1),
         oracle=lambda x, w: definition(x, w, (1, 2, 2, 1)).astype(np.float32)),
    case((1, 2, 3, 3), (2, 1, 3, 3), id="output_padding", strides=(2, 3), pads=(1, 0, 1, 2), output_padding=(1, 2)),
    case((1, 1, 2, 3), (1, 2, 2, 2), id="output_padding-alone", strides=(2, 2), output_padding=(1, 1)),
    case((1, 1, 3, 2), (1, 1, 2, 2), id="output_padding-dilated", dilations=(3, 2), output_padding=(2, 1),
         oracle=lambda x, w: extended(definition(x, dilated(w, (3, 2)), (1, 1)), (2, 1))),  # onnxruntime refuses it
    case((1, 1, 3, 3), (1, 1, 2, 3), id="dilated", dilations=(2, 3), pads=(1, 0, 0, 2), strides=(1, 2)),
    *(case((1, 1, 3, 3), (1, 2, 3, 3), id=f"output_shape-{pad}", output_shape=(6, 5), strides=(3, 2), auto_pad=pad)
      for pad in ("NOTSET", "SAME_UPPER", "SAME_LOWER")),
    case((1, 1, 3, 3), (1, 2, 3, 3), id="output_shape-larger", output_shape=(10, 8), strides=(3, 2)),
    *(case((1, 1, 3, 2), (1, 1, *kernel), id=f"{pad}-{kernel}", auto_pad=pad, strides=(2, 2))
      for pad in ("SAME_UPPER", "SAME_LOWER", "VALID") for kernel in ((3, 3), (2, 4))),
    # Where the full result is smaller than size·stride, as ONNX defines it, onnxruntime returns the full result.
    *(case((1, 1, 3, 2), (1, 1, 1, 2), id=f"{pad}-smaller", auto_pad=pad, strides=(2, 2),
           oracle=lambda x, w: extended(definition(x, w, (2, 2)), (1, 0)))
      for pad in ("SAME_UPPER", "SAME_LOWER")),
    case((2, 4, 3, 2), (4, 3, 2, 2), 6, id="groups", group=2, strides=(2, 1)),
    case((1, 3, 3, 4), (3, 1, 3, 3), 3, id="depthwise", group=3, strides=(2, 2), pads=(1, 1, 1, 1)),
    case((1, 2, 3, 3), (2, 2, 2, 2), 2, id="kernel_shape", kernel_shape=(2, 2), const=(1, 2)),
    case((1, 8, 40, 40), (8, 64, 5, 5), 64, id="large", strides=(2, 2), rtol=1e-4, atol=1e-5),
    case((0, 2, 3, 3), (2, 3, 2, 2), 3, id="empty-batch", oracle=lambda x, w, b: np.zeros((0, 3, 4, 4), np.float32)),
    case((1, 2, 3, 3), (2, 3, 2, 2), 3, id="float64", dtype=np.float64, strides=(2, 1),
         oracle=lambda x, w, b: definition(x, w, (2, 1)) + b[:, None, None]),
    *(case((1, 3, 4, 3), (3, 2, 3, 2), 2, id=str(np.dtype(dtype)), dtype=dtype, strides=(2, 2), rtol=rtol, atol=rtol,
           oracle=lambda x, w, b, dtype=dtype:
           (definition(x, w, (2, 2)) + b.astype(np.float64)[:, None, None]).astype(dtype))
      for dtype, rtol in [(np.float16, 2e-3), (BFLOAT16, 1e-2)]),
]  # fmt: skip
