"""Nodes that change nothing are left out."""

from __future__ import annotations

import numpy as np

from graphc.ir import Graph, Value
from graphc.ops.activation import Relu
from graphc.ops.arithmetic import Add, Div, Mul, Neg, Sub
from graphc.ops.base import Unary
from graphc.ops.bitwise import BitwiseNot
from graphc.ops.cast import Cast
from graphc.ops.dropout import Dropout
from graphc.ops.logic import Identity, Not
from graphc.ops.math import Abs, Ceil, Floor, Pow, Round, Sign
from graphc.ops.minmax import Clip, Max, Mean, Min, Sum
from graphc.ops.movement import Concat, Tile
from graphc.ops.padding import Pad
from graphc.ops.reshaping import Expand
from graphc.ops.slicing import Slice
from graphc.passes.rewrite import Match, constant, maybe, p, rewrite, rule, value

x, c = value("x"), constant("c")


def _same_shape(m: Match) -> None:
    """Decline unless the node's output has the shape of `x`, which a broadcast need not have."""
    before, after = m.old(x), m.node.output
    assert before is not None
    m.require(before.shape is not None and before.shape == after.shape, f"{before.type} becomes {after.type}")


@rule(p(Identity, x))
def drop_identity(m: Match) -> Value:
    """Identity(x) = x.

    before:
        graph (%x: f32[2]) {
          %0: f32[2] = Identity(%x)
          %1: f32[2] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          return %0 as "y"
        }
    """
    return m[x]


@rule(p(Cast, x))
def drop_cast(m: Match) -> Value:
    """Cast(x, to) = x  where `to` is x's own element type.

    before:
        graph (%x: f32[2]) {
          %0: f32[2] = Cast(%x) {to=f32}
          %1: f32[2] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          return %0 as "y"
        }
    """
    m.require(m[x].type == m.node.output.type, "the element types differ")
    return m[x]


INVOLUTIONS: tuple[type[Unary], ...] = (Neg, Not, BitwiseNot)
undone = p(INVOLUTIONS, x)
undoing = p(INVOLUTIONS, undone)


@rule(undoing)
def drop_twice(m: Match) -> Value:
    """-(-x) = x; the same for Not and BitwiseNot.

    before:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          %1: f32[2] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          return %x as "y"
        }
    """
    m.require(m.op(undone) == m.op(undoing), "the two differ")
    return m[x]


IDEMPOTENT: tuple[type[Unary], ...] = (Relu, Abs, Ceil, Floor, Round, Sign)
inner = p(IDEMPOTENT, x)
outer = p(IDEMPOTENT, inner)


@rule(outer)
def once(m: Match) -> Value:
    """Relu(Relu(x)) = Relu(x); the same for Abs, Ceil, Floor, Round and Sign.

    before:
        graph (%x: f32[2]) {
          %0: f32[2] = Relu(%x)
          %1: f32[2] = Relu(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Relu(%x)
          return %0 as "y"
        }
    """
    m.require(m.op(inner) == m.op(outer), "the two differ")
    return m.op(inner).apply((m[x],))[0]


low, high, floor, ceiling = (maybe(constant(name)) for name in ("low", "high", "floor", "ceiling"))


@rule(p(Clip, p(Clip, x, floor, ceiling), low, high))
def clip_once(m: Match) -> Value:
    """Clip(Clip(x, a, b), c, d) = Clip(x, Clip(a, c, d), Clip(b, c, d)); a bound that is missing does not bind.

    before:
        graph (%x: f32[2]) {
          %0: f32[] = const 0.0
          %1: f32[] = const 6.0
          %2: f32[2] = Clip(%x, %0, %1)
          %3: f32[] = const -1.0
          %4: f32[] = const 4.0
          %5: f32[2] = Clip(%2, %3, %4)
          return %5 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[] = const 0.0
          %1: f32[] = const 4.0
          %2: f32[2] = Clip(%x, %0, %1)
          return %2 as "y"
        }
    """

    def clipped(bound: Value | None, otherwise: Value | None) -> Value | None:
        return otherwise if bound is None else Clip().apply((bound, m[low], m[high]))[0]

    return Clip().apply((m[x], clipped(m[floor], m[low]), clipped(m[ceiling], m[high])))[0]


training = maybe(constant("training_mode"))


@rule(p(Dropout, x, maybe(value("ratio")), training))
def drop_dropout(m: Match) -> Value:
    """Dropout(x) = x  outside training.

    before:
        graph (%x: f32[2]) {
          %0: f32[2] = Dropout(%x)
          %1: f32[2] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          return %0 as "y"
        }
    """
    mode = m.array(training)
    m.require(m.old(training) is None or (mode is not None and not mode.any()), "it is in training mode")
    return m[x]


