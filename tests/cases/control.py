"""Control flow. The bodies are graphs, so the oracle is the same computation written in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from conformance import Case, random

from graphc.ir import Graph, Value
from graphc.ops import control as op
from graphc.ops.base import const
from graphc.ops.logic import Less
from graphc.ops.movement import Concat
from graphc.types import TensorType, dtype_of


def body(function: Callable[..., object], *arrays: np.ndarray) -> Graph:
    """The graph of `function` on inputs of the types of `arrays`."""
    inputs = [Value(TensorType(dtype_of(a.dtype), a.shape), name=f"b{i}") for i, a in enumerate(arrays)]
    outputs = function(*inputs)
    return Graph(inputs, outputs if isinstance(outputs, (list, tuple)) else [outputs])


STEP, TRUE = np.array(0, np.int64), np.array(True)
x, w = random(2, 3), random(2, 3, seed=1, low=0.5, high=2)
steps = random(4, 3, seed=2)
state = random(3, seed=3)


def recurrence(h: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = []
    for step in xs:
        h = h * step + step
        kept.append(h - step)
    return h, np.stack(kept)


def everything(h: np.ndarray, xs: np.ndarray, ts: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = []
    for s, t in zip(xs[::-1], ts.T, strict=True):
        kept.append(h * t)
        h = h * s + c * t
    return h, np.stack(kept[::-1], 1)


def _if(cond: bool) -> Case:
    branches = body(lambda a, b: a * b, x, w), body(lambda a, b: a - b, x, w)
    return Case(op.If(*branches), [np.array(cond), x, w], id=str(cond), oracle=lambda c, a, b: a * b if c else a - b)


def _loop(trips: int | None, cond: bool | None, id: str, const_inputs: tuple[int, ...] = ()) -> Case:
    """Powers of w, and the value before each trip."""
    graph = body(lambda i, c, a, b: (c, a * b, a), STEP, TRUE, x, w)

    def oracle(m: np.ndarray | None, c: np.ndarray | None, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        count = int(m) if c is None or bool(c) else 0
        slices = [a * b**k for k in range(count)]
        return a * b**count, np.stack(slices) if slices else np.zeros((0, *a.shape), a.dtype)

    inputs = [None if trips is None else np.array(trips), None if cond is None else np.array(cond), x, w]
    return Case(op.Loop(graph, captured=1), inputs, oracle, id, const=const_inputs)


def _scan(id: str, xs: np.ndarray, oracle: Callable[..., object], **fields: object) -> Case:
    graph = body(lambda h, s: (h * s + s, h * s + s - s), state, state)
    return Case(op.Scan(graph, 1, **fields), [state, xs], oracle, id)  # type: ignore[arg-type]


def _until(n: int) -> Case:
    """Doubles until the condition that the body computes is false: after the trip number n."""
    graph = body(lambda i, c, a, m: (Less()(i, m), a + a, i), STEP, TRUE, x, STEP)
    return Case(
        op.Loop(graph, captured=1),
        [None, TRUE, x, np.array(n)],
        id=f"until-{n}",
        oracle=lambda m, c, a, n: (a * np.float32(2 ** (n + 1)), np.arange(n + 1)),
    )


def _only_carried(trips: int) -> Case:
    """a, b = b, a·b, without slices: what a compiled backend does in place however many trips there are."""
    graph = body(lambda i, c, a, b: (c, b, a * b), STEP, TRUE, x, w)

    def oracle(m: np.ndarray, c: None, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(int(m)):
            a, b = b, a * b
        return a, b

    return Case(op.Loop(graph), [np.array(trips), None, x, w], oracle, f"only-carried-{trips}", grad=trips < 4)


def _early_exit() -> Case:
    """Until the sum is large, ten trips at most; in each, one branch of two."""
    branches = body(lambda a: a + a, x), body(lambda a: a * a, x)

    def step(i: Value, c: Value, a: Value) -> tuple[Value, ...]:
        made = op.If(*branches)(Less()(i, const(3)), a)
        return Less()(made.sum(), const(np.float32(1000))), made

    def oracle(m: np.ndarray, c: np.ndarray, a: np.ndarray) -> np.ndarray:
        for i in range(int(m)):
            a = a + a if i < 3 else a * a
            if a.sum() >= 1000:
                break
        return a

    graph = body(step, STEP, TRUE, x)
    return Case(op.Loop(graph), [np.array(10), TRUE, np.abs(x) + 0.5], oracle, "early-exit", grad=False)


def _growing() -> Case:
    """The carried value changes its shape."""
    graph = body(lambda i, c, a: (c, Concat(axis=0)(a, a)), STEP, TRUE, x)
    return Case(
        op.Loop(graph), [np.array(3), None, x], id="growing", oracle=lambda m, c, a: np.concatenate([a] * 8), grad=False
    )  # there is none for values that change their shape


CASES = [
    _if(True),
    _if(False),
    Case(op.If(body(lambda a: (a, a), x), body(lambda a: (-a, const(np.ones((2, 2), np.float32))), x)),
         [np.array([True]), x], id="joined-types", oracle=lambda c, a: (a, a), grad=False),  # float32 in the branch
    Case(op.If(body(lambda: (const(np.float32(1)),)), body(lambda: (const(np.float32(2)),))),
         [np.array(False)], id="nothing-captured", oracle=lambda c: np.float32(2)),
    _loop(3, None, "trips"),
    _loop(3, True, "trips-and-cond", (0, 1)),
    _loop(0, True, "no-trips"),
    _loop(5, False, "cond-is-false"),
    _loop(2, None, "const-trips", (0,)),
    _until(0),
    _until(3),
    _only_carried(3),
    _only_carried(0),
    _early_exit(),
    _growing(),
    _scan("plain", steps, recurrence),
    _scan("axis", steps.T.copy(), lambda h, xs: recurrence(h, xs.T), scan_input_axes=(1,)),
    _scan("reverse", steps, lambda h, xs: recurrence(h, xs[::-1]), scan_input_directions=(1,)),
    _scan("output-axis", steps, lambda h, xs: (recurrence(h, xs)[0], recurrence(h, xs)[1].T), scan_output_axes=(-1,)),
    _scan("output-reverse", steps, lambda h, xs: (recurrence(h, xs)[0], recurrence(h, xs)[1][::-1]),
          scan_output_directions=(1,)),
    _scan("empty", steps[:0], lambda h, xs: (h, np.zeros((0, 3), np.float32))),
    Case(op.Scan(body(lambda s, c: s * c, state, state), 1, captured=1), [steps, state], id="captured",
         oracle=lambda xs, c: xs * c),
    Case(op.Scan(body(lambda h, s, t, c: (h * s + c * t, h * t), state, state, state, state), 2, captured=1,
                 scan_input_axes=(0, -1), scan_input_directions=(1, 0), scan_output_axes=(1,),
                 scan_output_directions=(1,)),
         [state, steps, random(3, 4, seed=7), random(3, seed=8)], id="everything", oracle=everything),
]  # fmt: skip
