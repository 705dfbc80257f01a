"""Movement on the LLVM backend at sizes where loops are merged, vectorised and shared out; and its run-time errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from llvm_targets import targets

from graphc.backends.llvm import LlvmBackend
from graphc.backends.llvm.backend import why_not
from graphc.errors import ExecutionError
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.ops import BY_NAME
from graphc.ops.base import const
from graphc.runtime.backend import Options
from graphc.types import Array, TensorType, dtype_of


def op(name: str, **attributes: Any) -> Op:
    return BY_NAME["", name](**attributes)


def graph_of(node: Op, inputs: Sequence[Array], constants: Sequence[Array]) -> Graph:
    """`node` on `inputs`, which are the graph's, and `constants`."""
    given = [Value(TensorType(dtype_of(x.dtype), x.shape), name=f"x{i}") for i, x in enumerate(inputs)]
    return Graph(given, list(node.apply([*given, *(const(c) for c in constants)])))


def check(node: Op, inputs: Sequence[Array], *constants: Any, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Native, and equal to NumPy's kernels."""
    graph = graph_of(node, inputs, [np.asarray(c) for c in constants])
    backend = LlvmBackend()
    assert [why_not(n, backend.target) for n in graph.nodes] == [None] * len(graph.nodes)
    got = backend.compile(graph, Options()).run(list(inputs))
    for g, w in zip(got, interpret(graph, list(inputs)), strict=True):
        if np.asarray(w).dtype.kind == "f":
            np.testing.assert_allclose(g, w, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(g, w)


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def indices(size: int, *shape: int) -> Array:
    return np.random.default_rng(1).integers(-size, size, shape)


X = floats(3, 5, 37, 41)


@pytest.mark.parametrize("perm", [(0, 1, 3, 2), (0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3)])
def test_transpose(perm: tuple[int, ...]) -> None:
    check(op("Transpose", perm=perm), [X])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("target", targets())
def test_tiles(target: str, dtype: type) -> None:
    """Square tiles, and what they leave of either side."""
    for m, n in ((3, 40), (4, 4), (5, 7), (16, 33), (37, 16), (48, 50)):
        x = (100 * floats(2, m, n)).astype(dtype)
        for perm in ((0, 2, 1), (2, 1, 0)):
            (got,) = LlvmBackend(target).compile(graph_of(op("Transpose", perm=perm), [x], []), Options()).run([x])
            np.testing.assert_array_equal(got, x.transpose(perm))


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_concat_and_split(axis: int) -> None:
    sizes = list(X.shape)
    sizes[axis] = 2
    check(op("Concat", axis=axis), [X, floats(*sizes), X, X])
    parts = [1, X.shape[axis] - 1]
    check(op("Split", axis=axis), [X], np.array(parts))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(mode: str) -> None:
    check(op("Pad", mode=mode), [X], np.array([0, 1, 3, 7, 0, 2, 4, 9]))
    check(op("Pad", mode=mode), [X], np.array([0, 0, -3, 7, 0, 0, 4, -9]))


def test_many_reflections() -> None:
    check(op("Pad", mode="reflect"), [floats(2, 5)], np.array([0, 23, 0, 31]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("target", targets())
def test_strides(target: str, dtype: type) -> None:
    """Lanes that are 2, 3, 4 or 5 elements apart, up to the last element of what is read."""
    for n in (7, 16, 37, 130):
        x = (100 * floats(3, n)).astype(dtype)
        places = [(start, step) for step in (2, 3, 4, 5) for start in range(step)]
        value = Value(TensorType(dtype_of(x.dtype), x.shape), name="x")
        ends = [[const(np.array([k])) for k in (start, n, 1, step)] for start, step in places]
        slices = [op("Slice")(value, *end) for end in ends]
        got = LlvmBackend(target).compile(Graph([value], slices), Options()).run([x])
        for y, (start, step) in zip(got, places, strict=True):
            np.testing.assert_array_equal(y, x[:, start::step])


def test_slice() -> None:
    check(op("Slice"), [X], [30, -1], [3, -40], [2, 3], [-2, -3])
    check(op("Slice"), [X], [1], [1 << 40], [1], [2])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)])
def test_running_sums(axis: int, flags: tuple[bool, bool]) -> None:
    exclusive, reverse = flags
    x = floats(33, 19, 70)
    check(op("CumSum", exclusive=exclusive, reverse=reverse), [x], np.array(axis))
    check(op("CumProd", exclusive=exclusive, reverse=reverse), [x / 2 + 1], np.array(axis), rtol=1e-4)
    check(op("CumSum", exclusive=exclusive, reverse=reverse), [x.astype(np.float16)], np.array(axis), rtol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_extrema(axis: int, last: bool) -> None:
    x = np.round(floats(9, 70, 150))
    x[3, 5, 7] = np.nan
    for name in ("ArgMax", "ArgMin"):
        check(op(name, axis=axis, select_last_index=last), [x])
        check(op(name, axis=axis, select_last_index=last, keepdims=False), [np.nan_to_num(x).astype(np.int32)])


@pytest.mark.parametrize(
    "equation",
    ["bhqd,bhkd->bhqk", "bqhd,bkhd->bhqk", "bhqk,bhkd->bqhd", "...ij,...jk->...ik", "ij,kj->", "bhqd,bhkd->hd"],
)
def test_einsum(equation: str) -> None:
    shapes = {"bqhd,bkhd->bhqk": [(2, 17, 4, 24), (2, 33, 4, 24)], "bhqk,bhkd->bqhd": [(2, 4, 17, 33), (2, 4, 33, 24)]}
    shapes |= {"...ij,...jk->...ik": [(2, 1, 35, 40), (3, 40, 50)], "ij,kj->": [(30, 40), (50, 40)]}
    shapes |= {"bhqd,bhkd->hd": [(2, 4, 17, 24), (2, 4, 33, 24)]}
    a, b = shapes.get(equation, [(2, 4, 17, 24), (2, 4, 33, 24)])
    check(op("Einsum", equation=equation), [floats(*a), floats(*b)], rtol=1e-4, atol=1e-2)


def test_einsum_of_several_inputs_goes_by_pairs() -> None:
    shapes = [(20, 30), (30, 40), (40, 10), (10,)]
    check(op("Einsum", equation="ab,bc,cd,d->a"), [floats(*s) for s in shapes], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_picking(axis: int) -> None:
    x = floats(9, 11, 50)
    check(op("Gather", axis=axis), [x, indices(x.shape[axis], 7, 5)])
    check(op("GatherElements", axis=axis), [x, indices(x.shape[axis], 9, 11, 50)])
    check(op("GatherND"), [x, indices(9, 13, 4, axis + 1)])


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_writing_twice_to_one_place(reduction: str) -> None:
    x = floats(9, 11, 50)
    for axis in range(3):
        at = indices(x.shape[axis], 9, 11, 50) // 3
        check(op("ScatterElements", axis=axis, reduction=reduction), [x, at, floats(9, 11, 50)], rtol=1e-4)
    check(op("ScatterND", reduction=reduction), [x, indices(9, 30, 1), floats(30, 11, 50)], rtol=1e-4)
    check(op("ScatterND", reduction=reduction), [x, indices(9, 6, 40, 2), floats(6, 40, 50)], rtol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("sizes", [(74, 82), (111, 41), (20, 13)])
def test_resize(mode: str, sizes: tuple[int, int]) -> None:
    empty = np.zeros(0, np.float32)
    for coordinates in ("half_pixel", "align_corners", "asymmetric"):
        resize = op("Resize", mode=mode, coordinate_transformation_mode=coordinates, nearest_mode="floor")
        check(resize, [X], empty, empty, np.array([3, 5, *sizes]), rtol=1e-4)
    if mode != "nearest":
        check(op("Resize", mode=mode, antialias=True), [X], empty, empty, np.array([3, 5, *sizes]), rtol=1e-4)


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_repeated_pixels(factor: int) -> None:
    """Nearest by a whole number of times reads without computing coordinates."""
    scales = np.array([1, 1, factor, factor], np.float32)
    for coordinates in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric"):
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            resize = op("Resize", coordinate_transformation_mode=coordinates, nearest_mode=nearest)
            check(resize, [X], np.zeros(0, np.float32), scales)


def test_places_of_maxima() -> None:
    x = floats(2, 3, 20, 21)
    maxima = op("MaxPool", kernel_shape=(2, 3), strides=(2, 3), outputs=2).apply([const(x)])
    y, at = interpret(Graph([], list(maxima)), [])
    check(op("MaxUnpool", kernel_shape=(2, 3), strides=(2, 3)), [y, at])


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        (op("Gather"), [floats(4, 3), np.array([0, 4])]),
        (op("Gather"), [floats(4, 3), np.array([-5, 0])]),
        (op("GatherElements"), [floats(4, 3), np.array([[0, 4, 1]])]),
        (op("GatherND"), [floats(4, 3), np.array([[0, 3]])]),
        (op("ScatterElements"), [floats(4, 3), np.array([[0, -5, 1]]), floats(1, 3)]),
        (op("ScatterND", reduction="add"), [floats(4, 3), np.array([[4]]), floats(1, 3)]),
        (op("TensorScatter"), [floats(2, 4, 3), floats(2, 2, 3), np.array([0, 3])]),
        (op("ReverseSequence"), [floats(4, 3), np.array([0, 5, 1])]),
        (op("MaxUnpool", kernel_shape=(2,)), [floats(1, 1, 2), np.array([[[0, -1]]])]),
    ],
    ids=lambda x: x.name if isinstance(x, Op) else "",
)
def test_an_index_outside_fails(node: Op, inputs: list[Array]) -> None:
    graph = graph_of(node, inputs, [])
    assert why_not(graph.nodes[-1], LlvmBackend().target) is None
    with pytest.raises(ExecutionError):
        LlvmBackend().compile(graph, Options()).run(list(inputs))


@pytest.mark.parametrize(("winograd", "times"), [(False, 1), (True, 4)])  # of 9 taps come 36
def test_a_weight_is_kept_once_in_the_layout_that_is_read(winograd: bool, times: int) -> None:
    w = floats(96, 64, 3, 3)
    graph = graph_of(op("Conv"), [floats(1, 64, 12, 12)], [w])
    (compiled,) = LlvmBackend(winograd=winograd).compile(graph, Options()).signatures.values()
    (program,) = [r.program for r in compiled.regions if r.program is not None]
    assert times * w.nbytes <= program.constants.nbytes < 1.05 * times * w.nbytes
