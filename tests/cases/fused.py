"""The fused op: the oracle is its body written in NumPy."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from cases.control import body
from graphc.ops import fused as op
from graphc.ops.base import const

x, w = random(2, 3), random(3, seed=1, low=0.5, high=2)
wide = w.astype(np.float64)

CASES = [
    Case(op.Fused(body(lambda a, b: a * b - a, x, w)), [x, w], oracle=lambda a, b: a * b - a),
    Case(op.Fused(body(lambda a, b: (a * b, a + b), x, w)), [x, w], id="two-outputs",
         oracle=lambda a, b: (a * b, a + b)),
    Case(op.Fused(body(lambda a: a * const(wide), wide)), [random(2, 3, dtype=np.float64)], id="constant-inside",
         oracle=lambda a: a * wide),
    Case(op.Fused(body(lambda a, b: op.Fused(body(lambda c: c * c, x))(a) / b, x, w)), [x, w], id="nested",
         oracle=lambda a, b: a * a / b),
]  # fmt: skip
