"""Ops that order elements or look for them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import ranking as op

WITH_TIES = np.array([[3, 1, 3, 2], [2, 2, 0, 2], [1, 1, 1, 1]], np.float32)
NAN = np.array([[1, np.nan, 3], [3, 2, 1]], np.float32)


def count(k: int) -> np.ndarray:
    return np.array([k], np.int64)


def distinct(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Different numbers, so far from one another that finite differences do not swap them."""
    return np.random.default_rng([7, *shape]).permutation(int(np.prod(shape))).reshape(shape).astype(dtype)


def top(values: list, indices: list) -> object:
    return lambda x, k: (np.array(values, x.dtype), np.array(indices, np.int64))


def unique(**options: object) -> object:
    """NumPy's answer, in ascending order."""

    def oracle(x: np.ndarray) -> tuple[np.ndarray, ...]:
        y, *rest = np.unique(x, return_index=True, return_inverse=True, return_counts=True, **options)
        return (y, *(v.reshape(-1).astype(np.int64) for v in rest))

    return oracle


CASES = [
    *(Case(cls(axis, keep, last), [WITH_TIES], id=f"{axis}-{keep}-{last}")
      for cls in (op.ArgMax, op.ArgMin) for axis in (0, 1, -1) for keep in (True, False) for last in (True, False)),
    *(Case(cls(axis=1), [random(3, 5, dtype=dtype, low=0, high=99)], id=np.dtype(dtype).name,
           oracle=lambda x, f=f: f(x, axis=1, keepdims=True))
      for cls, f in ((op.ArgMax, np.argmax), (op.ArgMin, np.argmin))
      for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float64)),
    *(Case(op.ArgMax(axis=1), [random(3, 5).astype(dtype)], id=np.dtype(dtype).name,
           oracle=lambda x: np.argmax(x.astype(np.float32), axis=1, keepdims=True))
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    Case(op.ArgMax(axis=-1), [np.array(5, np.float32)], id="rank-0", oracle=lambda x: np.zeros((), np.int64)),
    Case(op.ArgMin(axis=1), [random(0, 3)], id="empty", oracle=lambda x: np.zeros((0, 1), np.int64)),
    # The greatest and the least.
    *(Case(op.TopK(axis, largest), [distinct(3, 4), count(2)], id=f"{axis}-{largest}", const=(1,))
      for axis in (0, 1, -1) for largest in (True, False)),
    *(Case(op.TopK(largest=largest), [WITH_TIES, count(3)], id=f"ties-{largest}", const=(1,), grad=False)  # ties
      for largest in (True, False)),
    Case(op.TopK(sorted=False), [distinct(2, 5), count(5)], id="not-sorted", const=(1,),
         oracle=lambda x, k: (-np.sort(-x), np.argsort(-x))),
    # A gradient's sizes must be known when it is differentiated again.
    *(Case(op.TopK(axis=0), [distinct(4, 2), count(k)], id=f"run-time-k={k}", second=False) for k in (0, 1, 4)),
    *(Case(op.TopK(largest=largest), [distinct(3, 5, dtype=dtype), count(3)], id=f"{np.dtype(dtype)}-{largest}",
           const=(1,), oracle="reference")
      for dtype in (np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64, np.float64, np.float16)
      for largest in (True, False)),
    *(Case(op.TopK(largest=largest), [np.array([-128, 127, -128, 0], np.int8), count(3)], id=f"extreme-{largest}",
           const=(1,), oracle=top(*(([127, 0, -128], [1, 3, 0]) if largest else ([-128, -128, 0], [0, 2, 3]))))
      for largest in (True, False)),
    Case(op.TopK(), [np.array([1, 3, 2], ml_dtypes.bfloat16), count(2)], id="bfloat16", const=(1,),
         oracle=top([3, 2], [1, 2])),
    Case(op.TopK(), [NAN[0], count(2)], id="nan", const=(1,), oracle=top([np.nan, 3], [1, 2]), grad=False),  # NaN
    Case(op.TopK(), [random(0, 3), count(2)], id="empty", const=(1,)),
    Case(op.TopK(), [random(2, 3), count(0)], id="none", const=(1,)),
    # Of one, as the arg-extremum; of many, in chunks, with a reservoir that is sorted again and again.
    *(Case(op.TopK(-1, largest), [distinct(3, 5), count(1)], id=f"one-{largest}", const=(1,))
      for largest in (True, False)),
    *(Case(op.TopK(axis, largest), [random(3, 200, 2), count(k)], id=f"many-{axis}-{k}-{largest}", const=(1,),
           grad=False)  # differences so small that steps swap them
      for axis, k in ((1, 7), (1, 40), (1, 200), (0, 2)) for largest in (True, False)),
    # Distinct elements and slices.
    *(Case(op.Unique(sorted=s, outputs=4), [np.array([2, 1, 1, 3, 4, 3], np.float32)], id=f"{s}", grad=False)
      for s in (True, False)),  # equal elements do not stay equal
    *(Case(op.Unique(axis, s, 2), [np.array([[2, 3, 1], [5, 0, 4], [8, 7, 6]], np.float32)], id=f"distinct-{axis}-{s}")
      for axis in (None, 0, -1) for s in (True, False)),
    *(Case(op.Unique(sorted=s, outputs=4), [np.array([[3, 1], [3, 2]], np.int64)], id=f"matrix-{s}")
      for s in (True, False)),
    *(Case(op.Unique(axis, s, 4), [np.array([[1, 0, 0], [5, 0, 0], [1, 0, 0], [1, 0, -1]], np.float32)],
           id=f"axis={axis}-{s}", grad=False)  # equal slices
      for axis in (0, 1, -1) for s in (True, False)),
    *(Case(op.Unique(axis=1, outputs=n), [random(2, 6, 2, low=0, high=2, dtype=np.int64)], id=f"outputs={n}",
           oracle=lambda x, n=n: unique(axis=1)(x)[:n])
      for n in (1, 2, 3, 4)),
    *(Case(op.Unique(outputs=4), [random(9, low=0, high=4, dtype=dtype)], id=np.dtype(dtype).name, oracle=unique(),
           grad=False)
      for dtype in (np.int8, np.uint16, np.bool_, np.float64)),
    Case(op.Unique(outputs=4), [np.array([1, 0.5, 1], ml_dtypes.bfloat16)], id="bfloat16", oracle=unique()),
    Case(op.Unique(outputs=4), [np.array([1j, 1, 1j, 0], np.complex64)], id="complex64", oracle=unique()),
    Case(op.Unique(sorted=False, outputs=4), [np.array(["b", "a", "b"], object)], id="string",
         oracle=lambda x: (np.array(["b", "a"], object), np.array([0, 1]), np.array([0, 1, 0]), np.array([2, 1]))),
    Case(op.Unique(axis=0, outputs=2), [np.array([["b", "a"], ["a", "z"], ["b", "a"]], object)], id="string-axis",
         oracle=lambda x: (x[[1, 0]], np.array([1, 0]))),
    Case(op.Unique(outputs=4), [NAN], id="nan", oracle=unique(), grad=False),  # NaN
    Case(op.Unique(outputs=4), [np.array(3, np.float32)], id="rank-0", oracle=unique()),
    Case(op.Unique(outputs=4), [random(0, 2)], id="empty", oracle=unique()),
    Case(op.Unique(axis=0, outputs=4), [random(3, 0)], id="empty-slices",
         oracle=lambda x: (x[:1], np.array([0]), np.array([0, 0, 0]), np.array([3]))),
    # What is not zero.
    *(Case(op.NonZero(), [random(*shape, low=0, high=2, dtype=np.int64)], id=str(shape))
      for shape in ((6,), (3, 4), (2, 3, 2), (0, 3))),
    *(Case(op.NonZero(), [np.array(x, np.float32)], id=f"rank-0-{x}",
           oracle=lambda x: np.zeros((0, int(x != 0)), np.int64))
      for x in (0, 1)),
    *(Case(op.NonZero(), [random(3, 4, low=0, high=2, dtype=dtype)], id=np.dtype(dtype).name,
           oracle=lambda x: np.array(np.nonzero(x)))
      for dtype in (np.bool_, np.int8, np.float32, np.complex64)),
    Case(op.NonZero(), [np.array([0, -0.0, 1, np.nan], ml_dtypes.bfloat16)], id="bfloat16",
         oracle=lambda x: np.array([[2, 3]])),
]  # fmt: skip
