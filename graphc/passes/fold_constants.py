"""Constant folding: what depends on constants only is computed once, at compile time."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

from graphc.errors import ExecutionError, ResourceLimit
from graphc.interpret import evaluate
from graphc.ir import Graph, Node, Value, rebuild
from graphc.limits import check_deadline, current_limits, limited
from graphc.ops.base import Binary, Constant
from graphc.passes.bodies import is_pure, over_bodies
from graphc.passes.record import fired, refused
from graphc.types import Tensor, TensorType

LATE_BYTES = 1 << 18  # of a result from which on it is computed by who needs it, who may do so in threads
MAX_STEPS = 8  # so many of those, one made of the other; then one is computed at once
FREE_BYTES = 1 << 20  # a result up to this size is always worth folding
MAX_GROWTH = 2  # a larger one only up to this many times the size of what it is made from


def fold_constants(graph: Graph) -> Graph:
    """f(c1, c2, …) = c  for constants c1, c2, … and a pure f.

    A result that would make the model much larger stays as it is, and so do nodes with bodies and random generators.
    What fails (an integer division by zero) raises, naming the node, since running the graph would fail as well; in a
    body it stays, because the body may never run.

    before:
        graph (%x: f32[2]) {
          %a: f32[2] = const [1.0, 2.0]
          %b: f32[2] = const [3.0, 5.0]
          %k: f32[2] = Mul(%a, %b)
          %0: f32[2] = Add(%x, %k)
          return %0 as "y"
        }
    after:
        graph (%x: f32[2]) {
          %k: f32[2] = const [3.0, 10.0]
          %0: f32[2] = Add(%x, %k)
          return %0 as "y"
        }
    """
    return _fold(over_bodies(graph, lambda g: _fold(g, strict=False)), strict=True)


def _fold(graph: Graph, *, strict: bool) -> Graph:
    return rebuild(graph, lambda node, inputs: fold_node(node, inputs, strict=strict))


def fold_node(node: Node, inputs: tuple[Value | None, ...], *, strict: bool) -> tuple[Value, ...] | None:
    """The outputs of `node` on `inputs` as constants; None where that cannot be, or is not worth it.

    Large products and sums, which cannot fail, are computed when they are read: a backend that packs them needs them
    once, one at a time.

    Raises `ExecutionError` where the node fails and `strict` is set.
    """
    if not inputs or not all(x is None or _constant(x) is not None for x in inputs):
        return None
    if node.op.graphs() or not is_pure(node):
        return None
    if not all(isinstance(v.type, TensorType) for v in node.outputs):
        return None
    node = node.op.apply(inputs, node.name)[0].node or node  # the same node on the folded inputs
    try:
        tensors = _evaluate(node)
    except ResourceLimit as e:
        refused("fold_constants", node, str(e.message))
        return None
    except ExecutionError as e:
        if strict:
            raise
        refused("fold_constants", node, f"fails: {e.message}")
        return None
    names = [v.name or _name_of_source(node) for v in node.outputs]
    fired("fold_constants", [node], f"Constant '{names[0]}'" if names[0] else "Constant")
    return tuple(Constant(t).apply((), name)[0] for t, name in zip(tensors, names, strict=True))


def _constant(x: Value) -> Tensor | None:
    return x.node.op.value if x.node is not None and isinstance(x.node.op, Constant) else None


def _evaluate(node: Node) -> list[Tensor]:
    """The outputs of a node whose inputs are constants; `ResourceLimit` where they would be too large."""
    check_deadline()
    given = [_constant(x) if x is not None else None for x in node.inputs]

    def computed() -> list[Tensor]:
        arrays = evaluate(node, [None if t is None else t.read() for t in given])
        return [Tensor(a, v.dtype) for a, v in zip(arrays, node.outputs, strict=True)]

    known = [v.tensor.nbytes for v in node.outputs]
    if all(n is not None and n < LATE_BYTES for n in known):
        return computed()
    budget = max(FREE_BYTES, MAX_GROWTH * sum(t.type.nbytes or 0 for t in given if t is not None))
    limits = current_limits()
    # `Limits.timeout_s` would start again inside the block; `check_deadline` has looked at it.
    tight = dataclasses.replace(limits, max_tensor_bytes=min(budget, limits.max_tensor_bytes), timeout_s=None)
    if isinstance(node.op, Binary) and node.output.dtype.is_float:
        y = node.output.tensor
        recipe = node.op, *(t.key for t in given if t is not None)
        if (y.nbytes or 0) <= tight.max_tensor_bytes and y.is_static and _steps(recipe) <= MAX_STEPS:
            return [Tensor.lazy(y.dtype, y.sizes, lambda: computed()[0].array, recipe)]
    with limited(tight):
        tensors = computed()
    size = sum(t.type.nbytes or 0 for t in tensors)
    if size > budget:
        raise ResourceLimit(f"{size:,} bytes would be made from {budget // MAX_GROWTH:,}")
    return tensors


def _steps(key: Hashable) -> int:
    """How many operations, one on the result of the other, a tensor takes that has this key."""
    return 1 + max(map(_steps, key[1:])) if isinstance(key, tuple) else 0


def _name_of_source(node: Node) -> str:
    """The first name among the constants that a nameless node reads: a weight that a rule scales keeps its name."""
    return next((x.name for x in node.inputs if x is not None and x.name), "")
