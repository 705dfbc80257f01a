"""Large weights are read aside of protobuf, which would copy each of them twice, and in several threads.

What is left is the same message with the `raw_data` of those initialisers empty. A message that is not as ONNX's own
writers write it is left to protobuf whole, and so are all faults of the format.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from graphc.frozen import Frozen
from graphc.types import Array

from .contents import Contents, copies
from .wire import BYTES, field_end, varint

MIN_BYTES = 1 << 12  # of a weight that is worth it

_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALISER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


class _Unusual(Exception):
    """The message is not written as expected."""


class _Field(Frozen):
    """A field of a message: its number if it holds bytes, else 0; where it begins, its value does, and it ends."""

    number: int
    begin: int
    value: int
    end: int


def set_aside(data: Contents) -> tuple[bytes | memoryview, dict[int, Array]]:
    """A serialised ModelProto without its large weights, and those, uint8, by the number of the initialiser."""
    weights: dict[int, _Field] = {}
    try:
        fields = list(_fields(data, 0, len(data)))
        if sum(f.number == _GRAPH for f in fields) != 1:
            return data[:], {}
        parts = [_graph(data, f, weights) if f.number == _GRAPH else data[f.begin : f.end] for f in fields]
    except _Unusual:
        return data[:], {}
    arrays = copies(data, [(raw.value, raw.end) for raw in weights.values()])
    return b"".join(parts), dict(zip(weights, arrays, strict=True))


def _graph(data: Contents, graph: _Field, weights: dict[int, _Field]) -> bytes:
    parts: list[bytes | memoryview] = []
    count = 0
    for f in _fields(data, graph.value, graph.end):
        raw = [g for g in _fields(data, f.value, f.end) if g.number == _RAW_DATA] if f.number == _INITIALISER else []
        if len(raw) == 1 and raw[0].end - raw[0].value >= MIN_BYTES:
            (only,) = raw
            weights[count] = only
            rest = bytes(data[f.value : only.begin]) + _message(_RAW_DATA, b"") + bytes(data[only.end : f.end])
            parts.append(_message(_INITIALISER, rest))
        else:
            parts.append(data[f.begin : f.end])
        count += f.number == _INITIALISER
    return _message(_GRAPH, b"".join(parts))


def _message(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _fields(data: Contents, at: int, end: int) -> Iterator[_Field]:
    """The fields of the message in data[at:end]."""
    while at < end:
        tag, value = varint(data, at)
        if tag is None:
            raise _Unusual
        value, stop = field_end(data, tag & 7, value)
        if stop is None or stop > end:
            raise _Unusual
        yield _Field(tag >> 3 if tag & 7 == BYTES else 0, at, value, stop)
        at = stop
