"""Random graphs with what a listing or a file has to carry besides plain nodes: bodies, sequences, optionals, element
types, unknown sizes, odd names. `models()` is a Hypothesis strategy.

Built on `graphgen`, whose graphs stay simpler: passes are compared on those bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import graphgen
import numpy as np
from graphgen import BATCH, Builder, is_float, is_small
from hypothesis import strategies as st

from graphc.dims import unknown
from graphc.errors import TypeMismatch
from graphc.ir import Graph, Node, Value, rebuild
from graphc.ops.arithmetic import Add, Neg
from graphc.ops.base import const
from graphc.ops.cast import Cast
from graphc.ops.control import If, Loop, Scan
from graphc.ops.fused import Fused
from graphc.ops.logic import Identity
from graphc.ops.math import Tanh
from graphc.ops.movement import Concat, Split
from graphc.ops.optional import Optional, OptionalGetElement
from graphc.ops.ranking import TopK
from graphc.ops.sequence import ConcatFromSequence, SequenceAt, SequenceConstruct, SequenceEmpty, SequenceInsert
from graphc.types import (
    SequenceType,
    TensorType,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)

NAMES = ("", "", "", "fc 1", "a/b.c", "größe", "x0", "0", '"', "~2", "a#1", "layer", "layer")
Step = Callable[[Any], Value | None]
LOOP_TYPES = (TensorType(int64, ()), TensorType(bool_, ()))


def feeds_for(graph: Graph, seed: int) -> list[object]:
    """As `graphgen.feeds_for`; a sequence gets two arrays."""
    rng = np.random.default_rng(seed)
    feeds: list[object] = []
    numbers = [v for v in graph.inputs if isinstance(v.type, TensorType) and v.dtype is not bool_]
    plain = iter(graphgen.feeds_for(Graph(numbers, []), seed))
    for v in graph.inputs:
        if v.type == LOOP_TYPES[1]:
            feeds.append(np.array(bool(rng.integers(0, 2))))
        elif isinstance(v.type, SequenceType):
            element = v.type.element
            assert isinstance(element, TensorType)
            feeds.append([rng.uniform(-1, 1, element.shape).astype(element.dtype.numpy) for _ in range(2)])
        else:
            feeds.append(next(plain))
    return feeds


class Model(Builder):
    """The values of a graph or body; `extra` are for outputs only."""

    def __init__(self, draw: st.DrawFn, inputs: Sequence[Value] = ()):
        super().__init__(draw)
        self.inputs = list(inputs)
        self.values = list(inputs)
        self.extra: list[Value] = []

    def keep(self, made: Value | None) -> None:
        if made is not None and is_small(made):
            self.values.append(made)

    def take(self, steps: Sequence[Step], *, least: int = 0, most: int) -> None:
        for step in self.draw(st.lists(st.sampled_from(steps), min_size=least, max_size=most)):
            with contextlib.suppress(TypeMismatch):  # an op that does not take the element type
                self.keep(step(self))


def inside(b: Model, given: Sequence[Value], most: int) -> Model:
    """The values of a body that is given values like `given`."""
    inner = Model(b.draw, [Value(v.type, name=f"b{i}") for i, v in enumerate(given)])
    inner.take(graphgen.STEPS, most=most)
    return inner


def captured(b: Model, first: Value) -> list[Value]:
    """Values that a body reads, `first` among them."""
    others = [v for v in b.values if v is not first]
    return [first, *others[-b.integer(0, 2) :]] if others and b.flag() else [first]


# -- steps -------------------------------------------------------------------------------------------------------------
def branch(b: Model) -> Value:
    x = b.pick(lambda v: True)
    assert x is not None
    given = captured(b, x)
    then = inside(b, given, 3)
    graph = Graph(then.inputs, [then.values[-1]])
    other = inside(b, given, 2)
    alike = [v for v in other.values if v.type == graph.outputs[0].type]
    if not alike:
        alike = [Neg()(graph(*other.inputs)[0])]
    return If(graph, Graph(other.inputs, [alike[-1]]))(condition(b), *given)


def condition(b: Model) -> Value:
    """A run-time condition, or a constant."""
    if b.flag():
        return const(np.array(b.flag()))
    found = [v for v in b.inputs if v.type == LOOP_TYPES[1]]
    if not found:
        found = [Value(LOOP_TYPES[1], name=f"x{len(b.inputs)}")]
        b.inputs += found
    return found[0]


def ragged(b: Model) -> None:
    """Branches of different shapes, and a branch that is only a constant: for an output of the graph."""
    x = b.pick(lambda v: v.dtype is float32 and len(v.shape) > 0)
    if x is None:
        return
    graphs = []
    for _ in range(2):
        inner = inside(b, [x], 0)
        kind = b.integer(0, 2)
        y = inner.inputs[0]
        y = y if kind == 0 else Concat(0)(y, y) if kind == 1 else inner.constant([2], x.dtype)
        graphs.append(Graph(inner.inputs, [y]))
    b.extra.append(If(*graphs)(condition(b), x))


def loop(b: Model) -> Value:
    x = b.pick(lambda v: True)
    assert x is not None
    given = captured(b, x)
    inner = inside(b, given, 3)
    step, go = (Value(t, name=name) for t, name in zip(LOOP_TYPES, ("step", "go"), strict=True))
    kept = inner.inputs[0]
    for _ in range(b.integer(0, 2)):
        kept = b.choose([Identity(), *([Neg(), Tanh()] if is_float(kept) else [])])(kept)
    body = Graph([step, go, *inner.inputs], [go, kept, inner.values[-1]])
    trips = const(np.array(b.integer(1, 3), np.int64))
    start = None if b.flag() else const(np.array(True))
    last, rows = Loop(body, captured=len(given) - 1)(trips, start, *given)
    b.keep(rows)
    return last


def scan(b: Model) -> Value | None:
    x = b.pick(lambda v: is_float(v) and len(v.shape) >= 1)
    if x is None:
        return None
    axis = b.integer(0, len(x.shape) - 1)
    row = Value(TensorType(x.dtype, tuple(d for i, d in enumerate(x.shape) if i != axis)))
    inner = inside(b, [row], 2)
    state = Value(TensorType(float32, ()), name="state")
    body = Graph([state, *inner.inputs], [Tanh()(state), inner.values[-1]])
    backwards = (b.integer(0, 1),) if b.flag() else None
    last, rows = Scan(body, 1, (axis,), scan_input_directions=backwards)(const(np.float32(0.5)), x)
    b.keep(last)
    return rows


def fused(b: Model) -> Value:
    x = b.pick(lambda v: True)
    assert x is not None
    given = captured(b, x)
    inner = inside(b, given, 3)
    return Fused(Graph(inner.inputs, [inner.values[-1]]))(*given)


def sequence(b: Model) -> Value | None:
    x = b.pick(lambda v: v.dtype is float32 and len(v.shape) > 0)
    if x is None:
        return None
    made = SequenceConstruct()(x, Neg()(x)) if b.flag() else SequenceInsert()(SequenceEmpty(x.dtype)(), x)
    b.extra.append(made)
    return SequenceAt()(made, const(np.array(0, np.int64))) if b.flag() else ConcatFromSequence(0)(made)


def given_sequence(b: Model) -> Value:
    v = Value(SequenceType(TensorType(float32, (2, 3))), name=f"x{len(b.inputs)}")
    b.inputs.append(v)
    return SequenceAt()(v, const(np.array(b.integer(-2, 1), np.int64)))


def optional(b: Model) -> Value | None:
    x = b.pick(lambda v: v.dtype is float32)
    return None if x is None else OptionalGetElement()(Optional()(x))


def other_type(b: Model) -> Value:
    x = b.pick(lambda v: True)
    assert x is not None
    return Cast(b.choose([float64, float16, int8, uint8, int32, int64, float32]))(x)


def typed_constant(b: Model) -> Value | None:
    dtype = b.choose([float64, float16, int8, uint8, int32])
    x = b.pick(lambda v: v.dtype is dtype)
    return None if x is None else Add()(x, b.constant([], dtype))


def unknown_input(b: Model) -> Value:
    size = unknown()
    last = b.choose([size, BATCH, 3, size * 2 + 1, (BATCH + 1) // 2])
    b.inputs.append(Value(TensorType(float32, (size, last)), name=f"x{len(b.inputs)}"))
    return b.inputs[-1]


def several(b: Model) -> Value | None:
    x = b.pick(lambda v: is_float(v) and len(v.shape) > 0 and isinstance(v.shape[-1], int) and v.shape[-1] >= 2)
    if x is None:
        return None
    n = x.shape[-1]
    if b.flag():
        first, second = Split(-1, outputs=2)(x, b.ints(1, n - 1))
        b.keep(first)
        return second
    values, positions = TopK(-1)(x, b.ints(b.integer(1, n)))
    b.keep(positions)
    return values


STEPS: tuple[Step, ...] = (
    *graphgen.STEPS, branch, branch, branch, ragged, loop, loop, scan, fused, fused, sequence, given_sequence, optional,
    other_type, other_type, typed_constant, unknown_input, several, several,
)  # fmt: skip


@st.composite
def models(draw: st.DrawFn, *, max_nodes: int = 10) -> Graph:
    """Graphs of up to about `max_nodes` steps, each of which may be a node with a body."""
    b = Model(draw)
    for _ in range(b.integer(1, 2)):
        b.input()
    b.take(STEPS, least=1, most=max_nodes)
    outputs = [b.values[-1], *b.extra]
    for _ in range(b.integer(0, 2)):
        outputs.append(b.choose(b.values))
    graph = Graph(b.inputs, outputs, [f"y{i}" for i in range(len(outputs))], name="random")
    return renamed(graph, lambda node: b.choose(NAMES) or node.name)


def renamed(graph: Graph, name: Callable[[Node], str]) -> Graph:
    """`graph` with other names for its nodes, those in bodies too."""

    def visit(node: Node, xs: tuple[Value | None, ...]) -> tuple[Value, ...]:
        bodies = {key: renamed(body, name) for key, body in node.op.graphs().items()}
        return dataclasses.replace(node.op, **bodies).apply(xs, name(node))

    return rebuild(graph, visit)
