"""Convolution."""

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
    options = {k: attributes.pop(k) for k in ("oracle", "rtol", "atol", "const", "grad") if k in attributes}
    return Case(op.Conv(**attributes), inputs, id=id or f"{list(x)}*{list(w)}", **options)


def direct(x, w, b=None, pads=(0, 0), strides=(1, 1)):
    """Two-dimensional convolution as its definition says, one window after the other, in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    x = np.pad(x, ((0, 0), (0, 0), (pads[0],) * 2, (pads[1],) * 2))
    (kh, kw), (sh, sw) = w.shape[2:], strides
    y = np.zeros((len(x), len(w), (x.shape[2] - kh) // sh + 1, (x.shape[3] - kw) // sw + 1))
    for n, m, i, j in np.ndindex(y.shape):
        y[n, m, i, j] = np.sum(x[n, :, sh * i : sh * i + kh, sw * j : sw * j + kw] * w[m])
    return y if b is None else y + b.astype(np.float64)[:, None, None]


def fourfold(x, w, before, after):
    """Convolution over any number of axes, stride 1, as its definition says."""
    x = np.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)])
    y = np.zeros((len(x), len(w), *(n - k + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True))), x.dtype)
    for n, m, *at in np.ndindex(y.shape):
        window = tuple(slice(i, i + k) for i, k in zip(at, w.shape[2:], strict=True))
        y[n, m, *at] = np.sum(x[n, :, *window] * w[m])
    return y


def dilated(x, w, before):
    """A 1×2 kernel with dilation (1, 2), stride (3, 2) and one column of padding, `before` of it in front."""
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (before, 1 - before)))[:, :, ::3]
    return x[..., 0:5:2] * w[0, 0, 0, 0] + x[..., 2:7:2] * w[0, 0, 0, 1]


def lecture() -> Case:
    """A 5×5×3 input, two 3×3 kernels, padding 1, stride 2: the output is 3×3×2."""
    x = (np.arange(75) % 7 % 3).astype(np.float32).reshape(1, 3, 5, 5)
    w = (np.arange(54) % 5 % 3 - 1).astype(np.float32).reshape(2, 3, 3, 3)
    b = np.array([1, 0], np.float32)

    def expected(x, w, b):
        y = direct(x, w, b, pads=(1, 1), strides=(2, 2)).astype(np.float32)
        assert y.shape == (1, 2, 3, 3)
        return y

    return Case(op.Conv(pads=(1, 1, 1, 1), strides=(2, 2)), [x, w, b], expected, id="lecture", rtol=0, atol=0)


CASES = [
    lecture(),
    case((2, 3, 5, 6), (4, 3, 3, 3), 4, id="2d"),
    case((1, 2, 4, 4), (2, 2, 1, 1), 2, id="pointwise"),
    case((1, 2, 5, 4), (3, 2, 1, 1), id="pointwise-strided", strides=(2, 3)),
    case((1, 2, 3, 3), (1, 2, 1, 1), id="pointwise-padded", pads=(1, 0, 0, 1)),
    case((2, 2, 7), (3, 2, 3), 3, id="1d", pads=(1, 1)),
    case((1, 2, 8), (2, 1, 3), 2, id="1d-group-stride-dilation", group=2, strides=(2,), dilations=(2,), pads=(2, 1)),
    case((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), 2, id="3d", pads=(0, 1, 0, 1, 0, 1), strides=(1, 2, 1)),
    case((1, 1, 3, 2, 3, 2), (1, 1, 2, 1, 2, 2), id="4d", pads=(0, 0, 1, 0, 0, 0, 0, 1),
         oracle=lambda x, w: fourfold(x, w, (0, 0, 1, 0), (0, 0, 0, 1))),
    case((1, 1, 5, 7), (1, 1, 3, 3), id="asymmetric", pads=(0, 2, 1, 0), strides=(2, 3)),
    case((1, 2, 6, 5), (1, 2, 2, 3), id="dilated", dilations=(3, 2), pads=(1, 1, 2, 0)),
    case((1, 1, 6, 7), (1, 1, 2, 2), id="unread-rows", strides=(3, 4), dilations=(2, 1)),
    *(case((1, 1, 5, 6), (1, 1, *kernel), id=f"{pad}-{kernel}-{strides}-{dilations}", auto_pad=pad, strides=strides,
           dilations=dilations)
      for pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
      for kernel, strides, dilations in [((3, 2), (1, 1), (1, 1)), ((2, 3), (2, 3), (1, 1)), ((1, 2), (3, 2), (1, 1))]),
    *(case((1, 1, 5, 6), (1, 1, 1, 2), id=f"{pad}-dilated", auto_pad=pad, strides=(3, 2), dilations=(1, 2),
           oracle=lambda x, w, before=before: dilated(x, w, before))  # onnxruntime takes no dilations here
      for pad, before in [("SAME_UPPER", 0), ("SAME_LOWER", 1)]),
    case((2, 4, 4, 3), (6, 2, 2, 2), 6, id="groups", group=2),
    case((1, 6, 3, 3), (6, 2, 3, 3), 6, id="groups-padded", group=3, pads=(1, 1, 1, 1)),
    case((2, 3, 5, 4), (3, 1, 3, 3), 3, id="depthwise", group=3, pads=(1, 1, 1, 1)),
    case((1, 2, 6, 5), (4, 1, 3, 2), id="depthwise-factor", group=2, strides=(2, 1), pads=(1, 0, 1, 1)),
    case((1, 3, 3, 3), (3, 1, 3, 3), id="depthwise-one-window", group=3),
    case((1, 2, 6, 6), (2, 1, 2, 2), id="depthwise-dilated", group=2, dilations=(2, 3), pads=(2, 2, 2, 2)),
    case((1, 3, 8, 8), (4, 3, 3, 3), 4, id="kernel_shape", kernel_shape=(3, 3), pads=(1, 1, 1, 1)),
    case((1, 2, 2, 2), (2, 2, 2, 2), id="all-padding", pads=(3, 2, 2, 3), strides=(2, 2)),
    case((3, 2, 4, 4), (5, 2, 3, 3), 5, id="constant-weights", const=(1, 2), pads=(1, 1, 1, 1)),
    case((1, 4, 70, 65), (6, 4, 5, 5), 6, id="large", pads=(2, 2, 2, 2), rtol=1e-4, atol=1e-5),
    case((70, 3, 6, 6), (4, 3, 3, 3), id="batch", rtol=1e-4, atol=1e-5),
    case((0, 2, 4, 4), (3, 2, 3, 3), 3, id="empty-batch", oracle=lambda x, w, b: np.zeros((0, 3, 2, 2), np.float32)),
    case((2, 0, 4, 4), (3, 0, 3, 3), 3, id="no-channels",
         oracle=lambda x, w, b: np.broadcast_to(b[:, None, None], (2, 3, 2, 2))),
    case((2, 3, 4, 4), (0, 3, 3, 3), id="no-outputs", oracle=lambda x, w: np.zeros((2, 0, 2, 2), np.float32)),
    case((1, 3, 5, 5), (2, 3, 3, 3), 2, id="float64", dtype=np.float64,
         oracle=lambda x, w, b: direct(x, w, b)),
    case((1, 3, 5, 5), (2, 3, 3, 3), 2, id="float16", dtype=np.float16, rtol=2e-3, atol=2e-3,
         oracle=lambda x, w, b: direct(x, w, b).astype(np.float16)),
    case((1, 4, 5, 5), (4, 1, 3, 3), 4, id="bfloat16", dtype=BFLOAT16, group=4, rtol=1e-2, atol=1e-2,
         oracle=lambda x, w, b: np.stack([direct(x[:, c:c + 1], w[c:c + 1], b[c:c + 1])[:, 0] for c in range(4)], 1)
         .astype(BFLOAT16)),
]  # fmt: skip
