"""External data: nothing outside the model's folder is ever read. Numbers are rows of the threat table."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, node, raw_tensor

from graphc.equality import graph_equal
from graphc.errors import ExternalDataError, GraphcError
from graphc.frontends.onnx import ModelWarning, load, save
from graphc.interpret import interpret

DATA = np.arange(4, dtype=np.float32)


def external(location: str, dtype: int = TensorProto.FLOAT, dims: tuple[int, ...] = (4,), **more: str) -> TensorProto:
    tensor = raw_tensor("w", dtype, dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def as_initializer(tensor: TensorProto) -> onnx.ModelProto:
    return model([node("Identity", "w", "y")], [], weights={"w": tensor})


def as_sparse_values(tensor: TensorProto) -> onnx.ModelProto:
    proto = model([node("Identity", "w", "y")], [])
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [4]))
    return proto


def as_sparse_indices(tensor: TensorProto) -> onnx.ModelProto:
    proto = model([node("Identity", "w", "y")], [])
    tensor.data_type = TensorProto.INT64
    values = helper.make_tensor("w", TensorProto.FLOAT, [4], DATA)
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, tensor, [4]))
    return proto


def as_attribute(tensor: TensorProto) -> onnx.ModelProto:
    return model([node("Constant", "", "y", value=tensor)], [])


def as_sparse_attribute(tensor: TensorProto) -> onnx.ModelProto:
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    return model([node("Constant", "", "y", sparse_value=helper.make_sparse_tensor(tensor, indices, [4]))], [])


def in_a_body(tensor: TensorProto) -> onnx.ModelProto:
    body = helper.make_graph([node("Neg", "w", "b")], "b", [], [onnx.ValueInfoProto(name="b")], initializer=[tensor])
    condition = node("Constant", "", "c", value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
    return model([condition, node("If", "c", "y", then_branch=body, else_branch=body)], [])


def in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    inner = [node("Constant", "", "o", value=tensor)]
    function = helper.make_function("d", "F", [], ["o"], inner, [helper.make_opsetid("", 21)])
    return model([node("F", "", "y", domain="d")], [], functions=[function], domains={"d": 1})


PLACES = [
    as_initializer,
    as_sparse_values,
    as_sparse_indices,
    as_attribute,
    as_sparse_attribute,
    in_a_body,
    in_a_function,
]


def put(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with weights in and beside it."""
    inside = tmp_path / "model"
    (inside / "sub").mkdir(parents=True)
    (inside / "w.bin").write_bytes(DATA.tobytes())
    (inside / "sub" / "w.bin").write_bytes(DATA.tobytes())
    (tmp_path / "secret.bin").write_bytes(DATA.tobytes())
    return inside


@pytest.mark.parametrize("location", ["w.bin", "sub/w.bin", "./w.bin"])
@pytest.mark.parametrize("place", [p for p in PLACES if p is not as_sparse_indices], ids=lambda p: p.__name__)
def test_good_external_data(folder: Path, place: object, location: str) -> None:
    (result,) = interpret(load(put(folder, place(external(location)))), [])  # type: ignore[operator]
    np.testing.assert_array_equal(np.abs(result), DATA)


def test_offset_and_length(folder: Path) -> None:
    for more in ({"offset": "4", "length": "12"}, {"offset": "4"}):
        graph = load(put(folder, as_initializer(external("w.bin", dims=(3,), **more))))
        np.testing.assert_array_equal(interpret(graph, [])[0], DATA[1:])
    packed = as_initializer(external("w.bin", TensorProto.INT4, (5,), length="3"))
    assert interpret(load(put(folder, packed)), [])[0].shape == (5,)


def test_read_when_first_used(folder: Path) -> None:
    big = np.arange(10_000, dtype=np.float32)
    (folder / "w.bin").write_bytes(big.tobytes())
    graph = load(put(folder, as_initializer(external("w.bin", dims=(10_000,)))))
    tensor = graph.constants()[0].op.value  # type: ignore[attr-defined]
    assert "array" not in vars(tensor)
    np.testing.assert_array_equal(tensor.array, big)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__)
