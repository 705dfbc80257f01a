"""The wire format of protobuf, as far as a message can be walked over without being parsed."""

from __future__ import annotations

from .contents import Contents

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a field is written: the lowest three bits of its tag
KINDS = (VARINT, FIXED64, BYTES, FIXED32)

_WIDTH = {FIXED64: 8, FIXED32: 4}


def varint(data: Contents, at: int) -> tuple[int | None, int]:
    """The variable-length integer at `at` and where it ends; None where the data end first."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return None, at
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    return None, at


def field_end(data: Contents, kind: int, at: int) -> tuple[int, int | None]:
    """Where the contents of a field begin and end, for the kind in its tag, which ends at `at`.

    The end may lie beyond the data; it is None where the data end in a number, or there is no such kind.
    """
    if kind in _WIDTH:
        return at, at + _WIDTH[kind]
    if kind not in (VARINT, BYTES):
        return at, None
    value, end = varint(data, at)
    if value is None:
        return at, None
    return (at, end) if kind == VARINT else (end, end + value)
