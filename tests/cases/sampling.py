"""Random tensors with parameters that leave nothing to chance; test_sampling.py looks at distributions."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import sampling as op
from graphc.types import bool_, float16, float64, int64

x = random(2, 3)
certain = np.array([[0, 1, 1], [1, 0, 0]], np.float32)
one_of = np.log(np.array([[0, 0, 1, 0], [5, 0, 0, 0]], np.float32), where=[[0, 0, 1, 0], [1, 0, 0, 0]],
                out=np.full((2, 4), -np.inf, np.float32))  # fmt: skip

CASES = [
    Case(op.RandomNormal((2, 3), mean=3.0, scale=0.0), [], oracle=lambda: np.full((2, 3), 3, np.float32)),
    Case(op.RandomNormal((0,), float16, seed=1.0), [], id="empty", oracle=lambda: np.empty(0, np.float16)),
    Case(op.RandomNormal((), float64, -1.5, 0.0), [], id="scalar", oracle=lambda: np.array(-1.5)),
    Case(op.RandomUniform((2, 3), high=2.0, low=2.0), [], oracle=lambda: np.full((2, 3), 2, np.float32)),
    Case(op.RandomUniform((4,), float16, 0.5, 0.5), [], id="float16", oracle=lambda: np.full(4, 0.5, np.float16)),
    Case(op.RandomNormalLike(mean=3.0, scale=0.0), [x], oracle=lambda x: np.full_like(x, 3)),
    Case(op.RandomNormalLike(float64, 3.0, 0.0), [random(2, dtype=np.int32)], id="dtype",
         oracle=lambda x: np.full(2, 3.0)),
    Case(op.RandomUniformLike(high=2.0, low=2.0), [x], oracle=lambda x: np.full_like(x, 2)),
    Case(op.RandomUniformLike(float64, 2.0, 2.0), [x], id="dtype", oracle=lambda x: np.full_like(x, 2, np.float64)),
    # Bernoulli steps where a draw equals x; finite differences say nothing.
    Case(op.Bernoulli(), [certain], oracle=lambda p: p, grad=False),
    *(Case(op.Bernoulli(d), [certain], id=d.name, oracle=lambda p, d=d: p.astype(d.numpy)) for d in (bool_, int64)),
    Case(op.Multinomial(sample_size=5), [one_of], oracle=lambda x: np.array([[2] * 5, [0] * 5], np.int32)),
    Case(op.Multinomial(int64, 3, 1.0), [one_of], id="int64", oracle=lambda x: np.array([[2] * 3, [0] * 3])),
]  # fmt: skip
