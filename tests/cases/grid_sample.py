"""GridSample and AffineGrid."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import grid_sample as op

X = random(2, 3, 4, 5)
GRID = random(2, 3, 4, 2, low=-1.6, high=1.6, seed=2)
MODES = [(mode, padding, align) for mode in ("linear", "nearest", "cubic") for padding in op.PADDING
         for align in (False, True)]  # fmt: skip


def sample(x, grid, oracle="onnxruntime", id="", grad=True, **attributes):
    return Case(op.GridSample(**attributes), [x, grid], oracle, id=id, rtol=1e-5, atol=1e-5, grad=grad)


def halves(theta):
    """The grid of three rows and two columns, pixel edges at -1 and 1."""
    y, x = np.mgrid[-2:3:2, -1:2:2] / np.array([3, 2])[:, None, None]
    return (np.stack([x, y, np.ones_like(x)], -1) @ theta[0].T.astype(np.float64))[None].astype(theta.dtype)


CASES = [
    *(sample(X, GRID, mode=mode, padding_mode=padding, align_corners=align, id=f"{mode}-{padding}-{align}")
      for mode, padding, align in MODES),
    *(sample(X, GRID * 4, mode=mode, padding_mode=padding, align_corners=align, id=f"{mode}-{padding}-{align}-far")
      for mode, padding, align in MODES),
    *(sample(random(1, 2, 3, 4, 3), random(1, 2, 3, 2, 3, low=-1.4, high=1.4), mode=mode, padding_mode=padding,
             align_corners=align, id=f"3d-{mode}-{padding}-{align}")
      for mode, padding, align in MODES if mode != "cubic"),
    *(sample(random(1, 2, 5), random(1, 4, 1, low=-1.3, high=1.3), "reference", mode=mode, id=f"1d-{mode}")
      for mode in ("linear", "nearest", "cubic")),
    sample(random(1, 1, 3, 3, 3), random(1, 2, 1, 2, 3), "reference", mode="cubic", id="3d-cubic"),
    sample(random(1, 1, 1, 1), GRID[:1], mode="linear", padding_mode="reflection", align_corners=False, id="one-pixel"),
    sample(X.astype(np.float64), GRID.astype(np.float64), "reference", id="float64"),
    sample(random(1, 1, 4, 4, dtype=np.int32, low=-99, high=99), GRID[:1], id="int32",
           oracle=lambda x, grid: np.trunc(sample(x.astype(np.float32), grid).expected()[0]).astype(np.int32)),
    sample(random(1, 1, 4, 4, dtype=np.uint8, high=99), GRID[:1], "reference", mode="nearest", id="uint8"),
    sample(np.array([[[["a", "b"], ["c", "d"]]]], object), np.array([[[[-0.5, -0.5], [0.5, -0.5], [3, 0]]]], "f"),
           lambda x, grid: np.array([[[["a", "b", ""]]]], object), mode="nearest", id="string"),
    sample(X[:1], np.array([[[[np.inf, 0], [-np.inf, np.inf], [1e30, 0]]]], np.float32),
           lambda x, grid: np.zeros((1, 3, 1, 3), np.float32), id="infinite", grad=False),
    sample(X, np.zeros((2, 0, 3, 2), np.float32), lambda x, grid: np.zeros((2, 3, 0, 3), np.float32), id="empty"),
    *(Case(op.AffineGrid(align), [random(2, len(size) - 2, len(size) - 1), np.array(size)],
           id=f"{len(size) - 2}d-{align}{const}", const=const, grad=bool(const))
      for align in (False, True) for size in [(2, 3, 4, 5), (2, 1, 2, 3, 4)] for const in ((), (1,))),
    Case(op.AffineGrid(), [random(1, 2, 3, dtype=np.float16), np.array([1, 1, 3, 2])], id="float16", rtol=1e-3,
         atol=1e-3, oracle=lambda theta, size: halves(theta)),
]  # fmt: skip
