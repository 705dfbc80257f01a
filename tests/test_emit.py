"""The emitter on nests written by hand."""

from __future__ import annotations

import ctypes

import numpy as np

from graphc.backends.codegen.emit import emit
from graphc.backends.codegen.jit import compile_object, link
from graphc.backends.codegen.target import host_target
from graphc.expr import Buffer, constant, position, select
from graphc.index import Index, linear
from graphc.loops.nest import For, Nest, Store
from graphc.loops.text import parse_nest
from graphc.types import int64


def test_a_position_in_a_vector_loop_of_one_iteration_is_a_scalar() -> None:
    """What is left over of a loop that was split, as 17 = 16 + 1."""
    lane, y = Index("i", 1), Buffer("y", int64, 17)
    at = linear(lane) + 16
    value = select(position(at) < position(linear(lane) * 2 + 15), constant(1, int64), position(at))
    nest = Nest((y,), (y,), (For(lane, "vector", (Store(y, at, value),)),))
    target = host_target(None)
    assert compile_object(emit(nest, "kernel", target), target)


def test_a_condition_in_an_unrolled_loop_is_that_of_each_iteration() -> None:
    nest = parse_nest(
        """kernel(x: i64[8], out y: i64[8]) {
          for j < 8 {
            unrolled i < 8 {
              if (<i> < <j>) {
                y[j] = x[i]
              }
            }
          }
        }"""
    )
    target = host_target(None)
    code = link([compile_object(emit(nest, "kernel", target), target)], ["kernel"])
    x, y, status = np.arange(10, 18), np.full(8, -1), np.zeros(1, np.int32)
    kernel = ctypes.CFUNCTYPE(None, *(ctypes.c_void_p,) * 3, *(ctypes.c_int64,) * 2)(code.addresses["kernel"])
    kernel(x.ctypes.data, y.ctypes.data, status.ctypes.data, 0, 1)
    np.testing.assert_array_equal(y, [-1, *range(10, 17)])
