"""Activation functions, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ops.base import Array, Unary, Value, lift
from graphc.ops.elementwise import Function
from graphc.ops.logic import Where
from graphc.types import FLOATS, SIGNED


@dataclass(frozen=True)
class Relu(Unary):
    """max(x, 0). ONNX Relu-14."""

    dtypes = FLOATS | SIGNED

    def eval(self, x: Array) -> Array:
        return np.maximum(x, x.dtype.type(0))

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [Where().apply((y > 0, dy, lift(0, dy)))[0]]


def _sigmoid(x: Array) -> Array:
    # exp overflows to inf for very negative x, and 1/inf is the right answer.
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Sigmoid(Function):
    """σ(x) = 1 / (1 + e^−x). ONNX Sigmoid-13."""

    function = staticmethod(_sigmoid)

    def grad(self, dy: Value, y: Value, x: Value) -> Sequence[Value | None]:
        return [dy * y * (1 - y)]
