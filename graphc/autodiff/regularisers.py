"""Penalties on weights, added to the loss: graph code of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from graphc.frozen import Frozen
from graphc.ir import Value
from graphc.ops.math import Abs


class Regulariser(Protocol):
    """A penalty on one weight tensor."""

    def __call__(self, w: Value) -> Value:
        """The penalty, a scalar."""
        ...


class L1(Frozen):
    """λ Σ |w|: drives weights to zero (lasso, Tibshirani 1996). Its gradient is λ sign(w)."""

    strength: float

    def __call__(self, w: Value) -> Value:
        size: Value = Abs()(w)
        return size.sum() * self.strength


class L2(Frozen):
    """λ Σ w²: keeps weights small (ridge; weight decay in SGD). Its gradient is 2λ w."""

    strength: float

    def __call__(self, w: Value) -> Value:
        return (w * w).sum() * self.strength


class ElasticNet(Frozen):
    """λ₁ Σ |w| + λ₂ Σ w² (Zou and Hastie 2005)."""

    l1: float
    l2: float

    def __call__(self, w: Value) -> Value:
        return L1(self.l1)(w) + L2(self.l2)(w)


def penalty(regulariser: Regulariser, parameters: Sequence[Value]) -> Value | None:
    """The sum over the weights among `parameters`, which are those of rank 2 and more; None where there are none.

    Biases, scales and offsets (rank 1) are left alone: they are few, and shrinking them only moves the output.
    """
    terms = [regulariser(w) for w in parameters if (w.rank or 0) >= 2]
    return sum(terms[1:], terms[0]) if terms else None
