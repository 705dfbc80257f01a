"""Lanes that choose differently between what two sides read: none reads memory for the side that it does not choose."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from graphc.backends.codegen.emit import emit
from graphc.backends.codegen.jit import compile_object, link
from graphc.backends.codegen.target import LEVELS, Target, host_target
from graphc.errors import CompileError
from graphc.expr import Buffer, Expr, Load, constant, select
from graphc.index import Index, linear
from graphc.loops.nest import For, Nest, Store
from graphc.types import Array, DType, bfloat16, bool_, float16, float32, float64, int8, int32, int64, uint16

LANES, VECTORS = 8, 3
SIZE = LANES * VECTORS
PAGE = mmap.PAGESIZE


@pytest.fixture(params=[*LEVELS, "native"])
def target(request: pytest.FixtureRequest) -> Target:
    try:
        return host_target(request.param)
    except CompileError as e:
        pytest.skip(str(e))


@contextmanager
def at_the_edge(array: Array) -> Iterator[int]:
    """The address of a copy of `array`, and right after it a page that must not be read."""
    protect = ctypes.CDLL(None).mprotect
    memory = mmap.mmap(-1, 2 * PAGE)
    anchor = ctypes.c_char.from_buffer(memory)
    page = ctypes.c_void_p(ctypes.addressof(anchor) + PAGE)
    data = array.tobytes()
    memory[PAGE - len(data) : PAGE] = data
    assert protect(page, PAGE, 0) == 0
    try:
        yield ctypes.addressof(anchor) + PAGE - len(data)
    finally:
        protect(page, PAGE, mmap.PROT_READ | mmap.PROT_WRITE)
        del anchor
        memory.close()


def values(dtype: DType, rng: np.random.Generator) -> Array:
    return rng.integers(0, 2 if dtype is bool_ else 100, SIZE).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16, int8, uint16, int32, int64, bool_], ids=str)
@pytest.mark.parametrize("shift", [0, 1, 5, LANES, SIZE - 1])
def test_reads_past_the_end(target: Target, dtype: DType, shift: int) -> None:
    """y[i] = x[i + shift] where p[i] and q[i], the other one where p[i] alone, else z[i]; p keeps within x."""
    rng = np.random.default_rng(shift)
    x, z = values(dtype, rng), values(dtype, rng)
    p = np.arange(SIZE) + shift < SIZE
    p &= rng.integers(0, 4, SIZE) > 0
    q = rng.integers(0, 2, SIZE) > 0
    bx, by, bz = (Buffer(name, dtype, SIZE) for name in "xyz")
    bp, bq = (Buffer(name, bool_, SIZE) for name in "pq")
    outer, lane = Index("o", VECTORS), Index("l", LANES)
    i = linear(outer) * LANES + lane
    ahead = Load(bx, i + shift)
    inner: Expr = select(Load(bq, i), ahead, Load(bx, -1 * i + (SIZE - 1)) if shift == 1 else constant(1, dtype))
    store = Store(by, i, select(Load(bp, i), inner, Load(bz, i)))
    nest = Nest((bx, bz, bp, bq, by), (by,), (For(outer, "serial", (For(lane, "vector", (store,)),)),))
    text = emit(nest, "kernel", target)
    assert ("masked.load" in text) == (shift > 0)
    library = link([compile_object(text, target)], ["kernel"])
    y = np.zeros(SIZE, dtype.numpy)
    status = ctypes.c_int32(0)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6, ctypes.c_int64, ctypes.c_int64)
    with at_the_edge(x) as address:
        others = [a.ctypes.data for a in (z, p, q, y)]
        kind(library.addresses["kernel"])(address, *others, ctypes.addressof(status), 0, 1)
    moved = np.concatenate([x, np.zeros(SIZE, dtype.numpy)])[shift : shift + SIZE]
    want = np.where(p, np.where(q, moved, x[::-1] if shift == 1 else np.ones(SIZE, dtype.numpy)), z)
    np.testing.assert_array_equal(y.astype(np.float64), want.astype(np.float64))
    assert status.value == 0
