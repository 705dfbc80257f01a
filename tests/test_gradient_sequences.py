"""Gradients through sequences and optionals, of tensors that go in and come out, against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conformance import random
from gradient_checks import check

from graphc.autodiff import grad
from graphc.ir import Graph, Value
from graphc.ops import optional as opt
from graphc.ops import sequence as seq
from graphc.ops.base import const
from graphc.types import TensorType, float64, int64

MAPPED, OTHER = (Value(TensorType(float64, (None, 3)), name=n) for n in ("a", "b"))
BODY = Graph([MAPPED, OTHER], [MAPPED * OTHER, MAPPED * MAPPED], ["product", "square"])


def joined(s: Value) -> Value:
    return seq.ConcatFromSequence(0)(s)


def mapped(x: Value, y: Value, captured: int) -> Value:
    product, square = seq.SequenceMap(BODY, captured)(seq.SequenceConstruct()(x, x * y), y)
    return joined(product) * joined(square).sum()


def pairs(x: Value, y: Value) -> Value:
    product, _ = seq.SequenceMap(BODY)(seq.SequenceConstruct()(x, y), seq.SequenceConstruct()(y, y))
    return joined(product)


def both(x: Value, y: Value) -> Value:
    """One sequence that is read twice."""
    s = seq.SequenceConstruct()(x, y)
    return seq.SequenceAt()(s, const(0, int64)) * seq.SequenceAt()(s, const(-1, int64)) * joined(s).sum()


def held(x: Value, y: Value) -> Value:
    o = opt.Optional()(seq.SequenceConstruct()(x, y))
    first, second = (opt.OptionalGetElement()(o) for _ in range(2))
    return seq.SequenceAt()(first, const(0, int64)) * joined(second).sum()


def erased(x: Value, y: Value, at: int | None) -> Value:
    s = seq.SequenceConstruct()(x, y, x * y)
    return joined(seq.SequenceErase()(s, *(() if at is None else (const(at, int64),))))


def inserted(x: Value, y: Value, at: int | None) -> Value:
    s = seq.SequenceConstruct()(x, x * x)
    s = seq.SequenceInsert()(s, y, *(() if at is None else (const(at, int64),)))
    return joined(s) * (x * y).sum()


def split(x: Value, y: Value, op: seq.SplitToSequence, *sizes: Value) -> Value:
    s = op(x, *sizes)
    return seq.SequenceAt()(s, const(-1, int64)) * seq.SequenceAt()(s, const(0, int64)).sum() * y.sum()


GRAPHS: dict[str, Callable[[Value, Value], Value]] = {
    "construct-concat": lambda x, y: joined(seq.SequenceConstruct()(x, y, x)),
    "stack": lambda x, y: seq.ConcatFromSequence(-1, new_axis=True)(seq.SequenceConstruct()(x, y)),
    "uneven": lambda x, y: seq.ConcatFromSequence(-2)(seq.SequenceConstruct()(x, y, x.sum([0], keepdims=True))),
    "at": both,
    "map": lambda x, y: mapped(x, y, 0),
    "map-captured": lambda x, y: mapped(x, y, 1),
    "map-pairs": pairs,
    "split": lambda x, y: split(x, y, seq.SplitToSequence(1)),
    "split-squeezed": lambda x, y: split(x, y, seq.SplitToSequence(-1, keepdims=False)),
    "split-even": lambda x, y: split(x, y, seq.SplitToSequence(1), const(2, int64)),
    "split-sizes": lambda x, y: split(x, y, seq.SplitToSequence(0), const([1, 1], int64)),
    "optional": held,
    "optional-of-tensor": lambda x, y: opt.OptionalGetElement()(opt.Optional()(x * y)) * y,
    "get-of-tensor": lambda x, y: opt.OptionalGetElement()(x * y),
    "empty": lambda x, y: joined(seq.SequenceInsert()(seq.SequenceEmpty(float64)(), x * y)),
    **{f"erase-{at}": lambda x, y, at=at: erased(x, y, at) for at in (None, 0, 1, -1, -2)},  # type: ignore[misc]
    **{f"insert-{at}": lambda x, y, at=at: inserted(x, y, at) for at in (None, 0, 2, -1, -2)},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", GRAPHS)
def test_gradient(name: str) -> None:
    x, y = (Value(TensorType(float64, (2, 3)), name=n) for n in ("x", "y"))
    graph = Graph([x, y], [GRAPHS[name](x, y)], ["z"])
    feeds = [random(2, 3, dtype=np.float64), random(2, 3, dtype=np.float64, seed=1)]
    check(graph, feeds, grad(graph))