@pytest.mark.parametrize("location", [
    "../secret.bin", "sub/../../secret.bin", "/etc/passwd", "/dev/zero", "", ".", "sub", "sub/", "a\0b", "C:w.bin",
    "C:/w.bin", "..\\secret.bin", "sub\\w.bin", "..", "missing.bin", "w.bin\n",
])  # fmt: skip
def test_41_44_47_places_outside(folder: Path, place: object, location: str) -> None:
    proto = place(external(location))  # type: ignore[operator]
    with pytest.raises(ExternalDataError):
        load(put(folder, proto))


def test_41_absolute_path_into_the_folder(folder: Path) -> None:
    with pytest.raises(ExternalDataError, match="absolute"):
        load(put(folder, as_initializer(external(str(folder / "w.bin")))))


def test_42_links(folder: Path) -> None:
    (folder / "inner.bin").symlink_to("w.bin")
    (folder / "outer.bin").symlink_to("../secret.bin")
    (folder / "up").symlink_to("..")
    (folder / "deep").symlink_to("sub")
    (folder / "loop").symlink_to("loop")
    for good in ("inner.bin", "deep/w.bin"):
        np.testing.assert_array_equal(interpret(load(put(folder, as_initializer(external(good)))), [])[0], DATA)
    for bad in ("outer.bin", "up/secret.bin", "up/model/../secret.bin", "loop"):
        with pytest.raises(ExternalDataError):
            load(put(folder, as_initializer(external(bad))))


def test_42_the_model_s_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    put(folder, as_initializer(external("w.bin")))
    (tmp_path / "alias").symlink_to(folder)
    np.testing.assert_array_equal(interpret(load(tmp_path / "alias" / "model.onnx"), [])[0], DATA)


def test_43_hard_links(folder: Path) -> None:
    os.link(folder.parent / "secret.bin", folder / "hard.bin")
    path = put(folder, as_initializer(external("hard.bin")))
    with pytest.raises(ExternalDataError, match=r"2 hard links.*allow_links"):
        load(path)
    np.testing.assert_array_equal(interpret(load(path, allow_links=True), [])[0], DATA)


def test_44_short_file_and_pipe(folder: Path) -> None:
    (folder / "short.bin").write_bytes(b"\0" * 15)
    with pytest.raises(ExternalDataError, match="has 15 bytes, the tensor needs 16"):
        load(put(folder, as_initializer(external("short.bin"))))
    os.mkfifo(folder / "pipe")
    path, caught = put(folder, as_initializer(external("pipe"))), []

    def attempt() -> None:
        try:
            load(path)
        except GraphcError as e:
            caught.append(e)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(5)
    assert caught
    assert "not a regular file" in str(caught[0])


@pytest.mark.parametrize(("more", "message"), [
    ({"offset": "17"}, "has 16 bytes, the tensor needs 16 from byte 17"), ({"offset": "1"}, "from byte 1"),
    ({"length": str(2**60)}, "length is 1,152,921,504,606,846,976"), ({"length": "15"}, "length is 15"),
    ({"offset": "-1"}, "'-1', expected a non-negative"), ({"offset": "abc"}, "'abc', expected"),
    ({"length": "-16"}, "'-16'"), ({"length": "16.0"}, "'16.0'"), ({"offset": " 0"}, "' 0'"),
    ({"offset": "0x0"}, "'0x0'"),
    ({"offset": str(2**63 - 8)}, "from byte"), ({"offset": str(2**64 - 8), "length": "16"}, "expected a non-neg"),
    ({"offset": "٣"}, "expected a non-negative"), ({"length": ""}, "expected a non-negative"),
])  # fmt: skip
def test_45_offset_and_length(folder: Path, more: dict[str, str], message: str) -> None:
    with pytest.raises(ExternalDataError, match=message):
        load(put(folder, as_initializer(external("w.bin", **more))))


def test_45_a_size_that_lies(folder: Path) -> None:
    with pytest.raises(ExternalDataError, match="has 16 bytes, the tensor needs 4,000,000,000"):
        load(put(folder, as_initializer(external("w.bin", dims=(10**9,)))))


