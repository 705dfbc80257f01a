"""Dropout with counter-based random numbers, against Philox in Python's integers."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import seeded_dropout as op

WORD = 1 << 32


def philox_2x32(a: int, b: int, key: int) -> tuple[int, int]:
    """As in the Random123 library, philox.h."""
    for _ in range(10):
        product = 0xD256D193 * a
        a, b = (product // WORD) ^ key ^ b, product % WORD
        key = (key + 0x9E3779B9) % WORD
    return a, b


def dropped(ratio, stream):
    def oracle(x, seed, step):
        key = (int(seed) % WORD) ^ (stream * 0x85EBCA6B % WORD)
        bits = [philox_2x32(i, int(step) % WORD, key)[0] for i in range(x.size)]
        kept = np.array(bits, np.uint64).reshape(x.shape) >= round(ratio * WORD)
        return np.where(kept, x.astype(np.float64) / (1 - ratio), 0).astype(x.dtype)

    return oracle


def case(ratio, stream, x, seed, step, id):
    inputs = [x, np.array(seed), np.array(step)]
    return Case(op.SeededDropout(ratio, stream), inputs, dropped(ratio, stream), id=id)


x = random(4, 3, 2, low=0.5, high=2)

CASES = [
    case(0.5, 0, x, 0, 0, "half"),
    case(0.2, 3, x, 7, 123, "stream"),
    case(0.0, 1, x, 7, 1, "none"),
    case(0.9, 1, x, -1, 2**32 + 5, "long"),
    case(0.5, 1, random(), 7, 1, "scalar"),
    case(0.5, 1, random(0, 3), 7, 1, "empty"),
    case(0.25, 1, x.astype(np.float64), 7, 1, "float64"),
    case(0.5, 1, x.astype(np.float16), 7, 1, "float16"),
]
