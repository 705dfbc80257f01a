"""How parameters follow their gradients: graph code from (parameter, gradient, state) to the next ones.

Notation: x parameter, g gradient, R learning rate, T number of updates before this one (0, 1, …). Where ONNX has the
optimiser as an operator (ai.onnx.preview.training), the arithmetic is that operator's; written out it fuses with its
surroundings and runs on every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from graphc.frozen import Frozen
from graphc.ir import Value
from graphc.ops.base import const, lift
from graphc.ops.math import Pow, Sqrt
from graphc.ops.minmax import Clip, Max
from graphc.types import float64


class Optimiser(Protocol):
    """One update of one parameter.

    Attributes:
        slots: names of the tensors of state that each parameter has; they have its type, and are zeros at first.
    """

    @property
    def slots(self) -> tuple[str, ...]: ...

    def factors(self, rate: Value, count: Value) -> tuple[Value, ...]:
        """What updates multiply with, for a learning rate and T (int64): scalars, made once for all parameters."""
        ...

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        """The new parameter and its new states; `factors` are in x's element type."""
        ...


class _ByRate(Frozen):
    """The only factor is the learning rate itself."""

    def factors(self, rate: Value, count: Value) -> tuple[Value, ...]:
        return (rate,)


class SGD(_ByRate):
    """x ← x − R g: gradient descent; stochastic or on mini-batches, as the batch is."""

    slots: ClassVar[tuple[str, ...]] = ()

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        (rate,) = factors
        return (x - rate * g,)


class Momentum(_ByRate):
    """v ← α v + g, x ← x − R v (Polyak 1964); with `nesterov` x ← x − R (g + α v) (Nesterov 1983).

    ONNX Momentum-1 with beta 1, of mode "standard" or "nesterov".
    """

    alpha: float = 0.9
    nesterov: bool = False
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        (v,), (rate,) = states, factors
        v = v * self.alpha + g
        return x - rate * (g + v * self.alpha if self.nesterov else v), v


class Adagrad(_ByRate):
    """h ← h + g², x ← x − R g / (√h + ε) (Duchi et al. 2011). ONNX Adagrad-1 with decay_factor 0."""

    epsilon: float = 1e-6
    slots: ClassVar[tuple[str, ...]] = ("squares",)

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        (h,), (rate,) = states, factors
        h = h + g * g
        return x - rate * g / (_sqrt(h) + self.epsilon), h


class RMSProp(_ByRate):
    """h ← ρ h + (1 − ρ) g², x ← x − R g / (√h + ε) (Tieleman and Hinton 2012, lecture 6.5)."""

    rho: float = 0.9
    epsilon: float = 1e-6
    slots: ClassVar[tuple[str, ...]] = ("squares",)

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        (h,), (rate,) = states, factors
        h = h * self.rho + g * g * (1 - self.rho)
        return x - rate * g / (_sqrt(h) + self.epsilon), h


class Adam(Frozen):
    """v ← β₁ v + (1 − β₁) g, h ← β₂ h + (1 − β₂) g², x ← x − R′ v / (√h + ε) (Kingma and Ba 2015).

    R′ = R √(1 − β₂ᵗ) / (1 − β₁ᵗ) with t = T + 1 corrects for v and h being zeros at first (the last paragraph of the
    paper's section 2); without `bias_correction` R′ = R. ONNX Adam-1 with its T set to t, or to 0.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    bias_correction: bool = True
    slots: ClassVar[tuple[str, ...]] = ("mean", "squares")

    def factors(self, rate: Value, count: Value) -> tuple[Value, ...]:
        if not self.bias_correction:
            return (rate,)
        t = (count + 1).cast(float64)  # in float32 little would be left of 1 − 0.999ᵗ
        first, second = (1.0 - Pow().apply((const(beta, float64), t))[0] for beta in (self.beta1, self.beta2))
        return ((rate.cast(float64) * _sqrt(second) / first).cast(rate.dtype),)

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        (v, h), (rate, *_) = states, factors
        v = v * self.beta1 + g * (1 - self.beta1)
        h = h * self.beta2 + g * g * (1 - self.beta2)
        return x - rate * (v / (_sqrt(h) + self.epsilon)), v, h


class AdamW(Adam):
    """x ← (1 − R λ) x, then Adam: decay of weights that the size of gradients does not scale.

    Loshchilov and Hutter 2019, algorithm 2 (with R as both α and η). Biases and scales (rank below 2) do not decay.
    """

    weight_decay: float = 0.01

    def factors(self, rate: Value, count: Value) -> tuple[Value, ...]:
        return (*super().factors(rate, count), 1.0 - rate * self.weight_decay)

    def update(self, x: Value, g: Value, states: Sequence[Value], factors: Sequence[Value]) -> tuple[Value, ...]:
        return super().update(x * factors[1] if (x.rank or 0) >= 2 else x, g, states, factors)


def _sqrt(x: Value) -> Value:
    return Sqrt().apply((x,))[0]


# -- gradient clipping ------------------------------------------------------------------------------------------------
class Clipping(Protocol):
    """Bounds for gradients, applied before the update."""

    def __call__(self, gradients: Sequence[Value]) -> list[Value]:
        """The bounded gradients, in order."""
        ...


class ClipByValue(Frozen):
    """g ← min(max(g, −limit), limit), each element for itself."""

    limit: float

    def __call__(self, gradients: Sequence[Value]) -> list[Value]:
        return [Clip().apply((g, lift(-self.limit, g), lift(self.limit, g)))[0] for g in gradients]


class ClipByNorm(Frozen):
    """g ← g · min(1, limit / ‖g‖), where the norm is that of all gradients together (Pascanu et al. 2013)."""

    limit: float

    def __call__(self, gradients: Sequence[Value]) -> list[Value]:
        squares = [(g * g).sum() for g in gradients]
        norm = _sqrt(sum(squares[1:], squares[0]))
        # A norm of zero leaves the gradients, which are zeros, as they are.
        factor = self.limit / Max().apply((norm, lift(self.limit, norm)))[0]
        return [g * factor for g in gradients]
