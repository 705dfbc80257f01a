"""Tensors in models: data that do not fit, sizes that lie, every dtype. Numbers are rows of the threat table."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import info, model, node, raw_tensor, with_weight

from graphc.errors import ExecutionError, GraphcError, InvalidModel, ResourceLimit, ShapeError
from graphc.frontends.onnx import load, save
from graphc.interpret import interpret
from graphc.types import DTYPES, DType, dtype_of


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails when the block takes more than 30 MB or 5 seconds."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
        assert time.monotonic() - start < 5
    finally:
        tracemalloc.stop()


def weight(tensor: TensorProto) -> np.ndarray:
    """What the initialiser `tensor` is after loading."""
    (constant,) = load(with_weight(tensor)).constants()
    array: np.ndarray = constant.op.value.array  # type: ignore[attr-defined]
    return array


def sparse(dims: list[int], values: list[float], indices: object) -> onnx.SparseTensorProto:
    flat = np.asarray(indices, np.int64)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "w"), numpy_helper.from_array(flat, "i"), dims
    )


def with_sparse(tensor: onnx.SparseTensorProto) -> onnx.ModelProto:
    found = model([node("Identity", "w", "y")], [])
    found.graph.sparse_initializer.append(tensor)
    return found


# -- wrong data -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("tensor", "message"), [
    (raw_tensor("w", 1, [2], b"\0" * 7), "needs 8 bytes, has 7"),
    (raw_tensor("w", 1, [2], b"\0" * 9), "needs 8 bytes, has 9"),
    (raw_tensor("w", 1, [2], b""), "needs 8 bytes, has 0"),
    (raw_tensor("w", 7, [3], b"\0" * 16), "needs 24 bytes, has 16"),
    (raw_tensor("w", TensorProto.INT4, [5], b"\0" * 2), "needs 3 bytes, has 2"),
    (raw_tensor("w", TensorProto.UINT2, [5], b"\0" * 3), "needs 2 bytes, has 3"),
    (raw_tensor("w", TensorProto.FLOAT6E2M3, [5], b"\0" * 5), "needs 4 bytes, has 5"),
    (raw_tensor("w", TensorProto.STRING, [1], b"a"), "strings cannot be in raw_data"),
])  # fmt: skip
def test_23_raw_data_of_another_length(tensor: TensorProto, message: str) -> None:
    with pytest.raises(InvalidModel, match=f"tensor 'w': .*{message}"):
        load(with_weight(tensor))


@pytest.mark.parametrize(("dims", "error", "message"), [
    ([-2], InvalidModel, "negative size"), ([2, -1], InvalidModel, "negative size"),
    ([10**12], ResourceLimit, "4,000,000,000,000"), ([2**32, 2**32], ResourceLimit, "max_tensor_bytes"),
    ([2**62, 2**62, 4], ResourceLimit, "max_tensor_bytes"), ([10**9], InvalidModel, "has no data"),
])  # fmt: skip
def test_24_sizes_that_lie(dims: list[int], error: type[Exception], message: str) -> None:
    with little_memory(), pytest.raises(error, match=message):
        load(with_weight(raw_tensor("w", 1, dims)))


@pytest.mark.parametrize(("tensor", "message"), [
    (raw_tensor("w", 1, [3], float_data=[1.0]), "needs 3 values, has 1"),
    (raw_tensor("w", 1, [1], float_data=[1.0, 2.0]), "needs 1 values, has 2"),
    (raw_tensor("w", 14, [2], float_data=[1.0, 2.0, 3.0]), "needs 4 values, has 3"),
    (raw_tensor("w", TensorProto.INT4, [5], int32_data=[0, 0]), "needs 3 values, has 2"),
    (raw_tensor("w", 1, [1], b"\0" * 4, float_data=[1.0]), "has its data twice: in float_data and in raw_data"),
    (raw_tensor("w", 1, [1], float_data=[1.0], int32_data=[1]), "has its data twice"),
    (raw_tensor("w", 1, [1], int64_data=[1]), "data are in int64_data, expected float_data or raw_data"),
    (raw_tensor("w", TensorProto.UINT8, [1], int32_data=[256]), "value 256 at 0 does not fit u8"),
    (raw_tensor("w", TensorProto.FLOAT16, [1], int32_data=[70000]), "value 70000 at 0 does not fit f16"),
])  # fmt: skip
def test_25_typed_fields(tensor: TensorProto, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        load(with_weight(tensor))


def test_25_segments() -> None:
    tensor = raw_tensor("w", 1, [1], b"\0" * 4)
    tensor.segment.begin = 0
    with pytest.raises(InvalidModel, match="segment"):
        load(with_weight(tensor))


@pytest.mark.parametrize("dtype", [99, 0, -1])
def test_26_dtype_that_does_not_exist(dtype: int) -> None:
    with pytest.raises(InvalidModel, match=f"element type {dtype} of tensor 'w' does not exist"):
        load(with_weight(raw_tensor("w", dtype, [1], b"\0")))


def test_26_many_small_elements_in_one_byte() -> None:
    with little_memory(), pytest.raises(InvalidModel, match="needs 350,000,000 bytes, has 1"):
        load(with_weight(raw_tensor("w", TensorProto.INT4, [700_000_000], b"\0")))


def test_48_strings_that_are_not_utf8() -> None:
    with pytest.raises(InvalidModel, match=r"string 1 is not UTF-8: b'\\xff'"):
        load(with_weight(raw_tensor("w", TensorProto.STRING, [2], string_data=[b"ok", b"\xff"])))


def test_50_rank_of_a_tensor() -> None:
    with pytest.raises(ResourceLimit, match="max_rank"):
        load(with_weight(raw_tensor("w", 1, [1] * 300, b"\0" * 4)))


# -- sparse tensors ---------------------------------------------------------------------------------------------------
def test_52_sparse_initialisers() -> None:
    for indices in ([1, 5], [[0, 1], [1, 2]]):
        graph = load(with_sparse(sparse([2, 3], [7, 8], indices)))
        np.testing.assert_array_equal(interpret(graph, [])[0], [[0, 7, 0], [0, 0, 8]])


@pytest.mark.parametrize(("tensor", "message"), [
    (sparse([2, 3], [7], [6]), r"index 6 at 0 is out of range for \[2, 3\]"),
    (sparse([2, 3], [7], [-1]), "index -1 at 0 is out of range"),
    (sparse([2, 3], [7, 8], [[0, 1], [0, 3]]), r"index \[0, 3\] at 1 is out of range"),
    (sparse([2, 3], [7, 8], [5, 1]), "index 1 is not greater"),
    (sparse([2, 3], [7, 8], [1, 1]), "index 1 is not greater"),
    (sparse([2, 3], [7, 8], [1]), r"indices are \[1\], expected \[2\] or \[2, 2\]"),
    (sparse([2, -3], [7], [1]), "negative size"),
    (sparse([2**32, 2**32], [7], [1]), "max_tensor_bytes"),
    (sparse([2**62, 2**62, 2**62], [7], [[1, 1, 1]]), "max_tensor_bytes"),
])  # fmt: skip
def test_52_sparse_faults(tensor: onnx.SparseTensorProto, message: str) -> None:
    with little_memory(), pytest.raises(GraphcError, match=message):
        load(with_sparse(tensor))


def test_52_sparse_constant() -> None:
    proto = onnx.NodeProto(op_type="Constant", output=["y"])
    proto.attribute.append(helper.make_attribute("sparse_value", sparse([4], [7], [2])))
    np.testing.assert_array_equal(interpret(load(model([proto], [])), [])[0], [0, 0, 7, 0])
    proto.attribute[0].sparse_tensor.CopyFrom(sparse([4], [7], [9]))
    with pytest.raises(InvalidModel, match="index 9 at 0 is out of range"):
        load(model([proto], []))


# -- every dtype ------------------------------------------------------------------------------------------------------
def example(dtype: DType) -> np.ndarray:
    if dtype.kind == "string":
        return np.array([["a", "ü"], ["", "c"], ["b c", "d"]], object)
    bits = np.random.default_rng(0).integers(0, 200, (3, 5))
    if dtype.kind == "bool":
        return bits > 100
    if dtype.is_integer:
        return (bits % (1 << min(dtype.bits - 1, 7))).astype(np.int64).astype(dtype.numpy)
    return (bits / 64 + 0.5).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "field"])
def test_every_dtype_from_both_kinds_of_fields(dtype: DType, raw: bool) -> None:
    x = example(dtype)
    if raw:
        tensor = numpy_helper.from_array(x, "w")
    else:
        tensor = helper.make_tensor("w", dtype.onnx, x.shape, x.reshape(-1))
    got = weight(tensor)
    assert got.dtype == dtype.numpy
    np.testing.assert_array_equal(got.astype(x.dtype), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_every_dtype_survives_saving(dtype: DType) -> None:
    x = example(dtype)
    saved = save(load(model([], [], [info("w", x.shape, dtype.onnx)], weights={"w": numpy_helper.from_array(x, "w")})))
    np.testing.assert_array_equal(numpy_helper.to_array(saved.graph.initializer[0]), x)
    onnx.checker.check_model(saved)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_empty_and_scalar_tensors(dtype: DType) -> None:
    assert weight(raw_tensor("w", dtype.onnx, [0, 3])).shape == (0, 3)
    scalar = example(dtype).reshape(-1)[:1].reshape(())
    assert weight(numpy_helper.from_array(scalar, "w")).shape == ()


@given(st.data())
def test_packed_elements_are_onnx_s(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([d for d in DTYPES if 0 < d.bits < 8]))
    n = data.draw(st.integers(0, 20))
    codes = data.draw(st.lists(st.integers(0, (1 << dtype.bits) - 1), min_size=n, max_size=n))
    x = np.array(codes, np.uint8).view(dtype.numpy)
    tensor = numpy_helper.from_array(x, "w")
    np.testing.assert_array_equal(weight(tensor).view(np.uint8), numpy_helper.to_array(tensor).view(np.uint8))


def test_bool_bytes_other_than_one_are_true() -> None:
    got = weight(raw_tensor("w", TensorProto.BOOL, [3], b"\x00\x02\xff"))
    assert got.view(np.uint8).tolist() == [0, 1, 1]


def test_dtypes_know_each_other() -> None:
    assert all(dtype_of(d.numpy) is d for d in DTYPES if d.kind != "string")


# -- operators that make large or impossible tensors from constants ---------------------------------------------------
def shaped(op: str, *constants: object, x: tuple[int, ...] = (2,), **attributes: object) -> onnx.ModelProto:
    """y = op(x, *constants)."""
    weights = {f"c{i}": np.asarray(c) for i, c in enumerate(constants)}
    return model([node(op, " ".join(["x", *weights]), "y", **attributes)], [info("x", x)], weights=weights)


HUGE = np.array([2**40], np.int64)


def run(proto: onnx.ModelProto) -> object:
    """The outputs for zeros."""
    graph = load(proto)
    return interpret(graph, [np.zeros([int(d) for d in v.shape or ()], np.float32) for v in graph.inputs])


@pytest.mark.parametrize("proto", [
    model([node("ConstantOfShape", "s", "y")], [], weights={"s": np.array([2**20, 2**20], np.int64)}),
    shaped("Expand", np.array([2**20, 2**20, 2], np.int64)),
    shaped("Tile", HUGE), shaped("Pad", np.array([0, 2**40], np.int64)),
    model([node("Range", "a b c", "y")], [], weights={"a": np.int64(0), "b": np.int64(2**60), "c": np.int64(1)}),
], ids=["ConstantOfShape", "Expand", "Tile", "Pad", "Range"])  # fmt: skip
def test_27_29_terabytes(proto: onnx.ModelProto) -> None:
    with little_memory(), pytest.raises(ResourceLimit, match=r"is [0-9,]{17,} bytes, the limit is"):
        run(proto)


@pytest.mark.parametrize("proto", [
    shaped("Expand", np.array([-3], np.int64)), shaped("Tile", np.array([-1], np.int64)),
    model([node("ConstantOfShape", "s", "y")], [], weights={"s": np.array([-4], np.int64)}),
    shaped("Reshape", np.array([-1, -1], np.int64)), shaped("Reshape", np.array([3], np.int64)),
    shaped("Reshape", np.array([2**62, 4], np.int64)),
], ids=["Expand", "Tile", "ConstantOfShape", "two -1", "wrong count", "overflow"])  # fmt: skip
def test_28_30_impossible_shapes(proto: onnx.ModelProto) -> None:
    with little_memory(), pytest.raises((ShapeError, ResourceLimit)):
        run(proto)


def test_29_range_without_end() -> None:
    proto = model([node("Range", "a b c", "y")], [], weights={"a": np.int64(0), "b": np.int64(9), "c": np.int64(0)})
    with pytest.raises(GraphcError, match=r"Range 'y'.*(delta|step)"):
        run(proto)


@pytest.mark.parametrize("index", [99, -3])
def test_31_index_out_of_range(index: int) -> None:
    with pytest.raises(GraphcError, match=rf"index {index}.*-2\.\.1"):
        run(shaped("Gather", np.array([index], np.int64)))


@pytest.mark.parametrize("attributes", [
    {"strides": [0, 1]}, {"group": 0}, {"group": 3}, {"pads": [2**40] * 4}, {"dilations": [0, 1]}, {"strides": [1]},
    {"kernel_shape": [3]}, {"pads": [-1, 0, 0, 0]},
], ids=str)  # fmt: skip
def test_32_convolutions(attributes: dict[str, object]) -> None:
    x, w = info("x", (1, 4, 8, 8)), info("w", (4, 4, 3, 3))
    proto = model([node("Conv", "x w", "y", **attributes)], [x, w])
    with little_memory(), pytest.raises(GraphcError):
        run(proto)


def test_32_convolution_of_another_rank() -> None:
    with pytest.raises(ShapeError, match="Conv"):
        load(model([node("Conv", "x w", "y")], [info("x", (1, 4, 8)), info("w", (4, 4, 3, 3))]))


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_33_integer_division_by_a_constant_zero(op: str) -> None:
    proto = model([node(op, "a b", "y")], [], weights={"a": np.array([1], np.int32), "b": np.array([0], np.int32)})
    with pytest.raises(ExecutionError, match=f"{op} 'y'.*zero"):
        run(proto)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_34_smallest_integer_by_minus_one_wraps(dtype: type) -> None:
    least = np.array([np.iinfo(dtype).min], dtype)
    proto = model([node("Div", "a b", "y")], [], weights={"a": least, "b": np.array([-1], dtype)})
    np.testing.assert_array_equal(run(proto)[0], least)  # type: ignore[index]


@pytest.mark.parametrize("proto", [
    shaped("SplitToSequence", np.int64(0)), shaped("Einsum", equation="i->j"), shaped("Einsum", equation="..,->("),
    model([node("BatchNormalization", "x s s s v", "y")], [info("x", (1, 4, 2, 2))],
          weights={"s": np.ones(4, np.float32), "v": np.ones(3, np.float32)}),
], ids=["SplitToSequence", "Einsum", "Einsum syntax", "BatchNormalization"])  # fmt: skip
def test_35_others(proto: onnx.ModelProto) -> None:
    with pytest.raises(GraphcError):
        run(proto)


def test_50_shape_vector_of_great_length() -> None:
    tensor = raw_tensor("s", TensorProto.INT64, [2**40])
    with little_memory(), pytest.raises(GraphcError):
        load(model([node("Reshape", "x s", "y")], weights={"s": tensor}))
    with little_memory(), pytest.raises(ResourceLimit, match="max_rank"):
        run(model([node("Expand", "x s", "y")], weights={"s": np.ones(70, np.int64)}))
