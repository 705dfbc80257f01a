"""Normalisations without parameters."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import rescaling as op

WITH_ZEROS = np.array([[3, 4, 0], [0, 0, 0], [-1, 1, 2]], np.float32)


def lrn(size: int, alpha: float, beta: float) -> object:
    """The definition, channel by channel; the reference evaluator leaves out channels beyond the batch size."""

    def oracle(x: np.ndarray) -> np.ndarray:
        square = np.square(x.astype(np.float64))
        sums = [square[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].sum(1) for c in range(x.shape[1])]
        return (x / (1 + alpha / size * np.stack(sums, 1)) ** beta).astype(x.dtype)

    return oracle


def mean_variance(axes: tuple[int, ...]) -> object:
    def oracle(x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return ((wide - wide.mean(axes, keepdims=True)) / wide.std(axes, keepdims=True)).astype(x.dtype)

    return oracle


def half(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide / np.linalg.norm(wide, 2, -1, keepdims=True)).astype(x.dtype)


CASES = [
    *(Case(op.LRN(size, alpha=0.5, bias=2.0), [random(1, 5, 2, 2, low=-2, high=2)], id=f"size={size}")
      for size in (1, 3, 5)),
    *(Case(op.LRN(size, alpha=0.5), [random(2, 3, 2, 1, low=-2, high=2)], id=f"size={size}",
           oracle=lrn(size, 0.5, 0.75))
      for size in (2, 4, 9)),
    Case(op.LRN(3, alpha=0.5, beta=0.5), [random(1, 4, 3)], id="rank-3", oracle=lrn(3, 0.5, 0.5)),
    Case(op.LRN(3), [random(2, 3, 2, 2).astype(np.float64)], id="float64", oracle=lrn(3, 0.0001, 0.75)),
    Case(op.LRN(3), [random(0, 3, 2, 2)], id="empty", oracle=lambda x: x),
    *(Case(op.LpNormalization(axis, p), [random(2, 3, 4)], id=f"{axis}-{p}") for axis in (-1, 0, 1) for p in (1, 2)),
    Case(op.LpNormalization(), [WITH_ZEROS], id="zero-norm", grad=False,  # no slope at zero
         oracle=lambda x: np.where(x == 0, 0, x / np.sqrt([[25], [1], [6]])).astype(np.float32)),
    *(Case(op.LpNormalization(p=p), [WITH_ZEROS[::2]], id=f"some-zeros-{p}", grad=p == 2)  # |x| has a kink at 0
      for p in (1, 2)),
    *(Case(op.LpNormalization(), [random(2, 9).astype(dtype)], id=np.dtype(dtype).name, oracle=half)
      for dtype in (np.float16, ml_dtypes.bfloat16, np.float64)),
    Case(op.LpNormalization(), [random(0, 3)], id="empty"),
    *(Case(op.MeanVarianceNormalization(axes), [random(3, 2, 2, 3, low=-2, high=2)], id=str(axes),
           oracle=mean_variance(axes))
      for axes in ((0, 2, 3), (0,), (2, 3), (-1,), (0, 1, 2, 3))),
    Case(op.MeanVarianceNormalization(), [random(2, 2, 3, 2, low=-2, high=2)], id="onnxruntime"),
    Case(op.MeanVarianceNormalization((1,)), [np.array([[1, 1], [1, 3]], np.float32)], id="constant", grad=False,  # √0
         oracle=lambda x: np.array([[0, 0], [-1, 1]], np.float32)),
]  # fmt: skip
