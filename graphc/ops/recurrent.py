"""Recurrent layers: RNN, GRU, LSTM, over whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, ClassVar

import numpy as np

from graphc.dims import unknown
from graphc.errors import ExecutionError, InvalidModel, ShapeError
from graphc.ir import Cost, Graph, Op, elements, traffic
from graphc.limits import check_deadline
from graphc.ops.base import (
    Array,
    Dim,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    known_sizes,
    static_shape,
)
from graphc.ops.control import Scan
from graphc.ops.elementwise import widen
from graphc.ops.generate import Range, zeros
from graphc.ops.linear import Gemm
from graphc.ops.logic import where
from graphc.ops.movement import Concat
from graphc.ops.recurrent_cells import ACTIVATIONS, Activation, Cell, checked_lengths, in_wide
from graphc.ops.reshaping import Unsqueeze
from graphc.ops.shape import at_run_time, size_of, value_of
from graphc.ops.unroll import joined, part, slice_at, stacked
from graphc.ops.vjp import decomposed_grad
from graphc.types import FLOATS, int32, int64, unify

Function = Callable[[Array], Array]
DIRECTIONS = ("forward", "reverse", "bidirectional")
MAX_STEPS = 256  # with more of them, unrolled code costs more than it gives


# -- what the three have in common ------------------------------------------------------------------------------------
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

    def decompose(
        self,
        X: Value,
        W: Value,
        R: Value,
        B: Value | None = None,
        sequence_lens: Value | None = None,
        *others: Value | None,
    ) -> list[Value] | None:
        """One product for the inputs of all steps, then step after step; None for unknown sizes or many steps."""
        sizes = static_shape(X)
        hidden = None if R.shape is None else R.shape[2]
        if sizes is None or static_shape(W) is None or not isinstance(hidden, int) or 0 in (*sizes, hidden):
            return None
        steps, batch = (sizes[1], sizes[0]) if self.layout else (sizes[0], sizes[1])
        if steps * self._directions > MAX_STEPS:
            return None
        given = [*others, *(None,) * (self._states + 1)]
        initial, P = given[: self._states], given[self._states]
        x, w, r, b, p = (None if v is None else in_wide(v) for v in (X, W, R, B, P))
        assert x is not None
        rows = (x.transpose([1, 0, 2]) if self.layout else x).reshape([steps * batch, sizes[2]])
        lengths = None if sequence_lens is None else checked_lengths(sequence_lens, steps).reshape([batch, 1])
        ys, finals = [], []
        for d, functions in enumerate(self._activations()):
            own = [None if v is None else slice_at(v, 0, d) for v in (w, r, b, p)]
            projected, own_r, outside, peepholes = self._projected(rows, own, hidden)
            assert projected is not None
            assert own_r is not None
            cell = Cell(projected, own_r, outside, functions, peepholes, batch, hidden)
            states = tuple(
                const(np.zeros((batch, hidden), x.dtype.numpy), x.dtype)
                if v is None
                else slice_at(in_wide(v), 1 if self.layout else 0, d)
                for v in initial
            )
            y: list[Value] = []
            backwards = self.direction == "reverse" or d == 1
            for t in range(steps)[:: -1 if backwards else 1]:
                states, shown = self._advance(cell, t, states, None if lengths is None else lengths > t)
                y.append(shown)
            ys.append(joined(y[::-1] if backwards else y, 0).reshape([steps, 1, batch, hidden]))
            finals.append(states)
        results = [joined(ys, 1), *(stacked(states, 0) for states in zip(*finals, strict=True))]
        return self._shown(results, X)

    def grad(self, dy: Any, y: Any, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(lambda *xs: self.decompose(*xs) or self.scanned(*xs), dy, y, xs)

    def scanned(
        self,
        X: Value,
        W: Value,
        R: Value,
        B: Value | None = None,
        sequence_lens: Value | None = None,
        *others: Value | None,
    ) -> list[Value]:
        """`decompose` for any number of steps, as a Scan. Raises `CompileError` where R's size is unknown."""
        hidden = known_sizes(R, 2)[0]
        given = [*others, *(None,) * (self._states + 1)]
        initial, P = given[: self._states], given[self._states]
        x, w, r, b, p = (None if v is None else in_wide(v) for v in (X, W, R, B, P))
        assert x is not None
        x = x.transpose([1, 0, 2]) if self.layout else x
        count = Range().apply((const(0, int64), size_of(x, 0).reshape([]), const(1, int64)))[0]
        blank = zeros(Concat(0)(size_of(x, 1), const([hidden], int64)), x.dtype)
        ys, finals = [], []
        for d, functions in enumerate(self._activations()):
            own = [None if v is None else slice_at(v, 0, d) for v in (w, r, b, p)]
            projected, *read = self._projected(x, own, hidden)
            states = [blank if v is None else slice_at(in_wide(v), 1 if self.layout else 0, d) for v in initial]
            lengths = None if sequence_lens is None else Unsqueeze().apply((sequence_lens, const([1], int64)))[0]
            captured = [v for v in (*read, lengths) if v is not None]
            assert projected is not None
            step = TensorType(projected.dtype, None if projected.shape is None else projected.shape[1:])
            body = self._trip([*(v.tensor for v in states), step, TensorType(int64, ())], [*read, lengths], functions)
            backwards = int(self.direction == "reverse" or d == 1)
            scan = Scan(
                body, 2, scan_input_directions=(backwards,) * 2, scan_output_directions=(backwards,),
                captured=len(captured),
            )  # fmt: skip
            *states, y = scan.apply([*states, projected, count, *captured])
            ys.append(Unsqueeze().apply((y, const([1], int64)))[0])
            finals.append(states)
        results = [joined(ys, 1), *(stacked(states, 0) for states in zip(*finals, strict=True))]
        return self._shown(results, X)

    def _trip(
        self, varying: Sequence[TensorType], read: Sequence[Value | None], functions: Sequence[Activation]
    ) -> Graph:
        """One step as the body of a Scan: (states, x_t Wᵀ, t, R, bias, peepholes, lengths) -> (states, y_t)."""
        own = [Value(t, name=f"x{i}") for i, t in enumerate(varying)]
        given = [None if v is None else Value(v.type, name=f"c{i}") for i, v in enumerate(read)]
        *states, projected, t = own
        r, bias, p, lengths = given
        assert r is not None
        cell = Cell(projected, r, bias, functions, p, None, known_sizes(r, 1)[0])
        after, shown = self._advance(cell, 0, tuple(states), None if lengths is None else lengths > t.cast(int32))
        return Graph([*own, *(v for v in given if v is not None)], [*after, shown])

    def _advance(
        self, cell: Cell, t: int, states: tuple[Value, ...], active: Value | None
    ) -> tuple[tuple[Value, ...], Value]:
        """The states after step `t`, and what it shows; where the step is not `active`, the old ones and zero."""
        after = self.advance(cell, t, states)
        if active is None:
            return after, after[0]
        kept = tuple(where(active, new, old) for new, old in zip(after, states, strict=True))
        return kept, where(active, after[0], 0.0)

    def _shown(self, results: Sequence[Value], X: Value) -> list[Value]:
        """The outputs that are wanted, in the layout and the element type of X."""
        if self.layout:
            results = [v.transpose([2, 0, 1, 3] if k == 0 else [1, 0, 2]) for k, v in enumerate(results)]
        return [v if v.dtype is X.dtype else v.cast(X.dtype) for v in results[: self.outputs]]

    def _projected(self, rows: Value, weights: Sequence[Value | None], hidden: int) -> list[Value | None]:
        """For the W, R, B and P of one direction: rows Wᵀ with the biases that fit in, R, the second bias, P."""
        w, r, b, p = weights
        assert w is not None
        bias = outside = None
        if b is not None:
            n = self.gates * hidden
            first, second = part(b, 0, 0, n), part(b, 0, n, 2 * n)
            bias, outside = first + self._inside(second, hidden), second
        if rows.rank == 2:
            return [Gemm(transB=True)(rows, w, bias), r, outside, p]
        product = rows @ w.transpose([1, 0])
        return [product if bias is None else product + bias, r, outside, p]

    def _inside(self, bias: Value, hidden: int) -> Value:
        """The part of the second bias that may be added to the product with W."""
        return bias

    def advance(self, cell: Cell, t: int, states: tuple[Value, ...]) -> tuple[Value, ...]:
        """`step` number `t` on values."""
        raise NotImplementedError

    @property
    def _directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    def _activations(self) -> list[list[Activation]]:
        """The functions of each direction. alpha and beta go to the functions that have one, in order."""
        names = self.activations or self.functions * self._directions
        count = len(self.functions) * self._directions
        # RNN's default names one function for each of two directions, whatever the direction.
        if len(names) != count and (len(names) < count or names != ("Tanh", "Tanh")):
            raise InvalidModel(f"activations is {list(names)}, expected {count} names")
        per = len(self.functions)
        alphas, betas = iter(self.activation_alpha or ()), iter(self.activation_beta or ())
        found: list[Activation] = []
        for i, name in enumerate(names[:count]):
            if name.lower() not in ACTIVATIONS:
                raise InvalidModel(f"activation '{name}' is not known")
            _, alpha, beta = ACTIVATIONS[name.lower()]
            a = None if alpha is None else next(alphas, alpha)
            b = None if beta is None else next(betas, beta)
            # As onnxruntime does: the gates and the candidate are clipped, the cell of an LSTM is not.
            found.append(Activation(name.lower(), a, b, self.clip if i % per < 2 else None))
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
class RNN(Recurrent):
    """H_t = f(X_t Wᵀ + H_{t-1} Rᵀ + Wb + Rb). ONNX RNN-22."""

    activations: tuple[str, ...] | None = ("Tanh", "Tanh")
    gates = 1
    functions = ("Tanh",)

    def step(
        self, x: Array, states: tuple[Array, ...], r: Array, bias: Array, f: Sequence[Function], p: Array | None
    ) -> tuple[Array, ...]:
        return (f[0](x + states[0] @ r.T + bias),)

    def advance(self, cell: Cell, t: int, states: tuple[Value, ...]) -> tuple[Value, ...]:
        return (cell.f[0].of(cell.gates(t, states[0], 0, 1)),)


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

    def _inside(self, bias: Value, hidden: int) -> Value:
        if not self.linear_before_reset:
            return bias
        zeros = const(np.zeros(hidden, bias.dtype.numpy), bias.dtype)
        return joined([part(bias, 0, 0, 2 * hidden), zeros], 0)

    def advance(self, cell: Cell, t: int, states: tuple[Value, ...]) -> tuple[Value, ...]:
        (h,) = states
        z, reset = (cell.f[0].of(v) for v in cell.split(cell.gates(t, h, 0, 2)))
        if self.linear_before_reset:
            bias = None if cell.bias is None else cell.of_gates(cell.bias, 2, 3)
            product = Gemm(transB=True)(h, cell.of_gates(cell.recurrent, 2, 3), bias)
            candidate = cell.gates(t, None, 2, 3) + reset * product
        else:
            candidate = cell.gates(t, reset * h, 2, 3)
        return ((1 - z) * cell.f[1].of(candidate) + z * h,)


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
        pi, po, pf = (None, None, None) if p is None else _split(p, n)
        i = f[0](i if pi is None else i + pi * c)
        forget = 1 - i if self.input_forget else f[0](forget if pf is None else forget + pf * c)
        c = forget * c + i * f[1](candidate)
        return f[0](o if po is None else o + po * c) * f[2](c), c

    def advance(self, cell: Cell, t: int, states: tuple[Value, ...]) -> tuple[Value, ...]:
        h, c = states
        i, o, forget, candidate = cell.split(cell.gates(t, h, 0, 4))
        p = cell.peepholes
        peepholes = None if p is None else [cell.of_gates(p, k, k + 1) for k in range(3)]
        if peepholes is not None:
            i, forget = i + peepholes[0] * c, forget + peepholes[2] * c
        i = cell.f[0].of(i)
        forget = 1 - i if self.input_forget else cell.f[0].of(forget)
        c = forget * c + i * cell.f[1].of(candidate)
        if peepholes is not None:
            o = o + peepholes[1] * c
        return cell.f[0].of(o) * cell.f[2].of(c), c
