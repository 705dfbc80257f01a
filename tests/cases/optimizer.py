"""Steps of optimisers."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import optimizer as op


def step(op, count=0, shapes=((3, 4),), dtype=np.float32, rate=0.1, rate_dtype=np.float32, oracle="reference", id=""):
    """One step of `op`; squared gradients are not negative."""
    kinds = [(-1, 1), (-1, 1), *([(-1, 1)] if op.states == 2 else []), (0.1, 1)]
    tensors = [
        random(*s, dtype=dtype, low=low, high=high, seed=k) for k, (low, high) in enumerate(kinds) for s in shapes
    ]
    inputs = [np.array(rate, rate_dtype), np.array(count, np.int64), *tensors]
    return Case(op, inputs, oracle, id=f"{id or len(shapes)}-{count}", rtol=2e-6)


def adam_64(r, t, x, g, v, h):
    v, h = 0.9 * v + 0.1 * g, 0.999 * h + 0.001 * g**2
    return x - r * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * v / (np.sqrt(h) + 1e-6), v, h


MOMENTUM = {"alpha": 0.95, "beta": 0.85, "norm_coefficient": 0.01}

CASES = [
    *(step(cls, count, shapes, id=f"{getattr(cls, 'mode', '')}{len(shapes)}")
      for cls in (op.Adagrad(0.1, 1e-5, 0.001), op.Momentum(**MOMENTUM, mode="standard"),
                  op.Momentum(**MOMENTUM, mode="nesterov"))
      for count in (0, 3) for shapes in [((3, 4),), ((), (2, 0), (5,))]),
    step(op.Adagrad(), dtype=np.float64, rate_dtype=np.float64, id="float64"),
    step(op.Momentum(**MOMENTUM, mode="standard"), dtype=np.float64, rate_dtype=np.float64, id="float64"),
    *(step(op.Adam(0.8, 0.99, 1e-5, 0.01, 0.02), count, shapes)
      for count, shapes in [(0, ((3, 4),)), (0, ((1,), (2, 3))), (3, ((), (2, 0), (5,)))]),
    step(op.Adam(), 4, dtype=np.float64, rate_dtype=np.float64, oracle=adam_64, id="float64"),
    step(op.Adam(), 4, rate_dtype=np.float64, id="rate-float64",
         oracle=lambda *xs: tuple(y.astype(np.float32) for y in adam_64(*(x.astype(np.float64) for x in xs)))),
]  # fmt: skip