def test_46_unknown_keys_are_ignored_with_a_warning(folder: Path) -> None:
    path = put(folder, as_initializer(external("w.bin", __class__="Evil")))
    with pytest.warns(ModelWarning, match="key '__class__' is not known"):
        graph = load(path)
    np.testing.assert_array_equal(interpret(graph, [])[0], DATA)


def test_46_keys_given_twice_or_missing(folder: Path) -> None:
    twice = external("w.bin")
    twice.external_data.add(key="location", value="../secret.bin")
    with pytest.raises(ExternalDataError, match="location is given twice"):
        load(put(folder, as_initializer(twice)))
    missing = external("w.bin")
    del missing.external_data[:]
    with pytest.raises(ExternalDataError, match="empty or missing"):
        load(put(folder, as_initializer(missing)))


def test_data_inside_and_outside(folder: Path) -> None:
    both = external("w.bin")
    both.raw_data = DATA.tobytes()
    with pytest.raises(GraphcError, match="has its data twice"):
        load(put(folder, as_initializer(both)))
    unsure = external("w.bin")
    unsure.ClearField("data_location")
    with pytest.raises(GraphcError, match="data_location is not EXTERNAL"):
        load(put(folder, as_initializer(unsure)))


def test_models_without_a_folder(folder: Path) -> None:
    proto = as_initializer(external("w.bin"))
    for source in (proto, proto.SerializeToString()):
        with pytest.raises(ExternalDataError, match=r"did not come from a file.*folder="):
            load(source)
        np.testing.assert_array_equal(interpret(load(source, folder=folder), [])[0], DATA)


@pytest.mark.parametrize("change", ["truncate", "rewrite", "replace", "remove", "link"])
def test_78_a_file_that_changes_after_loading(folder: Path, change: str) -> None:
    big, file = np.arange(10_000, dtype=np.float32), folder / "w.bin"
    file.write_bytes(big.tobytes())
    os.utime(file, ns=(1, 1))
    graph = load(put(folder, as_initializer(external("w.bin", dims=(10_000,)))))
    if change == "truncate":
        os.truncate(file, 100)
    elif change == "rewrite":
        file.write_bytes(bytes(big.nbytes))
    else:
        file.unlink()
        if change == "replace":
            file.write_bytes(bytes(big.nbytes))
        elif change == "link":
            file.symlink_to("../secret.bin")
    with pytest.raises(ExternalDataError):
        interpret(graph, [])


# -- writing ----------------------------------------------------------------------------------------------------------
def weights() -> onnx.ModelProto:
    names = {f"w{i}": np.full((i + 1, 300), i, np.float32) for i in range(3)} | {"s": np.float32(2)}
    nodes = [node("Concat", "w0 w1 w2", "c", axis=0), node("Mul", "c s", "y")]
    return model(nodes, [], weights=names)


def test_saving_with_external_data(tmp_path: Path) -> None:
    graph = load(weights())
    save(graph, tmp_path / "m.onnx", external_data=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "m.onnx").stat().st_size < 1200
    onnx.checker.check_model(str(tmp_path / "m.onnx"))
    again = load(tmp_path / "m.onnx")
    assert graph_equal(graph, again)
    np.testing.assert_array_equal(interpret(again, [])[0], interpret(graph, [])[0])
    outside = [
        t.name for t in onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer if t.external_data
    ]
    assert outside == ["w0", "w1", "w2"]


def test_saving_over_what_was_loaded(tmp_path: Path) -> None:
    """Weights that are read late are read before their file is replaced."""
    path = tmp_path / "m.onnx"
    save(load(weights()), path, external_data=True)
    graph = load(path)
    save(graph, path, external_data=2000)
    assert graph_equal(load(path), load(weights()))


def test_external_data_need_a_path() -> None:
    with pytest.raises(ExternalDataError, match="need a path"):
        save(load(weights()), external_data=True)


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(GraphcError, match="cannot write"):
        save(load(weights()), tmp_path / "none" / "m.onnx")
    graph = load(weights())
    target = tmp_path / "m.onnx"
    target.mkdir()
    with pytest.raises(GraphcError, match="cannot write"):
        save(graph, target)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
