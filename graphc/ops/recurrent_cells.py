"""The parts of recurrent layers: activations by name, and what the steps of one direction read when unrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.frozen import Frozen
from graphc.ops.activation import (
    Elu,
    HardSigmoid,
    LeakyRelu,
    Relu,
    Sigmoid,
    Softplus,
    Softsign,
    ThresholdedRelu,
    sigmoid,
)
from graphc.ops.base import Array, Value, const, lift
from graphc.ops.indexing import Gather
from graphc.ops.linear import Gemm
from graphc.ops.logic import where
from graphc.ops.math import Tanh
from graphc.ops.minmax import Clip
from graphc.ops.slicing import Slice
from graphc.ops.unroll import part
from graphc.types import bfloat16, float16, float32, int64

# -- activations ------------------------------------------------------------------------------------------------------
# Name -> the function of (x, alpha, beta), and the defaults of alpha and beta; None where the function has none.
ACTIVATIONS: dict[str, tuple[Callable[[Array, Any, Any], Any], float | None, float | None]] = {
    "relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "tanh": (lambda x, a, b: np.tanh(x), None, None),
    "sigmoid": (lambda x, a, b: sigmoid(x), None, None),
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "leakyrelu": (lambda x, a, b: np.where(x < 0, a * x, x), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: np.where(x > a, x, 0), 1.0, None),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "elu": (lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), 1.0, None),
    "softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "softplus": (lambda x, a, b: np.logaddexp(x, 0), None, None),
}


# The same on values.
GRAPH_ACTIVATIONS: dict[str, Callable[[Value, Any, Any], Value]] = {
    "relu": lambda x, a, b: Relu()(x),
    "tanh": lambda x, a, b: Tanh()(x),
    "sigmoid": lambda x, a, b: Sigmoid()(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: LeakyRelu(a)(x),
    "thresholdedrelu": lambda x, a, b: ThresholdedRelu(a)(x),
    "scaledtanh": lambda x, a, b: a * Tanh()(b * x),
    "hardsigmoid": lambda x, a, b: HardSigmoid(a, b)(x),
    "elu": lambda x, a, b: Elu(a)(x),
    "softsign": lambda x, a, b: Softsign()(x),
    "softplus": lambda x, a, b: Softplus()(x),
}


class Activation(Frozen):
    """One activation with its parameters, and the bound of what enters it."""

    name: str
    a: float | None
    b: float | None
    clip: float | None

    def __call__(self, x: Array) -> Array:
        bounded = x if self.clip is None else np.clip(x, -self.clip, self.clip)
        return np.asarray(ACTIVATIONS[self.name][0](bounded, self.a, self.b), x.dtype)

    def of(self, x: Value) -> Value:
        """The same on values."""
        if self.clip is not None:
            x = Clip()(x, lift(-self.clip, x), lift(self.clip, x))
        return GRAPH_ACTIVATIONS[self.name](x, self.a, self.b)


# -- unrolled steps ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cell:
    """What the steps of one direction read, on values.

    Attributes:
        projected: X Wᵀ and the biases that can be added to it, (steps · batch, gates · hidden), or of one step.
        recurrent: R, (gates · hidden, hidden).
        bias: the second half of B, (gates · hidden).
        f: the activations.
        peepholes: (3 · hidden).
        batch, hidden: the sizes of a state; batch is None where `projected` is that of one step.
    """

    projected: Value
    recurrent: Value
    bias: Value | None
    f: Sequence[Activation]
    peepholes: Value | None
    batch: int | None
    hidden: int
    _known: dict[tuple[Value, int, int], Value] = field(default_factory=dict)

    def of_gates(self, x: Value, first: int, last: int) -> Value:
        """What of the weights `x` is for the gates from `first` up to `last`; made once for all steps."""
        n, key = self.hidden, (x, first, last)
        if x.shape is not None and (last - first) * n == x.shape[0]:
            return x
        if key not in self._known:
            self._known[key] = part(x, 0, first * n, last * n)
        return self._known[key]

    def gates(self, t: int, h: Value | None, first: int, last: int) -> Value:
        """What enters the gates from `first` up to `last` in step t; without h, the input's part."""
        n = self.hidden
        if self.batch is None:
            x = part(self.projected, 1, first * n, last * n)
        else:
            box = [[t * self.batch, first * n], [(t + 1) * self.batch, last * n], [0, 1]]
            x = Slice().apply((self.projected, *(const(v, int64) for v in box)))[0]
        return x if h is None else Gemm(transB=True)(h, self.of_gates(self.recurrent, first, last), x)

    def split(self, x: Value) -> list[Value]:
        """(batch, gates · hidden), a gate after the other."""
        n, size = self.hidden, (x.shape or ())[1]
        assert isinstance(size, int)
        return [part(x, 1, i, i + n) for i in range(0, size, n)]


def in_wide(x: Value) -> Value:
    """`x` in the element type in which `eval` computes."""
    return x.cast(float32) if x.dtype in (float16, bfloat16) else x


def checked_lengths(lengths: Value, steps: int) -> Value:
    """`lengths`; the run fails where one is not in 0..steps."""
    every: Value = const(np.arange(steps + 1), lengths.dtype)
    found: Value = Gather()(every, where(lengths < 0, lift(steps + 1, lengths), lengths))
    return found
