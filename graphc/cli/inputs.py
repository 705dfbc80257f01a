"""The option `--input`: arrays from files, or random data of a given shape."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from graphc.errors import FeedError
from graphc.interpret import Data
from graphc.ir import Graph
from graphc.names import did_you_mean, listing, quote
from graphc.types import Array, TensorType


@dataclass
class Given:
    """What the options say: arrays by input name, and shapes for inputs that get random data."""

    arrays: dict[str, Data] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def parse_inputs(texts: list[str] | None, graph: Graph) -> Given:
    """Read `NAME=FILE`, `NAME:SHAPE` or `FILE.npz`; NAME may be left out when there is one input.

    Raises:
        FeedError: no such input, no such file, or not an array.
    """
    given = Given()
    names = [v.name for v in graph.inputs]
    for text in texts or []:
        name, rest = _split(text, names)
        if name is None:
            arrays = _read(Path(rest))
            assert isinstance(arrays, dict)
            for key in arrays:
                _check_name(key, names)
            given.arrays.update({key: _restore(a, graph, key) for key, a in arrays.items()})
        elif (shape := _shape(rest)) is not None:
            given.shapes[name] = shape
        elif text == f"{name}:{rest}" and not Path(rest).exists():
            raise FeedError(f"-i {quote(text)}: {quote(rest)} is no shape", hint=f"Write {name}:1x3x224x224")
        else:
            array = _read(Path(rest))
            if isinstance(array, dict):
                raise FeedError(f"{rest} holds several arrays", hint=f"Pass it without a name: -i {rest}")
            given.arrays[name] = _restore(array, graph, name)
    return given


def _split(text: str, names: list[str]) -> tuple[str | None, str]:
    """The input's name (None for an archive of all inputs) and the file or shape."""
    for name in sorted(names, key=len, reverse=True):
        if text.startswith((f"{name}=", f"{name}:")):
            return name, text[len(name) + 1 :]
    if text.endswith(".npz") and "=" not in text:
        return None, text
    if len(names) == 1 and "=" not in text and (":" not in text or Path(text).exists()):
        return names[0], text
    name = text.partition("=")[0] if "=" in text else text.rpartition(":")[0]
    if not name:
        raise FeedError(f"-i {quote(text)} is not NAME=FILE or NAME:SHAPE", hint=f"The inputs are {listing(names)}")
    _check_name(name, names)
    raise AssertionError(name)


def _check_name(name: str, names: list[str]) -> None:
    if name not in names:
        raise FeedError(
            f"the model has no input {quote(name)}",
            value=name,
            hint=f"{did_you_mean(name, names)}The inputs are {listing(names)}",
        )


def _shape(text: str) -> tuple[int, ...] | None:
    """`1x3x224x224` as numbers, `` or `scalar` as (); None when it is no shape."""
    if text in ("", "scalar"):
        return ()
    parts = text.replace(",", "x").split("x")
    return tuple(int(p) for p in parts) if all(p.isdecimal() for p in parts) else None


def _read(path: Path) -> Array | dict[str, Array]:
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            return np.asarray(found)
        with found:
            return dict(found)
    except FileNotFoundError as e:
        raise FeedError(f"no file {quote(path)}", hint="Random data: NAME:1x3x224x224") from e
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as e:
        # NumPy takes any file that it does not know for a pickle, and says how to load that unsafely.
        reason = "it is something else, or holds Python objects" if "pickle" in str(e) else e
        raise FeedError(f"{quote(path)} is not a .npy or .npz file of numbers: {reason}") from e


def _restore(array: Array, graph: Graph, name: str) -> Array:
    """Files know bfloat16 and its like only as raw bytes; the model's input says what they are."""
    declared = next(v.type for v in graph.inputs if v.name == name)
    if array.dtype.kind == "V" and isinstance(declared, TensorType):
        dtype = declared.dtype.numpy
        if dtype.isbuiltin != 1 and dtype.itemsize == array.dtype.itemsize:
            return array.view(dtype)
    return array
