"""Resize."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import resize as op
from graphc.ops.interpolation import COORDINATES, NEAREST

BFLOAT16 = ml_dtypes.bfloat16
CROP = "tf_crop_and_resize"


def row(x, given, id, *, const=(1, 2, 3), roi=None, oracle="onnxruntime", grad=True, **attributes):
    """`given` are scales (floats) or sizes (integers). The tolerance is that of coordinates in float32."""
    roi = None if roi is None else np.array(roi, np.float32)
    scales, sizes = (None, np.array(given)) if isinstance(given[-1], int) else (np.array(given, np.float32), None)
    inputs = [x, roi, scales] if sizes is None else [x, roi, None, sizes]
    return Case(op.Resize(**attributes), inputs, oracle, id=id, const=const, rtol=2e-5, atol=5e-6, grad=grad)


def halves(x):
    """Rows twice as many, between the old ones at a quarter and three quarters; columns averaged in pairs."""
    x = (x[..., ::2] + x[..., 1::2]) / 2
    above, below = np.concatenate([x[:, :, :1], x[:, :, :-1]], 2), np.concatenate([x[:, :, 1:], x[:, :, -1:]], 2)
    return np.stack([0.25 * above + 0.75 * x, 0.75 * x + 0.25 * below], 3).reshape(*x.shape[:2], -1, x.shape[3])


ROI = [0, 0, 0.2, -0.3, 1, 1, 0.7, 1.35]
X, SMALL = random(1, 2, 4, 5), random(1, 1, 3, 4)
UP, DOWN = (1, 1, 2, 2.6), (1, 1, 0.6, 0.8)
SIZES_UP, SIZES_DOWN = (1, 2, 7, 9), (1, 2, 3, 1)
MODES = ("nearest", "linear", "cubic")


def oracle(coordinates, given):
    """onnxruntime rounds scale · size down before it maps the ends of the output; docs/semantics.md."""
    ends = coordinates in ("align_corners", CROP) and given in (DOWN, (1, 1, 0.5, 0.34))
    return "reference" if ends else "onnxruntime"


CASES = [
    *(row(X, given, f"{mode}-{coordinates}-{name}", mode=mode, coordinate_transformation_mode=coordinates,
          roi=ROI if coordinates == CROP else None, oracle=oracle(coordinates, given))
      for mode in MODES for coordinates in COORDINATES
      for name, given in [("up", UP), ("down", DOWN), ("sizes-up", SIZES_UP), ("sizes-down", SIZES_DOWN)]),
    *(row(random(1, 1, 4, 6), scales, f"{nearest}-{coordinates}-{name}", nearest_mode=nearest,
          coordinate_transformation_mode=coordinates, oracle=oracle(coordinates, scales))
      for nearest in NEAREST for coordinates in ("half_pixel", "asymmetric", "align_corners")
      for name, scales in [("up", (1, 1, 1.5, 3.0)), ("down", (1, 1, 0.5, 0.34))]),
    *(row(random(1, 1, 6, 9), scales, f"{mode}-antialias-{exclude}-{name}", mode=mode, antialias=True,
          exclude_outside=exclude)
      for mode in ("linear", "cubic") for exclude in (False, True)
      for name, scales in [("up", (1, 1, 1.5, 2.0)), ("down", (1, 1, 0.6, 0.3))]),
    *(row(SMALL, scales, f"cubic-exclude-{name}", mode="cubic", exclude_outside=True, cubic_coeff_a=-0.5)
      for name, scales in [("up", UP), ("down", DOWN)]),
    row(SMALL, (1, 1, 2.0, 2.0), "linear-exclude", mode="linear", exclude_outside=True, oracle="reference"),
    *(row(SMALL, (1, 1, 6, 3), f"{mode}-extrapolation", mode=mode, coordinate_transformation_mode=CROP,
          roi=[0, 0, -0.4, 0.2, 1, 1, 1.3, 0.9], extrapolation_value=3.5) for mode in MODES),
    *(row(random(2, 2, 3, 4), given, f"{mode}-{policy}-{axes}", mode=mode, axes=axes, keep_aspect_ratio_policy=policy)
      for mode in ("nearest", "linear") for axes in ((2, 3), (3, 2)) for given in [(5, 7)]
      for policy in ("stretch", "not_larger", "not_smaller")),
    row(SMALL, (5, 6), "negative-axes", axes=(-1, -2), mode="linear"),
    row(SMALL, (5, 6), "negative-axes-not_larger", axes=(-1, -2), keep_aspect_ratio_policy="not_larger",
        oracle=lambda x, roi, scales, sizes: x.repeat(1, 2)[:, :, [0, 1, 1, 2], :][..., [0, 1, 1, 2, 3]]),
    row(SMALL, (2.0,), "one-axis", axes=(3,), mode="linear"),
    row(SMALL, (0.5, 2.0), "roi-of-axes", axes=(3, 2), mode="linear", coordinate_transformation_mode=CROP,
        roi=[0.1, 0.3, 0.8, 0.9]),
    row(random(6), (1.5,), "1d-linear", mode="linear", oracle="reference"),
    row(random(6), (0.7,), "1d-cubic", mode="cubic", oracle="reference"),
    row(random(2, 3, 2), (2.0, 1.0, 1.5), "3d-linear", mode="linear", oracle="reference"),
    row(random(1, 1, 2, 3, 2), (1, 1, 2.0, 0.7, 2.0), "volume-linear", mode="linear"),
    row(random(1, 1, 2, 3, 2), (1, 1, 2.0, 1.0, 1.5), "volume-nearest"),
    row(random(2, 2, 2, 2), (2.0, 1.5, 1.0, 2.0), "batch-and-channels", mode="linear", oracle="reference"),
    row(random(1, 1, 2, 3), (1, 1, 2.0, 1.5), "cubic-small", mode="cubic"),
    row(random(1, 1, 2, 30), (1, 1, 1.0, 0.1), "antialias-many-taps", mode="cubic", antialias=True),
    row(SMALL, (1, 1, 1.0, 1.0), "unchanged", mode="cubic"),
    row(SMALL, (1, 1, 2.0, 2.0), "run-time-scales", mode="linear", const=(), grad=False),  # it needs constants
    row(SMALL, (1, 1, 5, 2), "run-time-sizes", mode="linear", const=(), grad=False),
    row(SMALL, (1, 1, 5, 2), "run-time-roi", mode="linear", const=(3,), coordinate_transformation_mode=CROP, roi=ROI,
        grad=False),
    Case(op.Resize(mode="linear"), [SMALL, None, np.zeros(0, np.float32), np.array([1, 1, 4, 3])], id="empty-scales",
         const=(2, 3), oracle="reference"),
    row(np.zeros((0, 2, 3, 4), np.float32), (1, 1, 2.0, 0.5), "empty",
        oracle=lambda x, roi, scales: np.zeros((0, 2, 6, 2), np.float32)),

    # Element types. Integers are rounded to the nearest; onnxruntime truncates or rounds, depending on the mode.
    *(row(random(1, 1, 4, 5, dtype=dtype, low=0, high=100), (1, 1, 1.6, 0.7), f"{mode}-{np.dtype(dtype).name}",
          mode=mode, oracle="reference")
      for mode in MODES for dtype in (np.uint8, np.int8, np.int32, np.int64, np.uint16, np.float64)),
    row(np.array([0, 255, 255, 0], np.uint8), (2.0,), "saturates", mode="cubic", oracle="reference"),
    row(random(1, 1, 3, 4, dtype=bool), (1, 1, 2.0, 0.5), "bool",
        oracle=lambda x, roi, scales: x.repeat(2, 2)[..., [0, 2]]),
    row(np.array([["a", "b"], ["c", "d"]], object), (2.0, 1.0), "string", oracle=lambda x, roi, scales: x.repeat(2, 0)),
    row(SMALL.astype(np.complex64) * (1 + 2j), (1, 1, 2.0, 0.5), "complex", mode="linear",
        oracle=lambda x, roi, scales: halves(x.real) + 1j * halves(x.imag)),
    *(Case(op.Resize(mode="linear"), [SMALL.astype(dtype), None, np.array([1, 1, 2, 0.5], np.float32)],
           id=str(np.dtype(dtype)),
           const=(2,), rtol=rtol, atol=rtol,
           oracle=lambda x, roi, scales: halves(x.astype(np.float32)).astype(x.dtype))
      for dtype, rtol in [(np.float16, 1e-3), (BFLOAT16, 1e-2)]),
]  # fmt: skip
