"""Weights that are set aside before protobuf reads a model: the graph is the same, whatever the bytes are."""

from __future__ import annotations

import os
import random
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import model, node, raw_tensor

from graphc.errors import ModelError
from graphc.frontends.onnx import aside, load, source
from graphc.frontends.onnx.aside import MIN_BYTES, set_aside
from graphc.frontends.onnx.contents import FileContents, copies
from graphc.ops.base import Constant
from graphc.text import format_graph

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((33, 40), np.float32),
    "odd": RNG.integers(-9, 9, 5001, np.int8),  # what follows it is not aligned
    "double": RNG.standard_normal((3, 200)),
    "small": np.float32([1, 2]),
    "half": RNG.standard_normal((50, 51)).astype(np.float16),
}


def proto(**more: TensorProto) -> onnx.ModelProto:
    weights = {**WEIGHTS, **more}
    nodes = [node("Identity", name, f"y{i}") for i, name in enumerate(weights)]
    return model(nodes, [], " ".join(f"y{i}" for i in range(len(weights))), weights=weights)


@pytest.fixture(autouse=True)
def small_models_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGE", 0)


def outcome(data: bytes) -> object:
    """The listing and the constants of what is loaded, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = load(data)
    except ModelError as e:
        return type(e), str(e)
    constants = [n.op.value for n in graph.nodes if isinstance(n.op, Constant)]
    return format_graph(graph), [(t.type, t.array.tobytes()) for t in constants]


def test_large_weights_are_set_aside_and_no_others() -> None:
    data = memoryview(proto().SerializeToString())
    rest, weights = set_aside(data)
    assert [len(w) for w in weights.values()] == [w.nbytes for w in WEIGHTS.values() if w.nbytes >= MIN_BYTES]
    assert len(rest) < len(data) - sum(map(len, weights.values()))
    left = onnx.ModelProto.FromString(bytes(rest)).graph.initializer
    assert [len(t.raw_data) for t in left] == [0 if w.nbytes >= MIN_BYTES else w.nbytes for w in WEIGHTS.values()]


def test_the_graph_is_the_same() -> None:
    whole = proto(listed=onnx.helper.make_tensor("listed", TensorProto.FLOAT, [2000], range(2000)))
    graph = load(whole.SerializeToString())
    constants = {n.name: n.op.value.array for n in graph.nodes if isinstance(n.op, Constant)}
    for name, array in WEIGHTS.items():
        assert constants[name].dtype == array.dtype
        assert constants[name].flags.aligned
        np.testing.assert_array_equal(constants[name], array)
    np.testing.assert_array_equal(constants["listed"], np.arange(2000, dtype=np.float32))
    assert format_graph(graph) == format_graph(load(whole))


@pytest.mark.parametrize("size", [5279, 5281])
def test_a_wrong_size_is_named(size: int) -> None:
    wrong = raw_tensor("w", TensorProto.FLOAT, [33, 40], bytes(size))
    with pytest.raises(ModelError, match=f"needs 5,280 bytes, has {size:,}"):
        load(proto(w=wrong).SerializeToString())


def test_a_graph_in_two_parts_is_left_to_protobuf() -> None:
    later = onnx.ModelProto()
    later.graph.name = "later"
    merged = proto().SerializeToString() + later.SerializeToString()
    assert set_aside(memoryview(merged))[1] == {}
    assert "@later" in format_graph(load(merged))


def test_of_data_given_twice_the_last_count_as_they_do_for_protobuf() -> None:
    first = raw_tensor("w", TensorProto.FLOAT, [1500], bytes(6000))
    last = TensorProto(raw_data=np.ones(1500, np.float32).tobytes())
    graph = model([node("Identity", "w", "y")], []).graph.SerializeToString()
    graph += field(5, first.SerializeToString() + last.SerializeToString())
    whole = model([], [])
    whole.ClearField("graph")
    data = whole.SerializeToString() + field(7, graph)
    assert set_aside(memoryview(data))[1] == {}
    assert load(data).nodes[0].op.value.array.tolist() == [1] * 1500


def field(number: int, content: bytes) -> bytes:
    """A field of bytes as protobuf writes it, up to 2 MiB."""
    n = len(content)
    return bytes([number << 3 | 2, n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14]) + content


def test_damaged_files_have_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of a few bytes, so that damage falls beside them too; held against protobuf reading everything."""
    data = model(
        [node("Add", "a b", "s"), node("Mul", "s c", "y")],
        [],
        weights={"a": np.float32([1, 2]), "b": np.float32([3, 4]), "c": np.float32([[1]])},
    ).SerializeToString()
    monkeypatch.setattr(aside, "MIN_BYTES", 1)
    assert len(set_aside(memoryview(data))[1]) == 3
    rng = random.Random(0)
    kinds = set()
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(damaged))
            end = at + rng.randrange(3)
            damaged[at:end] = rng.choice((b"", bytes([rng.randrange(256)]), rng.randbytes(2)))
        monkeypatch.setattr(source, "LARGE", 1 << 40)
        expected = outcome(bytes(damaged))
        monkeypatch.setattr(source, "LARGE", 0)
        assert outcome(bytes(damaged)) == expected
        kinds.add(expected[0] if isinstance(expected[0], type) else "loaded")
    assert "loaded" in kinds
    assert len(kinds) > 2


def test_a_file_is_read_to_where_its_weights_belong(tmp_path: Path) -> None:
    """Its bytes and their copies are never in memory at one time."""
    large = RNG.standard_normal(1 << 20, np.float32)
    path = tmp_path / "model.onnx"
    onnx.save(proto(large=onnx.numpy_helper.from_array(large, "large")), path)
    tracemalloc.start()
    try:
        graph = load(path)
        assert tracemalloc.get_traced_memory()[1] < 1.25 * path.stat().st_size
    finally:
        tracemalloc.stop()
    constants = {n.name: n.op.value.array for n in graph.nodes if isinstance(n.op, Constant)}
    for name, array in {**WEIGHTS, "large": large}.items():
        np.testing.assert_array_equal(constants[name], array)


@pytest.mark.parametrize("at", [20, 1 << 16])
def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path, at: int) -> None:
    path = tmp_path / "model"
    path.write_bytes(bytes(1 << 17))
    with open(path, "rb") as file:
        data = FileContents(file, 1 << 17)
        os.truncate(path, at)
        with pytest.raises(OSError, match="became shorter"):
            data.read(0, memoryview(bytearray(1 << 17)))
        with pytest.raises(OSError, match="became shorter"):
            data[at]


def test_the_contents_of_a_file_are_like_a_memoryview(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = RNG.integers(0, 256, 100_000, np.uint8).tobytes()
    (tmp_path / "model").write_bytes(expected)
    for has in (True, False):
        if not has:
            monkeypatch.delattr(os, "preadv", raising=False)  # as on Windows
        with open(tmp_path / "model", "rb") as file:
            data = FileContents(file, len(expected))
            assert len(data) == len(expected)
            assert data[:] == expected
            for at in (0, 99_999, 50_000, 16_384, 16_383):
                assert data[at] == expected[at]
                assert data[at : at + 20] == expected[at : at + 20]
            assert data[99_999:5] == data[100_000:] == b""
            parts = copies(data, [(7, 70_007), (99_999, 100_000), (5, 5)])
            assert [part.tobytes() for part in parts] == [expected[7:70_007], expected[-1:], b""]
            assert all(part.ctypes.data % 64 == 0 for part in parts if part.size)
            with pytest.raises(IndexError):
                data[100_000]
