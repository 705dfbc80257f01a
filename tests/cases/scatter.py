"""ScatterElements, ScatterND, TensorScatter."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import scatter as op


def i64(values: object) -> np.ndarray:
    return np.array(values, np.int64)


data = random(3, 4, low=0.5, high=2)
signed = random(3, 4)
once = i64([[0, -1], [3, 1], [1, 0]])
twice = i64([[0, 0], [3, 3], [1, -4]])
updates = random(3, 2, seed=5, low=0.5, high=2)
cube = random(3, 2, 4, seed=6)
cache, new = random(2, 5, 3), random(2, 2, 3, seed=1)


def bfloat16_sum(a: np.ndarray, i: np.ndarray, u: np.ndarray) -> np.ndarray:
    result = a.copy()
    np.add.at(result, i, u)
    return result


one_zero, two_zeros = updates.copy(), updates.copy()
one_zero[0, 0] = 0
two_zeros[0] = 0  # both go to one element


CASES = [
    Case(op.ScatterElements(1), [data, once, updates], id="axis=1"),
    Case(op.ScatterElements(-1), [data, once, updates], id="axis=-1", const=(1,)),
    Case(op.ScatterElements(0), [data, i64([[2, 0, -3, 1]]), random(1, 4, seed=2)], id="axis=0"),
    Case(op.ScatterElements(1), [random(2, 3, 2), i64(np.full((2, 1, 2), -1)), random(2, 1, 2, seed=1)], id="rank-3"),
    Case(op.ScatterElements(), [random(4), np.array([2], np.int32), random(1, seed=1)], id="vector"),
    Case(op.ScatterElements(), [random(4), i64([]), random(0)], id="empty"),
    *(Case(op.ScatterElements(1, r), [data, twice, updates], id=r) for r in ("add", "mul", "max", "min")),
    Case(op.ScatterElements(1, "mul"), [signed, twice, one_zero], id="mul-zero"),
    # Second derivatives are lost where two zeros meet in one element.
    Case(op.ScatterElements(1, "mul"), [signed, twice, two_zeros], id="mul-zeros", second=False),
    Case(op.ScatterElements(1, "max"), [random(2, 3, dtype=np.int32, low=0, high=9), i64([[2], [0]]),
                                        np.array([[7], [3]], np.int32)], id="max-int"),
    Case(op.ScatterElements(0, "add"), [random(3).astype(ml_dtypes.bfloat16), i64([1, 1]),
                                        random(2).astype(ml_dtypes.bfloat16)], id="add-bfloat16", oracle=bfloat16_sum),
    Case(op.ScatterElements(0), [np.array(["a", "b"], object), i64([1]), np.array(["c"], object)], id="strings"),
    Case(op.ScatterND(), [cube, i64([[2], [0]]), random(2, 2, 4, seed=1)], id="rows"),
    Case(op.ScatterND(), [cube, i64([[[2, -1]], [[0, 0]]]), random(2, 1, 4, seed=1)], id="depth-2", const=(1,)),
    Case(op.ScatterND(), [cube, i64([[2, 1, -4], [0, 0, 3]]), random(2, seed=1)], id="elements"),
    Case(op.ScatterND(), [cube, i64([2, 1]), random(4, seed=1)], id="one"),
    Case(op.ScatterND(), [cube, i64(np.zeros((0, 1))), random(0, 2, 4)], id="empty"),
    *(
        Case(op.ScatterND(r), [data, i64([[1], [1], [-3]]), random(3, 4, seed=2, low=0.5, high=2)], id=r)
        for r in ("add", "mul", "max", "min")
    ),
    Case(op.ScatterND("mul"), [signed, i64([[1, 0], [1, 0], [2, 3]]), np.float32([0, 2, 3])], id="mul-zero"),
    Case(op.ScatterND("add"), [random(3, dtype=np.int64, low=0, high=9), i64([[0], [0]]), i64([5, 6])], id="add-int"),
    Case(op.ScatterND(), [np.array([True, False]), i64([[0]]), np.array([False])], id="bool"),
    *(
        Case(op.TensorScatter(mode), [cache, new, i64(first)], id=f"{mode}-{first}", oracle="reference")
        for mode, first in (("linear", [0, 3]), ("linear", [1, 1]), ("circular", [4, 2]), ("circular", [0, 9]))
    ),
    Case(op.TensorScatter(), [cache, new], id="prefill", oracle="reference"),
    Case(op.TensorScatter(axis=1), [random(2, 4, 2, 2), random(2, 2, 2, 2, seed=1), i64([1, 2])], id="axis=1",
         oracle="reference"),
    Case(op.TensorScatter(axis=-1), [random(2, 2, 4), random(2, 2, 1, seed=1), i64([3, 0])], id="axis=-1",
         oracle="reference", const=(2,)),
]  # fmt: skip
