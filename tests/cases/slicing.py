"""Slice."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import slicing as op

MOST, LEAST = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def ints(values: object, dtype: type = np.int64) -> np.ndarray:
    return np.array(values, dtype)


# (input shape, starts, ends, axes, steps)
SLICES = [
    ((5, 4), (1, 0), (3, 4), None, None),
    ((5, 4), (1,), (-1,), (1,), None),
    ((5, 4), (-3,), (MOST,), (0,), (1,)),
    ((5, 4), (0, 1), (5, 4), (-2, -1), (2, 2)),
    ((7,), (1,), (6,), (0,), (3,)),
    ((7,), (-1,), (LEAST,), (0,), (-1,)),
    ((7,), (5,), (0,), (0,), (-2,)),
    ((7,), (MOST,), (-8,), (0,), (-3,)),
    ((7,), (2,), (3,), (0,), (5,)),
    ((7,), (-100,), (100,), (0,), (1,)),
    ((7,), (4,), (4,), (0,), (1,)),
    ((7,), (5,), (2,), (0,), (1,)),
    ((7,), (2,), (5,), (0,), (-1,)),
    ((7,), (-100,), (LEAST,), (0,), (-2,)),
    ((7, 2), (-8, 0), (-8, 1), (0, 1), (-1, 1)),
    ((0, 4), (-3,), (LEAST,), (0,), (-1,)),
    ((2, 3, 4), (1, -1), (MOST, LEAST), (2, 1), (2, -1)),
    ((0, 4), (0,), (2,), (0,), None),
    ((3, 2), (0,), (MOST,), (1,), None),
    ((3, 2), (), (), (), ()),
]


def case(shape: tuple[int, ...], *parameters: object, const: tuple[int, ...] = (), kind: type = np.int64) -> Case:
    given = [None if p is None else ints(p, kind) for p in parameters]
    while given[-1] is None:
        given.pop()
    name = "-".join(str(p).replace(str(MOST), "most").replace(str(LEAST), "least") for p in (shape, *parameters))
    return Case(op.Slice(), [random(*shape), *given], const=const, id=f"{name}{'' if const else '-run-time'}")


CASES = [
    *(case(*s, const=(1, 2, 3, 4)) for s in SLICES),
    *(case(*s) for s in SLICES),
    case((6, 3), (1,), (5,), (0,), (2,), const=(3, 4)),
    Case(op.Slice(), [random(6, 3), ints([1], np.int32), ints([2**31 - 1], np.int32), ints([0], np.int32)], id="int32"),
    Case(op.Slice(), [random(6, 3), ints([1]), ints([5]), None, ints([2])], id="no-axes", const=(1, 2, 4)),
    *(Case(op.Slice(), [random(4, 3, dtype=d, high=9), ints([1]), ints([3])], id=str(np.dtype(d)))
      for d in (np.int8, np.int64, np.uint8, np.float16, np.float64, bool)),
    Case(op.Slice(), [np.array(["a", "b", "c"], object), ints([2]), ints([LEAST]), ints([0]), ints([-2])], id="string"),
]  # fmt: skip
