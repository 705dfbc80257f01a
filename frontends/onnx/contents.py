"""The bytes of a model by position: those of a file stay there, so that weights are read once, to where they belong."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from io import BufferedReader
from itertools import accumulate
from typing import overload

import numpy as np

from graphc.parallel import side_by_side
from graphc.types import Array

ALIGNMENT = 64  # bytes: a cache line
WINDOW = 1 << 14  # bytes that are read for one that is asked for: the fields of a message are close together


class FileContents:
    """A file's bytes, as a memoryview would give them.

    Whatever reads raises `OSError` when the file has become shorter than `size`.
    """

    def __init__(self, file: BufferedReader, size: int):
        self._file, self._size = file, size
        self._begin, self._window = 0, b""
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> bytes: ...
    def __getitem__(self, at: int | slice) -> int | bytes:
        if isinstance(at, slice):
            begin, end, _ = at.indices(self._size)
            found = bytearray(max(end - begin, 0))
            self.read(begin, memoryview(found))
            return bytes(found)
        place = at - self._begin
        if not 0 <= place < len(self._window):
            if not 0 <= at < self._size:
                raise IndexError(at)
            self._begin, self._window, place = at, self[at : at + WINDOW], 0
        return self._window[place]

    def read(self, begin: int, out: memoryview) -> None:
        """Fill `out` with what there is from `begin` on; several threads may call this at once."""
        while out:
            count = self._read(begin, out)
            if not count:
                raise OSError("it became shorter while it was read")
            begin, out = begin + count, out[count:]

    def _read(self, at: int, out: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [out], at)
        with self._turn:
            self._file.seek(at)
            return self._file.readinto(out)


Contents = memoryview | FileContents


def copies(data: Contents, spans: Sequence[tuple[int, int]]) -> list[Array]:
    """data[begin:end] for each (begin, end), as uint8[end - begin], aligned for any type; read by several threads.

    All are parts of one array: the system gives a large one in large pages, in a fraction of the time.
    """
    places = list(accumulate((-(-(end - begin) // ALIGNMENT) * ALIGNMENT for begin, end in spans), initial=0))
    block = np.empty(places[-1] + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT

    def copy(item: tuple[int, tuple[int, int]]) -> Array:
        place, (begin, end) = item
        part = block[start + place : start + place + end - begin]
        if isinstance(data, FileContents):
            data.read(begin, part.data)
        else:
            part.data[:] = data[begin:end]
        return part

    return side_by_side(copy, list(zip(places, spans, strict=False)))
