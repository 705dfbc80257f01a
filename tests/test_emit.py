"""The emitter on nests written by hand."""

from __future__ import annotations

from graphc.backends.codegen.emit import emit
from graphc.backends.codegen.jit import compile_object
from graphc.backends.codegen.target import host_target
from graphc.expr import Buffer, constant, position, select
from graphc.index import Index, linear
from graphc.loops.nest import For, Nest, Store
from graphc.types import int64


def test_a_position_in_a_vector_loop_of_one_iteration_is_a_scalar() -> None:
    """What is left over of a loop that was split, as 17 = 16 + 1."""
    lane, y = Index("i", 1), Buffer("y", int64, 17)
    at = linear(lane) + 16
    value = select(position(at) < position(linear(lane) * 2 + 15), constant(1, int64), position(at))
    nest = Nest((y,), (y,), (For(lane, "vector", (Store(y, at, value),)),))
    target = host_target(None)
    assert compile_object(emit(nest, "kernel", target), target)
