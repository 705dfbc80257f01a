"""Normalisations to zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import normalization as op


def parameters(n: int, *, batch: bool = False, dtype: type = np.float32) -> list[np.ndarray]:
    """Scale and bias; with `batch` also mean and variance."""
    count = 4 if batch else 2
    return [random(n, dtype=dtype, low=0.5 * (i != 1), high=2, seed=i + 1) for i in range(count)]


def wide(f: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`f` computed in float64."""
    return lambda *xs: f(*(x.astype(np.float64) for x in xs)).astype(xs[0].dtype)


def batch(x: np.ndarray, scale: np.ndarray, b: np.ndarray, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    shape = (-1, *[1] * (x.ndim - 2))
    scale, b, mean, var = (p.reshape(shape) for p in (scale, b, mean, var))
    return (x - mean) / np.sqrt(var + 1e-5) * scale + b


def instance(x: np.ndarray, scale: np.ndarray, b: np.ndarray) -> np.ndarray:
    return group(x.shape[1])(x, scale, b)


def group(groups: int) -> Callable[..., np.ndarray]:
    def oracle(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
        parts = x.astype(np.float64).reshape(x.shape[0], groups, -1)
        y = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
        shape = (-1, *[1] * (x.ndim - 2))
        return (y.reshape(x.shape) * scale.reshape(shape) + bias.reshape(shape)).astype(x.dtype)

    return oracle


def layer(x: np.ndarray, scale: np.ndarray, *b: np.ndarray) -> np.ndarray:
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale
    return y + b[0] if b else y


def rms(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    y = x.astype(np.float64) / np.sqrt(np.square(x.astype(np.float64)).mean(-1, keepdims=True) + 1e-5) * scale
    return y.astype(scale.dtype)


def mixed_batch() -> list[np.ndarray]:
    scale, b, mean, var = parameters(3, batch=True)
    return [random(2, 3, 4).astype(np.float16), scale, b, mean.astype(np.float64), var.astype(np.float64)]


X = random(2, 4, 3, low=-2, high=2)
STATIC = (1, 2, 3, 4)

CASES = [
    *(Case(op.BatchNormalization(), [random(*shape), *parameters(shape[1], batch=True)], id=str(shape))
      for shape in ((2, 3), (2, 3, 4), (1, 2, 3, 2), (1, 2, 2, 1, 3))),
    Case(op.BatchNormalization(), [random(4), *parameters(1, batch=True)], id="rank-1", oracle=batch),
    Case(op.BatchNormalization(epsilon=0.1), [X, *parameters(4, batch=True)], id="epsilon", const=STATIC),
    Case(op.BatchNormalization(), [random(0, 2, 3), *parameters(2, batch=True)], id="empty"),
    Case(op.BatchNormalization(), [X.astype(np.float64), *parameters(4, batch=True, dtype=np.float64)], id="float64"),
    *(Case(op.BatchNormalization(), [x.astype(dtype) for x in (X, *parameters(4, batch=True))],
           id=np.dtype(dtype).name, oracle=wide(batch))
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    Case(op.BatchNormalization(), mixed_batch(), id="mixed", oracle=wide(batch)),
    *(Case(op.BatchNormalization(training_mode=True, momentum=momentum, outputs=outputs),
           [random(*shape, low=-2, high=2), *parameters(shape[1], batch=True)],
           id=f"training-{shape}-{momentum}-{outputs}", oracle="reference" if outputs == 3 else
           lambda x, scale, b, mean, var: wide(batch)(x, scale, b, x.mean((0, 2)), x.var((0, 2))))
      for shape, momentum, outputs in (((3, 2), 0.9, 3), ((2, 2, 3), 0.5, 3), ((2, 2, 2, 2), 0.9, 3),
                                       ((2, 3, 2), 0.9, 1))),
    *(Case(op.InstanceNormalization(), [random(*shape, low=-2, high=2), *parameters(shape[1])], id=str(shape))
      for shape in ((2, 3, 4), (1, 2, 3, 2), (1, 2, 2, 2, 2))),
    Case(op.InstanceNormalization(epsilon=0.1), [X, *parameters(4)], id="epsilon", const=(1, 2)),
    Case(op.InstanceNormalization(), [X.astype(np.float16), *parameters(4, dtype=np.float16)], id="float16",
         oracle=instance),
    Case(op.InstanceNormalization(), [random(0, 2, 3), *parameters(2)], id="empty", oracle=lambda x, *_: x),
    *(Case(op.GroupNormalization(groups), [random(*shape, low=-2, high=2), *parameters(4)], id=f"{groups}-{shape}",
           oracle=group(groups))
      for groups in (1, 2, 4) for shape in ((2, 4), (2, 4, 3), (1, 4, 2, 2))
      if groups < 4 or len(shape) > 2),
    Case(op.GroupNormalization(2), [X, *parameters(4)], id="onnxruntime"),
    Case(op.GroupNormalization(2), [X.astype(np.float16), *parameters(4, dtype=np.float16)], id="float16",
         oracle=group(2)),
    Case(op.GroupNormalization(2), [random(0, 4, 3), *parameters(4)], id="empty", oracle=lambda x, *_: x),
    *(Case(op.LayerNormalization(axis), [random(2, 3, 4, low=-2, high=2), random(*(2, 3, 4)[axis:], low=0.5, high=2),
                                         *([random(*(2, 3, 4)[axis:], seed=1)] if bias else [])], id=f"{axis}-{bias}")
      for axis in (-1, 1, 0, -2) for bias in (True, False)),
    # Mean and deviation are float32 whatever x is, too coarse for finite differences.
    *(Case(op.LayerNormalization(axis, outputs=3), [X, random(*X.shape[axis:]), random(*X.shape[axis:], seed=1)],
           id=f"{axis}-outputs", grad=False)
      for axis in (-1, 1)),
    Case(op.LayerNormalization(outputs=2), [X, random(3), random(3, seed=1)], id="mean", grad=False,  # as above
         oracle=lambda x, *p: (wide(layer)(x, *p), x.mean(-1, keepdims=True))),
    *(Case(op.LayerNormalization(1), [X, random(*shape, low=0.5, high=2), random(3, seed=1)], id=f"scale-{shape}")
      for shape in ((3,), (4, 3), (4, 1))),
    Case(op.LayerNormalization(epsilon=0.1), [X, *parameters(3)], id="epsilon", const=(1, 2)),
    Case(op.LayerNormalization(), [X.astype(np.float64), *parameters(3, dtype=np.float64)], id="float64", oracle=layer),
    *(Case(op.LayerNormalization(), [X.astype(dtype), *(p.astype(dtype) for p in parameters(3))],
           id=np.dtype(dtype).name, oracle=wide(layer))
      for dtype in (np.float16, ml_dtypes.bfloat16)),
    Case(op.LayerNormalization(stash_type=16, outputs=3), [X, *parameters(3)], id="stash-bfloat16",
         grad=False,  # too coarse, as above
         oracle=lambda x, *p: (wide(layer)(x, *p), x.mean(-1, keepdims=True).astype(ml_dtypes.bfloat16),
                               (1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)).astype(ml_dtypes.bfloat16))),
    Case(op.LayerNormalization(), [random(0, 3), *parameters(3)], id="empty", oracle=lambda x, *_: x),
    *(Case(op.RMSNormalization(axis), [random(2, 3, 4, low=-2, high=2), random(*(2, 3, 4)[axis:], low=0.5, high=2)],
           id=f"{axis}", oracle="reference")
      for axis in (-1, 1, 0, -2)),
    Case(op.RMSNormalization(), [X, random(3)], id="onnxruntime"),
    Case(op.RMSNormalization(epsilon=0.1), [X, random(3)], id="epsilon", const=(1,), oracle="reference"),
    *(Case(op.RMSNormalization(), [X.astype(a), random(3).astype(b)], id=f"{np.dtype(a)}-{np.dtype(b)}", oracle=rms)
      for a, b in ((np.float16, np.float16), (np.float16, np.float32), (np.float32, np.float16),
                   (ml_dtypes.bfloat16, ml_dtypes.bfloat16), (np.float64, np.float64), (np.float32, np.float64))),
]  # fmt: skip
