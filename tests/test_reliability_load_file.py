"""Model files that are something else, broken, or of a version nobody knows. Numbers are rows of the threat table."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import info, model, node, relu

from graphc.errors import GraphcError, InvalidModel, ResourceLimit, UnsupportedVersion
from graphc.frontends.onnx import ModelWarning, load
from graphc.limits import Limits

GOOD = relu().SerializeToString()


def write(folder: Path, data: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_1_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"file is empty \(0 bytes\)"):
        load(write(tmp_path, b""))


@pytest.mark.parametrize("data", [GOOD[:1], GOOD[: len(GOOD) // 2], GOOD[:-1]], ids=["one", "half", "all-but-one"])
def test_2_truncated(data: bytes) -> None:
    with pytest.raises(InvalidModel, match="truncated protobuf"):
        load(data)


def test_2_every_truncation_is_an_honest_error() -> None:
    for n in range(len(GOOD)):
        with pytest.raises(InvalidModel):
            load(GOOD[:n])


def test_2_every_flipped_byte_is_an_honest_error_or_a_model() -> None:
    for at in range(len(GOOD)):
        for flip in (0x01, 0x80, 0xFF):
            with contextlib.suppress(GraphcError):
                load(GOOD[:at] + bytes([GOOD[at] ^ flip]) + GOOD[at + 1 :])


@pytest.mark.parametrize(
    "data", [b"hello, this is text\n", b"<html>", b'{"a": 1}', b"\n\n", np.random.default_rng(0).bytes(500), b"a"]
)
def test_3_text_and_random_bytes(data: bytes) -> None:
    with pytest.raises(InvalidModel, match=r"not an ONNX file|truncated protobuf"):
        load(data)


def test_3_says_how_it_starts() -> None:
    with pytest.raises(InvalidModel, match=r"not an ONNX file \(starts with b'hello'\)"):
        load(b"hello")


class Bomb:
    """Unpickling this would fail the test."""

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("unpickled",)


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", GOOD)
    return buffer.getvalue()


FORMATS = {
    "zip": a_zip(),
    "gzip": gzip.compress(GOOD, mtime=0),
    **{f"pickle-{protocol}": pickle.dumps(Bomb(), protocol) for protocol in (2, 3, 4, 5)},
}


@pytest.mark.parametrize("format", FORMATS)
def test_4_other_formats_are_named(format: str) -> None:
    with pytest.raises(InvalidModel, match=f"not an ONNX file but .*{format.partition('-')[0]}"):
        load(FORMATS[format])


def test_5_huge_declared_length_allocates_nothing() -> None:
    tracemalloc.start()
    with pytest.raises(InvalidModel, match=r"truncated protobuf.*needs 34,359,738,3"):
        load(b"\x3a\xff\xff\xff\xff\x7f" + b"\0" * 100)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_6_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="no such file") as caught:
        load(tmp_path / "none.onnx")
    assert isinstance(caught.value, FileNotFoundError)


def test_6_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="is a directory"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_6_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    result: list[BaseException] = []

    def attempt() -> None:
        try:
            load(tmp_path / "pipe.onnx")
        except GraphcError as e:
            result.append(e)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(5)
    assert result
    assert "not a regular file" in str(result[0])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_6_no_permission(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(InvalidModel, match="permission denied"):
        load(path)


def test_6_other_sources() -> None:
    with pytest.raises(InvalidModel, match="expected a path"):
        load(3)  # type: ignore[arg-type]
    for name in ("a\0b.onnx", "\ud800.onnx"):
        with pytest.raises(InvalidModel, match="not a file name"):
            load(name)
    with pytest.raises(InvalidModel, match='mode "rb"'):
        load(io.StringIO("text"))  # type: ignore[arg-type]


def test_6_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xff\xfe")
    with open(path, encoding="utf-8") as text, pytest.raises(InvalidModel, match='mode "rb"'):
        load(text)  # type: ignore[arg-type]
    with open(path, "rb") as closed:
        pass
    with pytest.raises(InvalidModel, match="cannot be read"):
        load(closed)


def test_6_paths_that_are_bytes(tmp_path: Path) -> None:
    class Bytes:
        def __fspath__(self) -> bytes:
            return os.fsencode(write(tmp_path, GOOD))

    assert load(Bytes()).nodes  # type: ignore[arg-type]


def test_6_too_large_a_file(tmp_path: Path) -> None:
    small = Limits(max_file_bytes=10)
    for source in (GOOD, write(tmp_path, GOOD), io.BytesIO(GOOD)):
        with pytest.raises(ResourceLimit, match="max_file_bytes"):
            load(source, limits=small)


@pytest.mark.parametrize(("field", "message"), [
    ("graph", "no graph"), ("opset_import", "no opset_import"), ("ir_version", "no ir_version"),
])  # fmt: skip
def test_7_missing_field(field: str, message: str) -> None:
    broken = relu()
    broken.ClearField(field)
    with pytest.raises(InvalidModel, match=message):
        load(broken)


def test_7_old_models_have_no_opset() -> None:
    old = model([node("Relu", "x", "y")])
    old.ir_version = 2
    del old.opset_import[:]
    assert [n.op.name for n in load(old).nodes] == ["Relu"]


def test_8_versions_of_the_future() -> None:
    future = relu()
    future.ir_version = 99
    with pytest.raises(UnsupportedVersion, match=r"ir_version 99, supported 1–\d+"):
        load(future)
    future = relu()
    future.opset_import[0].version = 9999
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(UnsupportedVersion, match=f"model 9999, supported 1–{newest}.*convert"):
        load(future)


@pytest.mark.parametrize("version", [-1, 0])
def test_9_impossible_opset(version: int) -> None:
    broken = relu()
    broken.opset_import[0].version = version
    with pytest.raises(InvalidModel, match=f"is {version}, expected 1 or more"):
        load(broken)


@pytest.mark.parametrize("spelling", ["", "ai.onnx"])
def test_9_opset_given_twice(spelling: str) -> None:
    broken = relu()
    broken.opset_import.append(helper.make_opsetid(spelling, 13))
    with pytest.raises(InvalidModel, match="twice"):
        load(broken)


@pytest.mark.parametrize("spelling", ["", "ai.onnx"])
def test_opset_given_twice_at_one_version(spelling: str) -> None:
    doubled = relu()
    doubled.opset_import.append(helper.make_opsetid(spelling, doubled.opset_import[0].version))
    assert str(load(doubled)) == str(load(relu()))


def test_51_no_outputs_empty_name_doubled_metadata() -> None:
    empty = relu()
    del empty.graph.output[:]
    with pytest.raises(InvalidModel, match="no outputs"):
        load(empty)
    nameless = relu()
    nameless.graph.name = ""
    assert load(nameless).name == ""
    doubled = relu()
    for _ in range(2):
        doubled.metadata_props.add(key="author", value="x")
    with pytest.warns(ModelWarning, match="metadata_props"):
        load(doubled)
    with pytest.raises(InvalidModel, match="metadata_props"):
        load(doubled, strict=True)


def test_75_everything_a_model_can_be(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with path.open("rb") as file:
        for source in (relu(), GOOD, bytearray(GOOD), memoryview(GOOD), path, str(path), file, io.BytesIO(GOOD)):
            assert [n.name for n in load(source).nodes] == ["y"]  # type: ignore[arg-type]


def test_39_a_chain_of_50_000_nodes_loads_in_linear_time() -> None:
    nodes = [node("Relu", f"v{i}", f"v{i + 1}") for i in range(50_000)]
    data = model(nodes, [info("v0")], "v50000").SerializeToString()
    start = time.monotonic()
    assert len(load(data).nodes) == 50_000
    assert time.monotonic() - start < 60


def test_49_control_characters_and_long_names() -> None:
    long = "n" * 100_000
    odd = model([node("Relu", "x", "t\x1b[31m", name=long), node("Relu", "t\x1b[31m", "y")])
    graph = load(odd)
    assert graph.nodes[0].name == long
    broken = model([node("Relu", "x", "t", name="a\x1b[31mb\x07"), node("MatMul", "t t", "y", name=long)])
    broken.graph.node[0].input[0] = "\x1b[2J"
    with pytest.raises(InvalidModel) as caught:
        load(broken)
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[2J" in str(caught.value)


def test_names_that_are_not_utf8() -> None:
    data = model([node("Relu", "x", "y", name="abcd")]).SerializeToString().replace(b"abcd", b"\xff\xfe\xfd\xfc")
    with pytest.raises(InvalidModel, match="not UTF-8"):
        load(data)
