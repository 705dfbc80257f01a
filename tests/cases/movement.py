"""Transpose, Concat, Split, Tile, ReverseSequence, Compress."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import movement as op

DTYPES = (np.int8, np.int32, np.int64, np.uint8, np.float16, np.float64, bool)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def some(*shape: int, dtype: type, seed: int = 0) -> np.ndarray:
    return random(*shape, dtype=dtype, low=0, high=9, seed=seed)


STRINGS = np.array([["a", "bc"], ["", "d"]], object)
# (input shape, axis, split)
SPLITS = [((6, 2), 0, (2, 4)), ((2, 6), 1, (1, 2, 3)), ((2, 6), -1, (6,)), ((5,), 0, (0, 5)), ((0, 2), 0, (0, 0)),
          ((2, 3, 4), -2, (1, 1, 1))]  # fmt: skip
# (input shape, axis, num_outputs)
EVEN = [((6, 2), 0, 3), ((7, 2), 0, 3), ((2, 7), -1, 2), ((4,), 0, 1), ((2, 3, 8), 2, 3)]
TILES = [((2, 3), (2, 2)), ((2, 3), (1, 1)), ((3,), (4,)), ((2, 1, 3), (1, 3, 2)), ((2, 3), (0, 2)), ((0, 3), (2, 2)),
         ((), ())]  # fmt: skip
# (input shape, axis, condition)
COMPRESSES = [((3, 2), 0, (1, 0, 1)), ((3, 2), 1, (0, 1)), ((2, 4), -1, (1, 1)), ((3, 2), None, (0, 1, 1, 0, 1)),
              ((3, 2), 0, (0, 0)), ((2, 3, 2), -2, (0, 1, 1)), ((0, 2), 1, (1, 0))]  # fmt: skip

CASES = [
    *(Case(op.Transpose(p), [random(2, 3, 4)], id=str(p)) for p in itertools.permutations(range(3))),
    *(Case(op.Transpose(), [random(*s)], id=str(s)) for s in [(), (3,), (2, 3), (2, 0, 3), (2, 3, 1, 2)]),
    *(Case(op.Transpose((1, 0)), [some(2, 3, dtype=d)], id=str(np.dtype(d))) for d in DTYPES),
    Case(op.Transpose((1, 0)), [STRINGS], id="string"),
    Case(op.Transpose((2, 0, 1)), [random(2, 3, 4, dtype=ml_dtypes.bfloat16)], id="bfloat16",
         oracle=lambda x: x.transpose(2, 0, 1)),
    *(Case(op.Concat(axis), [random(2, 3, 2), random(2, 3, 2, seed=1), random(2, 3, 2, seed=2)], id=str(axis))
      for axis in (-3, -1, 0, 1, 2)),
    Case(op.Concat(1), [random(2, 1), random(2, 3, seed=1), random(2, 0)], id="uneven"),
    Case(op.Concat(0), [random(4)], id="one"),
    Case(op.Concat(0), [random(2, 0), random(3, 0)], id="empty"),
    *(Case(op.Concat(-1), [some(2, 2, dtype=d), some(2, 3, dtype=d)], id=str(np.dtype(d))) for d in DTYPES),
    Case(op.Concat(0), [STRINGS, STRINGS], id="string"),
    *(Case(op.Split(axis), [random(*s), ints(*p)], id=f"{s}-{axis}-{p}", const=(1,)) for s, axis, p in SPLITS),
    *(Case(op.Split(axis, outputs=len(p)), [random(*s), ints(*p)], id=f"{s}-{axis}-{p}-run-time")
      for s, axis, p in SPLITS),
    *(Case(op.Split(axis, n), [random(*s)], id=f"{s}-{axis}-{n}") for s, axis, n in EVEN),
    Case(op.Split(0, 3), [random(2, 2)], id="last-is-empty", oracle=lambda x: (x[:1], x[1:], x[2:])),
    *(Case(op.Split(1), [some(2, 5, dtype=d), ints(2, 3)], id=str(np.dtype(d)), const=(1,))
      for d in (np.int32, np.int64, np.uint8, np.float64)),
    Case(op.Split(1), [STRINGS, ints(1, 1)], id="string", const=(1,)),
    *(Case(op.Tile(), [random(*s), ints(*r)], id=f"{s}-{r}", const=(1,)) for s, r in TILES),
    *(Case(op.Tile(), [random(*s), ints(*r)], id=f"{s}-{r}-run-time") for s, r in TILES),
    *(Case(op.Tile(), [some(2, 2, dtype=d), ints(2, 1)], id=str(np.dtype(d))) for d in DTYPES),
    Case(op.Tile(), [STRINGS, ints(2, 2)], id="string"),
    Case(op.ReverseSequence(), [random(4, 3), ints(4, 1, 3)], id="time-first"),
    Case(op.ReverseSequence(0, 1), [random(3, 4), ints(2, 4, 1)], id="batch-first", const=(1,)),
    Case(op.ReverseSequence(0, 1), [random(2, 3, 2), ints(3, 2)], id="inner"),
    Case(op.ReverseSequence(1, 0), [random(3, 2, 2, 2, dtype=np.int64, low=-9, high=9), ints(3, 1)], id="int64"),
    Case(op.ReverseSequence(2, 1), [random(2, 3, 2), ints(0, 2)], id="other-axes",
         oracle=lambda x, n: np.stack([x[:, :, 0], x[:, [1, 0, 2], 1]], 2)),
    *(Case(op.Compress(axis), [random(*s), np.array(c, bool)], id=f"{s}-{axis}-{c}", const=(1,))
      for s, axis, c in COMPRESSES),
    *(Case(op.Compress(axis), [random(*s), np.array(c, bool)], id=f"{s}-{axis}-{c}-run-time")
      for s, axis, c in COMPRESSES),
    Case(op.Compress(0), [STRINGS, np.array([False, True])], id="string"),
    Case(op.Compress(1), [some(2, 3, dtype=np.uint8), np.array([True, False, True])], id="uint8"),
]  # fmt: skip
