"""From what a user hands over (path, bytes, file, ModelProto) to a ModelProto, with honest errors for anything else."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError

from graphc.errors import InvalidModel, ModelError, ResourceLimit, escape
from graphc.frozen import Frozen
from graphc.limits import Limits
from graphc.types import Array

from . import wire
from .aside import set_aside
from .contents import Contents, FileContents

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | onnx.ModelProto

# What else ends up in files called .onnx: (offset, bytes at that offset, name).
_FORMATS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"), (0, b"PK\x05\x06", "a zip archive"), (0, b"\x1f\x8b", "gzip data"),
    (0, b"BZh", "bzip2 data"), (0, b"\xfd7zXZ\x00", "xz data"), (0, b"\x28\xb5\x2f\xfd", "zstandard data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (257, b"ustar", "a tar archive"), (0, b"\x89HDF\r\n", "an HDF5 file"),
    (4, b"TFL3", "a TensorFlow Lite model"), (4, b"ORTM", "an ONNX Runtime (ORT format) model"),
    (0, b"\x80\x02", "a pickle"), (0, b"\x80\x03", "a pickle"), (0, b"\x80\x04", "a pickle"),
    (0, b"\x80\x05", "a pickle"), (0, b"\x7fELF", "an ELF binary"), (0, b"\x89PNG", "a PNG image"),
    (0, b"version https://git-lfs", "a Git LFS pointer: the file itself was not fetched"),
)  # fmt: skip
_HINTS = {
    "a zip archive": "Extract it first",
    "gzip data": "Decompress it first",
    "a Git LFS pointer: the file itself was not fetched": "Run git lfs pull",
}

# How files are opened: never waiting for the other end of a pipe, and not inherited by child processes.
READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

LARGE = 1 << 20  # bytes of a model from which on its weights are read aside of protobuf
_PROTOBUF_LIMIT = (1 << 31) - 1  # protobuf's own limit on a message


class ModelFileNotFound(InvalidModel, FileNotFoundError):
    """The model file does not exist."""


class Model(Frozen):
    """What was read.

    Attributes:
        proto: the model, without the weights that are in `weights`.
        weights: initialiser number in the main graph -> its `raw_data`, for large ones.
        folder: where external data are read from; None where the model did not come from a path.
    """

    proto: onnx.ModelProto
    weights: Mapping[int, Array]
    folder: Path | None = None


def read_model(source: Source, limits: Limits) -> Model:
    """The model that `source` is.

    Raises `InvalidModel` for anything that is not an ONNX file, and `ResourceLimit` past `max_file_bytes`.
    """
    if isinstance(source, onnx.ModelProto):
        return Model(source, {})
    if isinstance(source, (bytes, bytearray, memoryview)):
        limits.check("size of the model in bytes", memoryview(source).nbytes, "max_file_bytes")
        return parse_model(memoryview(bytes(source)))
    if isinstance(source, (str, os.PathLike)):
        return read_file(Path(os.fsdecode(source)), limits)
    if not hasattr(source, "read"):
        raise InvalidModel(f"expected a path, bytes, a binary file or a ModelProto, got {type(source).__name__}")
    most = min(limits.max_file_bytes, _PROTOBUF_LIMIT)
    try:
        data = source.read(most + 1)
    except (OSError, ValueError) as e:  # ValueError: it is closed, or decodes what it reads
        raise InvalidModel(f"the file cannot be read: {e}", hint='Open it with mode "rb"') from e
    if not isinstance(data, (bytes, bytearray)):
        raise InvalidModel(f"the file gives {type(data).__name__}, expected bytes", hint='Open it with mode "rb"')
    limits.check("size of the model in bytes", len(data), "max_file_bytes")
    return parse_model(memoryview(bytes(data)))


def read_file(path: Path, limits: Limits) -> Model:
    """The model in a regular file; never waits, as opening a pipe would."""
    where = escape(str(path))
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError as e:
        raise ModelFileNotFound(f"no such file: {where}") from e
    except OSError as e:
        raise InvalidModel(f"cannot open {where}: {(e.strerror or str(e)).lower()}") from e
    except ValueError as e:  # a NUL, or a character that file names cannot have
        raise InvalidModel(f"not a file name: '{where}'") from e
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise InvalidModel(f"{where} is a directory", hint="Name the .onnx file in it")
        if not stat.S_ISREG(status.st_mode):
            raise InvalidModel(f"{where} is not a regular file")
        limits.check(f"size of {where} in bytes", status.st_size, "max_file_bytes")
        with open(descriptor, "rb", closefd=False) as file:
            data = FileContents(file, status.st_size)
            try:
                return replace(parse_model(data if len(data) >= LARGE else memoryview(data[:])), folder=path.parent)
            except ModelError as e:
                e.message = f"{where}: {e.message}"
                raise
    except OSError as e:
        raise InvalidModel(f"cannot read {where}: {(e.strerror or str(e)).lower()}") from e
    finally:
        os.close(descriptor)


def parse_model(data: Contents) -> Model:
    """The model that `data` serialises. Raises `InvalidModel` that says what `data` is instead."""
    if not data:
        raise InvalidModel("file is empty (0 bytes)")
    for offset, magic, name in _FORMATS:
        if data[offset : offset + len(magic)] == magic:
            raise InvalidModel(f"not an ONNX file but {name}", hint=_HINTS.get(name))
    if len(data) > _PROTOBUF_LIMIT:
        raise InvalidModel(
            f"the model is {len(data):,} bytes, protobuf allows {_PROTOBUF_LIMIT:,}",
            hint="Store its weights as external data",
        )
    fault = _top_level_fault(data)
    if fault is not None:
        raise InvalidModel(fault)
    rest, weights = set_aside(data) if len(data) >= LARGE else (data[:], {})
    model = onnx.ModelProto()
    try:
        model.ParseFromString(rest)
    except DecodeError as e:
        if "depth" in str(e).lower() or "recursion" in str(e).lower():
            raise ResourceLimit(
                f"sub-graphs nest deeper than protobuf reads ({e})", hint="Flatten the model, or pass a ModelProto"
            ) from e
        raise InvalidModel(f"truncated or corrupt protobuf ({len(data):,} bytes): {e}") from e
    if not model.ListFields():
        raise InvalidModel(_not_onnx(data))
    return Model(model, weights)


_KINDS = {
    field.number: wire.VARINT if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64) else wire.BYTES
    for field in onnx.ModelProto.DESCRIPTOR.fields
}


def _top_level_fault(data: Contents) -> str | None:
    """What is wrong with the outermost fields of a serialised ModelProto, found without parsing their contents."""
    at, known = 0, False
    while at < len(data):
        tag, after = wire.varint(data, at)
        kind = -1 if tag is None else tag & 7
        if tag is None or kind not in wire.KINDS or tag >> 3 == 0 or _KINDS.get(tag >> 3, kind) != kind:
            return _not_onnx(data) if not known else f"corrupt protobuf: no field of a model at byte {at}"
        known = known or tag >> 3 in _KINDS
        if not known:
            return _not_onnx(data)
        end = wire.field_end(data, kind, after)[1]
        if end is None:
            return f"truncated protobuf: the file ends in the field at byte {at}, after {len(data):,} bytes"
        if end > len(data):
            return (
                f"truncated protobuf: the field at byte {at} needs {end - after:,} bytes, the file has "
                f"{len(data) - after:,} left"
            )
        at = end
    return None


def _not_onnx(data: Contents) -> str:
    return f"not an ONNX file (starts with {bytes(data[:16])!r})"
