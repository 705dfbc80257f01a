"""Reshape, Flatten, Squeeze, Unsqueeze, Expand."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import reshaping as op


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# (input shape, target)
RESHAPES = [((2, 3, 4), (4, 6)), ((2, 3, 4), (-1,)), ((2, 3, 4), (0, -1)), ((2, 3, 4), (0, 0, 2, -1)), ((1,), ()),
            ((), (1, 1)), ((0, 3), (0, 5)), ((0, 3), (0, 3)), ((0, 3), (-1, 3)), ((6,), (2, -1, 1)),
            ((2, 3, 4), (-1, 0, 2))]  # fmt: skip
SQUEEZES = [((1, 3, 1, 2), (0, 2)), ((1, 3, 1, 2), (-2,)), ((1, 3), (0,)), ((1,), (0,)), ((1, 0, 1), (-1, 0))]
UNSQUEEZES = [((3, 2), (0,)), ((3, 2), (1, 3)), ((3, 2), (-1, 0)), ((3, 2), (3, 0)), ((), (0,)), ((), (0, 1)),
              ((0, 2), (-2,))]  # fmt: skip
EXPANDS = [((3, 1), (2, 3, 4)), ((3, 1), (3, 4)), ((2, 3), (1,)), ((1, 3), (2, 1)), ((), (2, 2)), ((), ()),
           ((2, 3), ()), ((1, 3), (0, 1)), ((0, 1), (0, 4)), ((3,), (1, 1, 1))]  # fmt: skip

CASES = [
    *(Case(op.Reshape(), [random(*a), ints(*b)], id=f"{a}-{b}", const=(1,)) for a, b in RESHAPES),
    *(Case(op.Reshape(), [random(*a), ints(*b)], id=f"{a}-{b}-run-time") for a, b in RESHAPES),
    Case(op.Reshape(allowzero=True), [random(0, 3), ints(3, 0)], id="allowzero", const=(1,)),
    Case(op.Reshape(allowzero=True), [random(2, 0), ints(0, 5)], id="allowzero-run-time"),
    Case(op.Reshape(allowzero=True), [random(2, 3), ints(-1, 2)], id="allowzero-unused", const=(1,)),
    *(Case(op.Reshape(), [random(2, 3, dtype=d, high=9), ints(3, 2)], id=str(np.dtype(d)))
      for d in (np.int8, np.uint16, np.int64, np.float16, np.float64, bool)),
    Case(op.Reshape(), [np.array(["a", "b", "c", "d"], object), ints(2, 2)], id="string"),
    Case(op.Reshape(), [random(2, 3, dtype=ml_dtypes.bfloat16), ints(3, 2)], id="bfloat16",
         oracle=lambda x, s: x.reshape(s)),
    *(Case(op.Flatten(axis), [random(2, 3, 4)], id=str(axis)) for axis in (-3, -1, 0, 1, 2, 3)),
    Case(op.Flatten(), [random(5)], id="vector"),
    Case(op.Flatten(0), [random()], id="scalar"),
    Case(op.Flatten(), [random(0, 3, 2)], id="empty"),
    Case(op.Flatten(2), [random(0, 3, 2)], id="empty-2"),
    *(Case(op.Squeeze(), [random(*a), ints(*b)], id=f"{a}-{b}", const=(1,)) for a, b in SQUEEZES),
    *(Case(op.Squeeze(), [random(*a), ints(*b)], id=f"{a}-{b}-run-time") for a, b in SQUEEZES),
    *(Case(op.Squeeze(), [random(*a)], id=f"all-{a}") for a in [(1, 3, 1), (1, 1), (2, 3), ()]),
    *(Case(op.Unsqueeze(), [random(*a), ints(*b)], id=f"{a}-{b}", const=(1,)) for a, b in UNSQUEEZES),
    *(Case(op.Unsqueeze(), [random(*a), ints(*b)], id=f"{a}-{b}-run-time") for a, b in UNSQUEEZES),
    *(Case(op.Expand(), [random(*a), ints(*b)], id=f"{a}-{b}", const=(1,)) for a, b in EXPANDS),
    # The gradient of a broadcast to a shape that is only known at run time is refused.
    *(Case(op.Expand(), [random(*a), ints(*b)], id=f"{a}-{b}-run-time", grad=False) for a, b in EXPANDS),
    *(Case(op.Expand(), [random(3, 1, dtype=d, high=9), ints(2, 1, 4)], id=str(np.dtype(d)), const=(1,))
      for d in (np.int8, np.int32, np.uint64, np.float16, bool)),
    Case(op.Expand(), [np.array([["a"], ["b"]], object), ints(2, 2)], id="string"),
]  # fmt: skip
