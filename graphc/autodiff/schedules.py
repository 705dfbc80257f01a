"""The learning rate as a function of the step: graph code of the step counter (int64), a float32 scalar.

A rate that depends on how training goes (`OnPlateau` of `graphc.train`) is an input of the step instead.
"""

from __future__ import annotations

import math
from typing import Protocol

from graphc.frozen import Frozen
from graphc.ir import Value
from graphc.ops.base import const, lift
from graphc.ops.logic import where
from graphc.ops.math import Cos, Exp
from graphc.ops.minmax import Min
from graphc.types import float32


class Schedule(Protocol):
    """R(T) for the number T of updates so far."""

    def __call__(self, step: Value) -> Value:
        """The learning rate, a float32 scalar, for `step`, an int64 scalar."""
        ...


class Constant(Frozen):
    """R."""

    rate: float

    def __call__(self, step: Value) -> Value:
        return const(self.rate, float32)


class Stairstep(Frozen):
    """R · factor^⌊T / every⌋: step decay."""

    rate: float
    factor: float
    every: int

    def __call__(self, step: Value) -> Value:
        # A quotient of integers: exact at the edges of stairs.
        return _power(self.factor, (step / self.every).cast(float32)) * self.rate


class Exponential(Frozen):
    """R · factor^(T / every)."""

    rate: float
    factor: float
    every: int

    def __call__(self, step: Value) -> Value:
        return _power(self.factor, step.cast(float32) / self.every) * self.rate


class Cosine(Frozen):
    """final + (R − final) · (1 + cos(π T / steps)) / 2, and `final` after `steps` (Loshchilov and Hutter 2017)."""

    rate: float
    steps: int
    final: float = 0.0

    def __call__(self, step: Value) -> Value:
        done: Value = Min()(step, lift(self.steps, step))
        wave: Value = Cos()(done.cast(float32) * (math.pi / self.steps))
        return (wave + 1.0) * ((self.rate - self.final) / 2) + self.final


class WarmUp(Frozen):
    """R(T) of `then` at T − steps, after a line from 0 to its first rate: R(0) · (T + 1) / (steps + 1)."""

    steps: int
    then: Schedule

    def __call__(self, step: Value) -> Value:
        line = self.then(lift(0, step)) * ((step + 1).cast(float32) / (self.steps + 1))
        return where(step < self.steps, line, self.then(step - self.steps))


def _power(base: float, exponent: Value) -> Value:
    power: Value = Exp()(exponent * math.log(base))
    return power
