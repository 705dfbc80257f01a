"""Operations on bits."""

from __future__ import annotations

import numpy as np
from conformance import Case

from graphc.ops import bitwise as op

INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)


def bits(*shape, dtype, seed=0):
    """Uniform over the whole range of `dtype`."""
    info = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(info.min, info.max, shape, dtype, endpoint=True)


def shift(direction):
    """By Python's integers, wrapped to the type of x."""

    def apply(x, y):
        width = 8 * x.dtype.itemsize
        results = []
        for a, b in np.broadcast(x, y):
            a, b = int(a), int(b)
            b = b if 0 <= b < width else width
            results.append(((a << b) if direction == "LEFT" else (a >> b)) % (1 << width))
        unsigned = np.array(results, np.dtype(f"u{x.dtype.itemsize}")).reshape(np.broadcast_shapes(x.shape, y.shape))
        return unsigned.view(x.dtype)

    return apply


CASES = [
    *(
        Case(cls(), [bits(*a, dtype=dtype), bits(*b, dtype=dtype, seed=1)], id=f"{np.dtype(dtype)}-{a}-{b}")
        for cls in (op.BitwiseAnd, op.BitwiseOr, op.BitwiseXor)
        for dtype in INTEGERS
        for a, b in [((2, 3), (2, 3)), ((2, 1, 4), (3, 1))]
    ),
    *(
        Case(cls(), [bits(*a, dtype=np.int32), bits(*b, dtype=np.int32, seed=1)], id=f"{a}-{b}")
        for cls in (op.BitwiseAnd, op.BitwiseOr, op.BitwiseXor)
        for a, b in [((), (3,)), ((0, 3), (1, 3))]
    ),
    *(Case(op.BitwiseNot(), [bits(2, 3, dtype=dtype)], id=f"{np.dtype(dtype)}") for dtype in INTEGERS),
    Case(op.BitwiseNot(), [bits(dtype=np.int64)], id="scalar"),
    Case(op.BitwiseNot(), [bits(0, 2, dtype=np.int64)], id="empty"),
    *(
        Case(op.BitShift(direction=direction), [bits(4, 8, dtype=dtype), np.array([0, 1, 5, 7, 8, 31, 63, 64], dtype)],
             shift(direction), id=f"{direction}-{np.dtype(dtype)}")
        for direction in ("LEFT", "RIGHT")
        for dtype in INTEGERS
    ),
    *(
        Case(op.BitShift(direction=direction), [bits(3, dtype=np.int16), np.array([[-1], [-20]], np.int16)],
             shift(direction), id=f"{direction}-negative")
        for direction in ("LEFT", "RIGHT")
    ),
    *(
        Case(op.BitShift(direction=direction), [bits(2, 3, dtype=dtype), np.array([1, 2, 3], dtype)],
             id=f"{direction}-{np.dtype(dtype)}-onnxruntime")
        for direction in ("LEFT", "RIGHT")
        for dtype in (np.uint8, np.uint32, np.uint64)
    ),
    Case(op.BitShift(direction="LEFT"), [bits(0, 3, dtype=np.uint8), np.array(1, np.uint8)], id="empty"),
]  # fmt: skip
