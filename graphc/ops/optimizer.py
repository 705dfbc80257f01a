"""Steps of optimisers as operators, of the domain ai.onnx.preview.training.

Each takes the learning rate R, the number T of updates so far, and for n variables X their gradients G and states:
R, T, X_1 … X_n, G_1 … G_n, S_1 … S_n. It gives the new X_1 … X_n and S_1 … S_n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from graphc.dims import Dim
from graphc.errors import ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, call, cast, constant, select
from graphc.ir import Cost, Op, elements, traffic
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank, check_same_dtype, const
from graphc.ops.logic import where
from graphc.ops.math import Sqrt
from graphc.ops.shape import at_run_time, value_of
from graphc.ops.vjp import decomposed_grad
from graphc.types import Shape, float32, float64, int64, unify

_FLOATS = (float32, float64)
T = TypeVar("T")


class Optimizer(Op):
    """One step for each variable. A subclass sets `states` and `operations`, and defines `step`.

    Attributes:
        states: tensors of state that each variable has.
        operations: arithmetic operations for each element.
    """

    domain = "ai.onnx.preview.training"
    states: ClassVar[int]
    operations: ClassVar[int]

    def step(self, rate: float, count: int, x: Array, g: Array, *states: Array) -> tuple[Array, ...]:
        """The new variable and its new states."""
        raise NotImplementedError

    def step_of(self, rate: Expr, count: Expr, x: Expr, g: Expr, *states: Expr) -> tuple[Expr, ...]:
        """`step` of one element; `rate` and `count` are float64."""
        raise NotImplementedError

    def step_on(self, rate: Value, count: Value, x: Value, g: Value, *states: Value) -> tuple[Value, ...]:
        """`step` on values; `rate` and `count` are float64 and 0-d."""
        raise NotImplementedError

    def infer(self, r: Value, t: Value, *tensors: Value) -> tuple[TensorType, ...]:
        check_dtype(r, _FLOATS, "R")
        check_dtype(t, {int64}, "T")
        for x, what in ((r, "R"), (t, "T")):
            check_rank(x, what, 0, 1)
            if x.shape and isinstance(x.shape[0], int) and x.shape[0] != 1:
                raise ShapeError(f"{what} is {x.tensor}, expected one element")
        groups = 2 + self.states
        if not tensors or len(tensors) % groups:
            raise InvalidModel(f"{len(tensors)} tensors follow R and T, expected {groups} for each variable")
        types = [_common_type(group) for group in self._variables(tensors)]
        return tuple(types * (1 + self.states))

    def eval(self, r: Array, t: Array, *tensors: Array) -> tuple[Array, ...]:
        at_run_time(self.infer, *map(value_of, (r, t, *tensors)))
        rate, count = float(_scalar(r, "R")), int(_scalar(t, "T"))
        stepped = [self.step(rate, count, *group) for group in self._variables(tensors)]
        return tuple(
            np.asarray(new, old.dtype)
            for column, olds in zip(zip(*stepped, strict=True), self._columns(tensors), strict=True)
            for new, old in zip(column, olds, strict=True)
        )

    def element(self, y: TensorType | tuple[TensorType, ...], r: Source, t: Source, *tensors: Source) -> Any:
        rate, count = cast(r.at(0), float64), cast(t.at(0), float64)

        def element(group: tuple[Source, ...], k: int) -> Element:
            return lambda *i: self.step_of(rate, count, *(x[i] for x in group))[k]

        return tuple(element(group, k) for k in range(1 + self.states) for group in self._variables(tensors))

    def grad(self, dy: Any, y: Any, *xs: Value) -> Sequence[Value | None]:
        return decomposed_grad(self._stepped, dy, y, xs)

    def _stepped(self, r: Value, t: Value, *tensors: Value) -> list[Value]:
        """The op in simpler ones."""
        rate, count = (v.cast(float64).reshape([]) for v in (r, t))
        steps = [self.step_on(rate, count, *group) for group in self._variables(tensors)]
        return [new for column in zip(*steps, strict=True) for new in column]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        total: Dim = 0
        for y in ys[: len(ys) // (1 + self.states)]:
            total = total + elements(y)
        return Cost(self.operations * total, traffic(xs, ys))

    def _variables(self, tensors: Sequence[T]) -> Iterator[tuple[T, ...]]:
        """For each variable: X, G and its states."""
        n = len(tensors) // (2 + self.states)
        return zip(*(tensors[i : i + n] for i in range(0, len(tensors), n)), strict=True)

    def _columns(self, tensors: Sequence[T]) -> list[Sequence[T]]:
        """All X, then all states of each kind."""
        n = len(tensors) // (2 + self.states)
        return [tensors[i : i + n] for i in range(0, len(tensors), n) if i != n]


def root(x: Value) -> Value:
    """√x."""
    return Sqrt().apply((x,))[0]


def _common_type(group: Sequence[Value]) -> TensorType:
    """The one type that X, G and the states of a variable have."""
    check_same_dtype(*group)
    check_dtype(group[0], _FLOATS, "X")
    known: Shape | None = None
    for x in group:
        if x.shape is None:
            continue
        try:
            if known is not None and len(known) != len(x.shape):
                raise ShapeError("ranks differ")
            known = x.shape if known is None else tuple(map(unify, known, x.shape))
        except ShapeError:
            given = ", ".join(str(v.tensor) for v in group)
            raise ShapeError(f"a variable, its gradient and its states differ in shape: {given}") from None
    return TensorType(group[0].dtype, known)


def _scalar(x: Array, what: str) -> Array:
    if x.size != 1:
        raise ExecutionError(f"{what} has {x.size} elements, expected one")
    return x.reshape(())


class Adagrad(Optimizer):
    """G' = G + norm·X, H ← H + G'², X ← X − R / (1 + T·decay) · G' / (√H + ε).

    ONNX ai.onnx.preview.training Adagrad-1; Duchi et al. 2011.
    """

    decay_factor: float = 0.0
    epsilon: float = 1e-6
    norm_coefficient: float = 0.0
    states = 1
    operations = 9

    def step(self, rate: float, count: int, x: Array, g: Array, *states: Array) -> tuple[Array, ...]:
        (h,) = states
        g = self.norm_coefficient * x + g
        h = h + g * g
        return x - rate / (1 + count * self.decay_factor) * g / (np.sqrt(h) + self.epsilon), h

    def step_on(self, rate: Value, count: Value, x: Value, g: Value, *states: Value) -> tuple[Value, ...]:
        (h,) = states
        g = self.norm_coefficient * x + g
        h = h + g * g
        factor = (rate / (count * self.decay_factor + 1.0)).cast(x.dtype)
        return x - factor * g / (root(h) + self.epsilon), h

    def step_of(self, rate: Expr, count: Expr, x: Expr, g: Expr, *states: Expr) -> tuple[Expr, ...]:
        (h,) = states
        g = x * self.norm_coefficient + g
        h = h + g * g
        factor = cast(rate / (count * self.decay_factor + 1), x.dtype)
        return x - factor * g / (call("sqrt", h) + self.epsilon), h


class Adam(Optimizer):
    """G' = G + norm·X, V ← αV + (1 − α)G', H ← βH + (1 − β)G'², X ← (1 − norm_post)(X − R'·V / (√H + ε)).

    R' = R √(1 − β^T) / (1 − α^T), or R where T is 0. ONNX ai.onnx.preview.training Adam-1; Kingma and Ba 2014.
    """

    alpha: float = 0.9
    beta: float = 0.999
    epsilon: float = 1e-6
    norm_coefficient: float = 0.0
    norm_coefficient_post: float = 0.0
    states = 2
    operations = 15

    def step(self, rate: float, count: int, x: Array, g: Array, *states: Array) -> tuple[Array, ...]:
        v, h = states
        g = self.norm_coefficient * x + g
        v = self.alpha * v + (1 - self.alpha) * g
        h = self.beta * h + (1 - self.beta) * (g * g)
        if count > 0:
            rate *= float(np.sqrt(1 - self.beta**count)) / (1 - self.alpha**count)
        return (1 - self.norm_coefficient_post) * (x - rate * (v / (np.sqrt(h) + self.epsilon))), v, h

    def step_on(self, rate: Value, count: Value, x: Value, g: Value, *states: Value) -> tuple[Value, ...]:
        v, h = states
        g = self.norm_coefficient * x + g
        v = self.alpha * v + (1 - self.alpha) * g
        h = self.beta * h + (1 - self.beta) * (g * g)
        powers = [where(count > 0.0, 1.0 - const(b, float64) ** count, 1.0) for b in (self.alpha, self.beta)]
        factor = (rate * (root(powers[1]) / powers[0])).cast(x.dtype)
        return (1 - self.norm_coefficient_post) * (x - factor * (v / (root(h) + self.epsilon))), v, h

    def step_of(self, rate: Expr, count: Expr, x: Expr, g: Expr, *states: Expr) -> tuple[Expr, ...]:
        v, h = states
        g = x * self.norm_coefficient + g
        v = v * self.alpha + g * (1 - self.alpha)
        h = h * self.beta + g * g * (1 - self.beta)
        first, second = (1 - call("pow", constant(b, float64), count) for b in (self.alpha, self.beta))
        factor = cast(select(count > 0, rate * (call("sqrt", second) / first), rate), x.dtype)
        return (x - factor * (v / (call("sqrt", h) + self.epsilon))) * (1 - self.norm_coefficient_post), v, h


class Momentum(Optimizer):
    """G' = G + norm·X, V ← αV + βG', X ← X − R·V; with mode "nesterov", X ← X − R(G' + αV). β is 1 where T is 0.

    ONNX ai.onnx.preview.training Momentum-1.
    """

    alpha: float
    beta: float
    mode: str
    norm_coefficient: float
    states = 1
    operations = 7

    def infer(self, r: Value, t: Value, *tensors: Value) -> tuple[TensorType, ...]:
        if self.mode not in ("standard", "nesterov"):
            raise InvalidModel(f"mode is {self.mode!r}, expected standard or nesterov")
        return super().infer(r, t, *tensors)

    def step(self, rate: float, count: int, x: Array, g: Array, *states: Array) -> tuple[Array, ...]:
        (v,) = states
        g = self.norm_coefficient * x + g
        v = self.alpha * v + (self.beta if count > 0 else 1.0) * g
        return x - rate * (v if self.mode == "standard" else g + self.alpha * v), v

    def step_on(self, rate: Value, count: Value, x: Value, g: Value, *states: Value) -> tuple[Value, ...]:
        (v,) = states
        g = self.norm_coefficient * x + g
        beta = where(count > 0.0, const(self.beta, float64), 1.0).cast(x.dtype)
        v = self.alpha * v + beta * g
        return x - rate.cast(x.dtype) * (v if self.mode == "standard" else g + self.alpha * v), v

    def step_of(self, rate: Expr, count: Expr, x: Expr, g: Expr, *states: Expr) -> tuple[Expr, ...]:
        (v,) = states
        g = x * self.norm_coefficient + g
        v = v * self.alpha + select(count > 0, constant(self.beta, x.dtype), 1) * g
        return x - cast(rate, x.dtype) * (v if self.mode == "standard" else g + v * self.alpha), v
