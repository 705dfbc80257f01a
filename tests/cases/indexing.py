"""Gather, GatherElements, GatherND, OneHot."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import indexing as op


def i64(values: object) -> np.ndarray:
    return np.array(values, np.int64)


x = random(3, 4, 2)
names = np.array([["a", "b"], ["c", "d"]], object)
below = random(2, 3, dtype=np.int64, low=-4, high=4, seed=3)

CASES = [
    *(Case(op.Gather(axis), [x, i64([[0, -1], [1, 1]])], id=f"axis={axis}") for axis in (0, 1, 2, -1, -3)),
    Case(op.Gather(), [x, i64(-2)], id="scalar-index"),
    Case(op.Gather(1), [x, i64(3)], id="scalar-index-axis", const=(1,)),
    Case(op.Gather(), [random(5), i64([4, 0])], id="vector", const=(1,)),
    Case(op.Gather(), [random(5), np.array([4, 4, -5], np.int32)], id="int32-repeated"),
    Case(op.Gather(1), [random(2, 3), i64(np.zeros((0, 2)))], id="no-indices"),
    Case(op.Gather(), [random(2, 0), i64([1, 0, 1])], id="empty-rows"),
    Case(op.Gather(), [names, i64([1, 0])], id="strings", oracle=lambda a, i: a[i]),
    Case(op.Gather(1), [random(2, 3, dtype=bool), i64([2])], id="bool"),
    Case(op.Gather(1), [random(2, 3, dtype=np.int64, low=0, high=9), i64([2, -3])], id="int64"),
    Case(op.Gather(), [random(2, 3).astype(np.float16), i64([1])], id="float16"),
    Case(op.Gather(), [random(2, 3).astype(ml_dtypes.bfloat16), i64([1])], id="bfloat16", oracle=lambda a, i: a[i]),
    Case(op.Gather(), [random(2, 3).astype(np.complex64), i64([1])], id="complex", oracle=lambda a, i: a[i]),
    *(
        Case(op.GatherElements(axis), [random(3, 4), i64(index)], id=f"axis={axis}-{np.shape(index)}")
        for axis, index in (
            (0, [[0, -1, 1, 2]]), (1, [[0, -1], [3, 3], [1, 0]]), (-1, [[0, 0, 0, 0, 1], [-4, 2, 3, 1, 1]]),
        )
    ),
    Case(op.GatherElements(1), [x, i64(np.full((3, 2, 2), -2))], id="rank-3", const=(1,)),
    Case(op.GatherElements(), [random(4), np.array([1, -4], np.int32)], id="vector"),
    Case(op.GatherElements(), [random(4), i64([])], id="empty"),
    Case(op.GatherElements(1), [names, i64([[1], [0]])], id="strings"),
    *(
        Case(op.GatherND(batch), [x, i64(index)], id=f"batch_dims={batch}-{np.shape(index)}")
        for batch, index in (
            (0, [[0, 1], [-1, -4]]), (0, [[[2]], [[0]]]), (0, [1, 2, 0]), (0, [[2, 3, 1], [0, 0, -1], [2, 3, 1]]),
            (1, [[1], [-1], [0]]), (1, [[[3, 1]], [[0, 0]], [[2, -2]]]), (2, np.arange(12).reshape(3, 4, 1) % 2),
        )
    ),
    Case(op.GatherND(), [x, i64(np.zeros((0, 2)))], id="no-indices"),
    Case(op.GatherND(), [random(4, dtype=np.int32, low=0, high=9), i64([[3], [1]])], id="int32", const=(1,)),
    Case(op.GatherND(), [names, i64([[1, 0]])], id="strings"),
    *(
        Case(op.OneHot(axis), [below, i64(4), random(2, seed=1)], id=f"axis={axis}", const=(1,) if axis else ())
        for axis in (-1, 0, 1, -2, 2)
    ),
    Case(op.OneHot(), [i64([0, 7, -5, 2]), i64([3]), i64([5, 9])], id="out-of-range"),
    Case(op.OneHot(), [i64(1), i64(3), np.array([0, 1], np.float32)], id="0-d",
         oracle=lambda i, n, v: np.float32([0, 1, 0])),
    Case(op.OneHot(), [np.float32([1.3, 2.6]), np.array(3.4, np.float32), np.array([0, 1], np.float32)], id="floats"),
    Case(op.OneHot(), [i64([1, 0]), i64(2), np.array([False, True])], id="bool",
         oracle=lambda i, n, v: np.array([[False, True], [True, False]])),
    Case(op.OneHot(), [i64([1, 0]), i64(2), np.array(["off", "on"], object)], id="strings"),
    Case(op.OneHot(), [i64([]), i64(2), random(2)], id="empty"),
]  # fmt: skip
