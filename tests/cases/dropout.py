"""Dropout."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import dropout as op

x = random(4, 6, low=0.5, high=2)
on, off = np.array(True), np.array(False)


def ratio(value, dtype=np.float32):
    return np.array(value, dtype)


def drop(v, p, _):
    """With seed 3; a ratio of 0.5 doubles what is kept, which is exact."""
    mask = np.random.RandomState(3).uniform(0, 1, v.shape) >= 0.5
    doubled = 2 * v.astype(np.float64)
    return np.where(mask, doubled, 0).astype(v.dtype), np.asarray(mask)


CASES = [
    Case(op.Dropout(), [x], id="inference"),
    Case(op.Dropout(outputs=2), [x], id="inference-mask"),
    Case(op.Dropout(seed=1), [x, ratio(0.3), off], id="off"),
    Case(op.Dropout(seed=1, outputs=2), [x, None, off], id="off-mask"),
    Case(op.Dropout(seed=1), [x, ratio(0.0), on], id="ratio-0", const=(1,)),
    *(
        Case(op.Dropout(seed=seed, outputs=outputs), [x, ratio(p), on], "reference", id=f"{seed}-{p}-{outputs}",
             const=(1, 2))
        for seed, p, outputs in [(0, 0.5, 1), (0, 0.5, 2), (7, 0.25, 1), (7, 0.75, 2)]
    ),
    *(
        Case(op.Dropout(seed=3, outputs=2), [v, p, on], drop, id=f"{v.dtype}-{v.shape}-{p}", const=(1,))
        for v, p in [(x, None), (random(0, 2), ratio(0.5)), (random(), None), (x.astype(np.float64), ratio(0.5))]
    ),
    *(
        Case(op.Dropout(seed=3, outputs=2), [x.astype(dtype), ratio(0.5, dtype), on], drop, id=np.dtype(dtype).name)
        for dtype in (np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2)
    ),
]  # fmt: skip
