"""Models to files: weights inside or beside the model, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import onnx

from graphc.errors import CompileError, ExternalDataError, GraphcError, escape
from graphc.types import Tensor

from .attributes import fill_data
from .tensors import pack, stored_bytes

Target = str | os.PathLike[str] | BinaryIO
Place = tuple[onnx.TensorProto, Tensor]

_MOST_INSIDE = (1 << 31) - (1 << 24)  # protobuf reads 2 GiB at most; the rest is for everything but weights
_USUAL_THRESHOLD = 1024
_ALIGNMENT = 64
_HINT = "Pass a path as target, and external_data=True"


def write_model(
    model: onnx.ModelProto, places: Sequence[Place], target: Target | None, external_data: bool | int | None
) -> None:
    """Put the weights into `places` of `model` or into a file beside `target`, and write `model` to `target`.

    Raises `ExternalDataError` when the weights have to be outside and `target` is not a path.
    """
    total = sum(_size(tensor) for _, tensor in places)
    if external_data is None and total > _MOST_INSIDE:
        external_data = True
    if external_data is None or external_data is False:
        if total > _MOST_INSIDE:
            raise ExternalDataError(
                f"the weights are {total:,} bytes, protobuf allows 2 GiB", hint="external_data=True"
            )
        outside: list[Place] = []
    else:
        least = _USUAL_THRESHOLD if external_data is True else int(external_data)
        outside = [(p, t) for p, t in places if t.dtype.kind != "string" and _size(t) >= least]
    if not isinstance(target, (str, os.PathLike)):
        if outside:
            raise ExternalDataError("external data need a path to lie beside", hint=_HINT)
        for place, tensor in places:
            fill_data(place, tensor)
        if target is not None:
            target.write(model.SerializeToString(deterministic=True))
        return
    path = Path(target)
    chosen = {id(p) for p, _ in outside}
    for place, tensor in places:
        if id(place) not in chosen:
            fill_data(place, tensor)
    if outside:
        beside = path.with_name(path.name + ".data")
        with _replacing(beside) as file:
            _write_outside(file, outside, beside.name)
    with _replacing(path) as file:
        file.write(model.SerializeToString(deterministic=True))


def _size(tensor: Tensor) -> int:
    if tensor.dtype.kind == "string":
        return sum(len(str(s).encode()) for s in tensor.array.flat)
    return stored_bytes(tensor.dtype, tensor.size)


def _write_outside(file: BinaryIO, places: Sequence[Place], location: str) -> None:
    at = 0
    for place, tensor in places:
        data = pack(tensor.array, tensor.dtype)
        file.write(bytes(-at % _ALIGNMENT))
        at += -at % _ALIGNMENT
        file.write(data)
        place.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(at)), ("length", str(len(data)))):
            place.external_data.add(key=key, value=value)
        at += len(data)


def keep_aside(model: onnx.ModelProto, places: Sequence[Place], aside: MutableMapping[str, Tensor]) -> list[Place]:
    """Put the weights of the main graph into `aside` instead of into `model`; returns the places that are left.

    What is small or does not lie in memory as in a file is left. `model` refers to the others as to external data.
    """
    left = []
    inside = len(model.graph.initializer)  # the main graph's come first
    for number, (place, tensor) in enumerate(places):
        whole = tensor.dtype.kind != "string" and tensor.dtype.bits >= 8
        if number >= inside or not whole or _size(tensor) < _USUAL_THRESHOLD:
            left.append((place, tensor))
            continue
        aside[place.name] = tensor
        place.data_location = onnx.TensorProto.EXTERNAL
        place.external_data.add(key="location", value="aside")
    return left


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` (where that is a link, of what it leads to) once it is complete."""
    real = _real_target(path)
    temporary = real.with_name(f".{real.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, real)
    except GraphcError:
        raise
    except OSError as e:
        raise CompileError(f"cannot write {escape(str(path))}: {(e.strerror or str(e)).lower()}") from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _real_target(path: Path) -> Path:
    """`path` without links. Raises `CompileError` for what a file must not replace, such as a device or a pipe."""
    try:
        real = Path(os.fsdecode(os.path.realpath(os.fsencode(path))))
        special = real.exists() and not real.is_file() and not real.is_dir()
    except (OSError, ValueError) as e:
        raise CompileError(f"cannot write {escape(str(path))}: not a file name") from e
    if special:
        raise CompileError(f"cannot write {escape(str(path))}: not a regular file", hint="Pass a file that is open")
    return real
