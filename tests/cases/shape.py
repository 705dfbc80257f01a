"""Shape and Size."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import shape as op

CASES = [
    Case(op.Shape(), [random(2, 3, 4)]),
    Case(op.Shape(), [random()], id="scalar"),
    Case(op.Shape(), [random(0, 3)], id="empty"),
    Case(op.Shape(), [np.array([["a", "b"]], object)], id="string"),
    *(
        Case(op.Shape(start, end), [random(2, 3, 4, 5)], id=f"{start}:{end}")
        for start, end in [(1, None), (-2, None), (0, -1), (1, 3), (-3, -1), (-9, 9), (3, 1), (9, None), (0, -9)]
    ),
    Case(op.Size(), [random(2, 3, 4)]),
    Case(op.Size(), [random()], id="scalar"),
    Case(op.Size(), [random(0, 3, dtype=np.int64)], id="empty"),
]  # fmt: skip
