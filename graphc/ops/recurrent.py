"""Recurrent layers: RNN, GRU, LSTM, over whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from graphc.dims import unknown
from graphc.errors import ExecutionError, InvalidModel, ShapeError
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_deadline
from graphc.ops.activation import sigmoid
from graphc.ops.base import Array, Dim, TensorType, Value, check_dtype, check_rank, check_same_dtype
from graphc.ops.elementwise import widen
from graphc.ops.shape import at_run_time, value_of
from graphc.types import FLOATS, int32, unify

Function = Callable[[Array], Array]
DIRECTIONS = ("forward", "reverse", "bidirectional")


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


def _bind(function: Callable[[Array, Any, Any], Any], a: float | None, b: float | None, clip: float | None) -> Function:
    def apply(x: Array) -> Array:
        bounded = x if clip is None else np.clip(x, -clip, clip)
        return np.asarray(function(bounded, a, b), x.dtype)

    return apply


# -- what the three have in common ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Recurrent(Op):
    """State after each step of a sequence, forward, backward, or both. A subclass defines one step.

    X is (steps, batch, inputs), W (directions, gates · hidden, inputs), R (directions, gates · hidden, hidden), B
    (directions, 2 · gates · hidden); an initial state is (directions, batch, hidden). Y is (steps, directions, batch,
    hidden), a final state (directions, batch, hidden). With layout 1 the batch comes first in X, Y and the states.
    Past the length of a sequence in `sequence_lens` the state stays as it is, and Y is zero.

    Attributes:
        activation_alpha, activation_beta: parameters of the activations that have them.
        activations: those of each direction, one after the other; default `functions`.
        clip: bound of the activations' inputs.
        direction: forward, reverse or bidirectional.
        hidden_size: the size of the state; default that of R.
        layout: 1 when the batch is the first axis.
        outputs: how many of Y, Y_h (and for LSTM Y_c) are wanted.
    """

    gates: ClassVar[int]
    functions: ClassVar[tuple[str, ...]]  # the activations of one direction

    activation_alpha: tuple[float, ...] | None = None
    activation_beta: tuple[float, ...] | None = None
    activations: tuple[str, ...] | None = None
    clip: float | None = None
    direction: str = "forward"
    hidden_size: int | None = None
    layout: int = 0
    outputs: int = field(default=1, metadata={"onnx": False})

    def infer(
        self,
        X: Value,
        W: Value,
        R: Value,
        B: Value | None = None,
        sequence_lens: Value | None = None,
        initial_h: Value | None = None,
    ) -> tuple[TensorType, ...]:
        sizes, hidden, _ = self._infer(X, W, R, B, sequence_lens, [initial_h])
        return self._types(X, sizes, hidden)

    def eval(
        self,
        X: Array,
        W: Array,
        R: Array,
        B: Array | None = None,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
    ) -> tuple[Array, ...]:
        return self._run([X, W, R], B, sequence_lens, [initial_h])

    def step(
        self, x: Array, states: tuple[Array, ...], r: Array, bias: Array, f: Sequence[Function], p: Array | None
    ) -> tuple[Array, ...]:
        """The next states.

        Args:
            x: X_t @ Wᵀ plus the first half of B, (batch, gates · hidden).
            states: the states before, each (batch, hidden).
            r: R, (gates · hidden, hidden).
            bias: the second half of B, (gates · hidden).
            f: the activations.
            p: peepholes, (3 · hidden).
        """
        raise NotImplementedError

    @property
    def _directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    def _activations(self) -> list[list[Function]]:
        """The functions of each direction. alpha and beta go to the functions that have one, in order."""
        names = self.activations or self.functions * self._directions
        count = len(self.functions) * self._directions
        # RNN's default names one function for each of two directions, whatever the direction.
        if len(names) != count and (len(names) < count or names != ("Tanh", "Tanh")):
            raise InvalidModel(f"activations is {list(names)}, expected {count} names")
        per = len(self.functions)
        alphas, betas = iter(self.activation_alpha or ()), iter(self.activation_beta or ())
        found: list[Function] = []
        for i, name in enumerate(names[:count]):
            if name.lower() not in ACTIVATIONS:
                raise InvalidModel(f"activation '{name}' is not known")
            function, alpha, beta = ACTIVATIONS[name.lower()]
            a = None if alpha is None else next(alphas, alpha)
            b = None if beta is None else next(betas, beta)
            # As onnxruntime does: the gates and the candidate are clipped, the cell of an LSTM is not.
            found.append(_bind(function, a, b, self.clip if i % per < 2 else None))
        return [found[i : i + per] for i in range(0, count, per)]

    def _infer(
        self, X: Value, W: Value, R: Value, B: Value | None, lens: Value | None, states: Sequence[Value | None]
    ) -> tuple[list[Dim], Dim, Dim]:
        """Check the inputs; the sizes (steps, batch), the hidden size, and the number of gates · hidden."""
        check_dtype(X, FLOATS, "X")
        check_same_dtype(X, W, R, B, *states)
        if self.direction not in DIRECTIONS:
            raise InvalidModel(f"direction is '{self.direction}', expected one of {', '.join(DIRECTIONS)}")
        if self.layout not in (0, 1):
            raise InvalidModel(f"layout is {self.layout}, expected 0 or 1")
        self._activations()
        for what, x in (("X", X), ("W", W), ("R", R)):
            check_rank(x, what, 3)
        hidden: Dim = self.hidden_size or unknown()
        if R.shape is not None:
            hidden = _unify(R, "R", 2, hidden, "hidden_size")
        steps, batch, inputs = X.shape or tuple(unknown() for _ in range(3))
        if self.layout:
            steps, batch = batch, steps
        n, g = self._directions, hidden * self.gates
        _check_shape(W, "W", (n, g, inputs))
        _check_shape(R, "R", (n, g, hidden))
        _check_shape(B, "B", (n, g * 2))
        if lens is not None:
            check_dtype(lens, (int32,), "sequence_lens")
        _check_shape(lens, "sequence_lens", (batch,))
        for state in states:
            _check_shape(state, "an initial state", (batch, n, hidden) if self.layout else (n, batch, hidden))
        return [steps, batch], hidden, g

    def _types(self, X: Value, sizes: Sequence[Dim], hidden: Dim) -> tuple[TensorType, ...]:
        (steps, batch), n = sizes, self._directions
        y = (batch, steps, n, hidden) if self.layout else (steps, n, batch, hidden)
        last = (batch, n, hidden) if self.layout else (n, batch, hidden)
        types = [TensorType(X.dtype, y), *(TensorType(X.dtype, last) for _ in range(self._states))]
        if not 1 <= self.outputs <= len(types):
            raise InvalidModel(f"outputs is {self.outputs}, expected 1..{len(types)}")
        return tuple(types[: self.outputs])

    @property
    def _states(self) -> int:
        return 1

    def _run(
        self,
        inputs: Sequence[Array],
        B: Array | None,
        lens: Array | None,
        initial: Sequence[Array | None],
        P: Array | None = None,
    ) -> tuple[Array, ...]:
        given = [None if x is None else value_of(x) for x in (*inputs, B, lens)]
        at_run_time(self._infer, *given, [None if x is None else value_of(x) for x in initial])
        dtype = inputs[0].dtype
        X, W, R = (widen(x) for x in inputs)
        if self.layout:
            X = X.swapaxes(0, 1)
        steps, batch, _ = X.shape
        hidden, n = R.shape[2], self._directions
        if P is not None:
            at_run_time(_check_shape, value_of(P), "P", (n, hidden * 3))
        if lens is not None and np.any((lens < 0) | (lens > steps)):
            raise ExecutionError(f"sequence_lens {lens.tolist()} has entries outside 0..{steps}")
        bias = np.zeros((n, 2, W.shape[1]), X.dtype) if B is None else widen(B).reshape(n, 2, -1)
        y = np.zeros((steps, n, batch, hidden), X.dtype)
        finals = np.zeros((self._states, n, batch, hidden), X.dtype)
        for s, x in enumerate(initial):
            if x is not None:
                finals[s] = widen(x).swapaxes(0, 1) if self.layout else widen(x)
        functions = self._activations()
        for d in range(n):
            backwards = self.direction == "reverse" or d == 1
            projected = X @ W[d].T + bias[d, 0]
            states = tuple(finals[:, d])
            p = None if P is None else widen(P)[d]
            for t in range(steps)[:: -1 if backwards else 1]:
                check_deadline()
                after = self.step(projected[t], states, R[d], bias[d, 1], functions[d], p)
                if lens is None:
                    states, y[t, d] = after, after[0]
                    continue
                active = (t < lens)[:, None]
                states = tuple(np.where(active, new, old) for new, old in zip(after, states, strict=True))
                y[t, d] = np.where(active, after[0], 0)
            finals[:, d] = states
        if self.layout:
            y, finals = y.transpose(2, 0, 1, 3), finals.swapaxes(1, 2)
        return tuple(x.astype(dtype) for x in (y, *finals))[: self.outputs]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """The two matrix products of each step, and some ten operations for each gate."""
        x, w, r = xs[0], xs[1], xs[2]
        if x is None or x.shape is None:
            return Cost(0, traffic(xs, ys))
        positions = x.shape[0] * x.shape[1]
        width = 0 if w is None or w.shape is None else w.shape[0] * w.shape[1]
        return Cost(positions * (2 * (elements(w) + elements(r)) + 10 * width), traffic(xs, ys))


def _unify(x: Value, what: str, axis: int, size: Dim, other: str) -> Dim:
    assert x.shape is not None
    try:
        return unify(size, x.shape[axis])
    except ShapeError:
        raise ShapeError(f"{what} is {x.tensor}, {other} is {size}", value=x.name) from None


def _check_shape(x: Value | None, what: str, expected: tuple[Dim, ...]) -> None:
    if x is None or x.shape is None:
        return
    if len(x.shape) != len(expected) or any(
        isinstance(m, int) and isinstance(n, int) and m != n for m, n in zip(x.shape, expected, strict=True)
    ):
        raise ShapeError(f"{what} is {x.tensor}, expected {TensorType(x.dtype, expected)}", value=x.name)


def _split(x: Array, hidden: int) -> list[Array]:
    return [x[..., i : i + hidden] for i in range(0, x.shape[-1], hidden)]


# -- the ops ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RNN(Recurrent):
    """H_t = f(X_t Wᵀ + H_{t-1} Rᵀ + Wb + Rb). ONNX RNN-22."""

    activations: tuple[str, ...] | None = ("Tanh", "Tanh")
    gates = 1
    functions = ("Tanh",)

    def step(
        self, x: Array, states: tuple[Array, ...], r: Array, bias: Array, f: Sequence[Function], p: Array | None
    ) -> tuple[Array, ...]:
        return (f[0](x + states[0] @ r.T + bias),)


@dataclass(frozen=True)
class GRU(Recurrent):
    """H_t = (1 - z) · h + z · H_{t-1}, gates z, r and candidate h. ONNX GRU-22.

    z, r = f(X_t Wᵀ + H_{t-1} Rᵀ + Wb + Rb); h = g(X_t Whᵀ + (r · H_{t-1}) Rhᵀ + Rbh + Wbh), or with
    `linear_before_reset` g(X_t Whᵀ + r · (H_{t-1} Rhᵀ + Rbh) + Wbh).

    Attributes:
        linear_before_reset: whether the reset gate is applied after the product with R.
    """

    linear_before_reset: bool = False
    gates = 3
    functions = ("Sigmoid", "Tanh")

    def step(
        self, x: Array, states: tuple[Array, ...], r: Array, bias: Array, f: Sequence[Function], p: Array | None
    ) -> tuple[Array, ...]:
        (h,) = states
        n = h.shape[-1]
        z, reset = _split(f[0](x[:, : 2 * n] + h @ r[: 2 * n].T + bias[: 2 * n]), n)
        if self.linear_before_reset:
            recurrent = reset * (h @ r[2 * n :].T + bias[2 * n :])
        else:
            recurrent = (reset * h) @ r[2 * n :].T + bias[2 * n :]
        return ((1 - z) * f[1](x[:, 2 * n :] + recurrent) + z * h,)


@dataclass(frozen=True)
class LSTM(Recurrent):
    """C_t = f · C_{t-1} + i · c, H_t = o · h(C_t), gates i, o, f and candidate c. ONNX LSTM-22.

    i, o, f = f(X_t Wᵀ + H_{t-1} Rᵀ + P · C + Wb + Rb), with C_t for o and C_{t-1} for i and f; c = g(X_t Wcᵀ +
    H_{t-1} Rcᵀ + Wbc + Rbc).

    Attributes:
        input_forget: couple the gates, f = 1 - i.
    """

    input_forget: bool = False
    gates = 4
    functions = ("Sigmoid", "Tanh", "Tanh")

    @property
    def _states(self) -> int:
        return 2

    def infer(
        self,
        X: Value,
        W: Value,
        R: Value,
        B: Value | None = None,
        sequence_lens: Value | None = None,
        initial_h: Value | None = None,
        initial_c: Value | None = None,
        P: Value | None = None,
    ) -> tuple[TensorType, ...]:
        sizes, hidden, _ = self._infer(X, W, R, B, sequence_lens, [initial_h, initial_c])
        check_same_dtype(X, P)
        _check_shape(P, "P", (self._directions, hidden * 3))
        return self._types(X, sizes, hidden)

    def eval(
        self,
        X: Array,
        W: Array,
        R: Array,
        B: Array | None = None,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        P: Array | None = None,
    ) -> tuple[Array, ...]:
        return self._run([X, W, R], B, sequence_lens, [initial_h, initial_c], P)

    def step(
        self, x: Array, states: tuple[Array, ...], r: Array, bias: Array, f: Sequence[Function], p: Array | None
    ) -> tuple[Array, ...]:
        h, c = states
        n = h.shape[-1]
        i, o, forget, candidate = _split(x + h @ r.T + bias, n)
        pi, po, pf = (0, 0, 0) if p is None else _split(p, n)
        i = f[0](i + pi * c)
        forget = 1 - i if self.input_forget else f[0](forget + pf * c)
        c = forget * c + i * f[1](candidate)
        return f[0](o + po * c) * f[2](c), c