# Op -> the right operand that leaves every left one as it is, bit for bit. Adding 0.0 would turn -0.0 into 0.0.
NEUTRAL = {Add: -0.0, Sub: 0.0, Mul: 1.0, Div: 1.0, Pow: 1.0}
with_constant = p((Add, Sub, Mul, Div, Pow), x, c)


@rule(with_constant)
def drop_neutral(m: Match) -> Value:
    """x + (-0.0) = x - 0 = x · 1 = x / 1 = x¹ = x, exactly; for integers also x + 0 = x.

    before:
        graph (%x: f32[2]) {
          %0: f32[] = const 1.0
          %1: f32[2] = Mul(%x, %0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          return %x as "y"
        }
    """
    known = m.array(c)
    if known is None:
        m.decline("the constant is not folded yet, or large")
    neutral = np.full(known.shape, NEUTRAL[type(m.node.op)]).astype(known.dtype)
    m.require(known.tobytes() == neutral.tobytes(), "the constant is not neutral")
    _same_shape(m)
    return m[x]


pads, fill, axes = constant("pads"), value("fill"), constant("axes")


@rule(p(Pad, x, pads, ...))
def drop_pad(m: Match) -> Value:
    """Pad(x, 0) = x.

    before:
        graph (%x: f32[2]) {
          %0: i64[2] = const [0, 0]
          %1: f32[2] = Pad(%x, %0)
          %2: f32[2] = Neg(%1)
          return %2 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          return %0 as "y"
        }
    """
    known = m.array(pads)
    m.require(known is not None and not known.any(), "it pads")
    return m[x]


starts, ends, steps = value("starts"), value("ends"), value("steps")


@rule(p(Slice, x, starts, ends, maybe(axes), maybe(steps)))
def drop_slice(m: Match) -> Value:
    """Slice(x, 0, size(x)) = x.

    before:
        graph (%x: f32[2]) {
          %0: i64[1] = const [0]
          %1: i64[1] = const [9]
          %2: f32[2] = Slice(%x, %0, %1)
          %3: f32[2] = Neg(%2)
          return %3 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          return %0 as "y"
        }
    """
    if m.old(steps) is not None:
        known = m.array(steps)
        m.require(known is not None and bool(np.all(known == 1)), "its steps are not all 1")
    _same_shape(m)
    return m[x]


of_one = p((Concat, Max, Min, Sum, Mean), x)


@rule(of_one)
def drop_single(m: Match) -> Value:
    """Concat(x) = Max(x) = Min(x) = Sum(x) = Mean(x) = x.

    before:
        graph (%x: f32[2]) {
          %0: f32[2] = Concat(%x) {axis=0}
          %1: f32[2] = Neg(%0)
          return %1 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %0: f32[2] = Neg(%x)
          return %0 as "y"
        }
    """
    return m[x]


@rule(p(Expand, x, value("shape")))
def drop_expand(m: Match) -> Value:
    """Expand(x, shape) = x  where x broadcast to `shape` has the shape of x.

    before:
        graph (%x: f32[2,3]) {
          %0: i64[1] = const [3]
          %1: f32[2,3] = Expand(%x, %0)
          %2: f32[2,3] = Neg(%1)
          return %2 as "y"
        }
    after:
        graph (%x: f32[2,3]) {
          %0: f32[2,3] = Neg(%x)
          return %0 as "y"
        }
    """
    _same_shape(m)
    return m[x]


repeats = constant("repeats")


@rule(p(Tile, x, repeats))
def drop_tile(m: Match) -> Value:
    """Tile(x, 1) = x.

    before:
        graph (%x: f32[2,3]) {
          %0: i64[2] = const [1, 1]
          %1: f32[2,3] = Tile(%x, %0)
          %2: f32[2,3] = Neg(%1)
          return %2 as "y"
        }
    after:
        graph (%x: f32[2,3]) {
          %0: f32[2,3] = Neg(%x)
          return %0 as "y"
        }
    """
    known = m.array(repeats)
    m.require(known is not None and bool(np.all(known == 1)), "it repeats")
    return m[x]


RULES = (
    drop_identity, drop_dropout, drop_cast, drop_twice, once, clip_once, drop_neutral, drop_pad, drop_slice,
    drop_single, drop_expand, drop_tile,
)  # fmt: skip


def eliminate(graph: Graph) -> Graph:
    """Leave out what changes nothing, where that is exact."""
    return rewrite(graph, RULES)
