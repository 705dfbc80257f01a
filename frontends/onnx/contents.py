"""The bytes of a model by position: those of a file stay there, so that weights are read once, to where they belong."""

from __future__ import annotations

import os
import threading
from io import BufferedReader
from typing import overload

import numpy as np

from graphc.types import Array

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
            return self.copy(begin, max(begin, end)).tobytes()
        place = at - self._begin
        if not 0 <= place < len(self._window):
            if not 0 <= at < self._size:
                raise IndexError(at)
            self._begin, self._window, place = at, self[at : at + WINDOW], 0
        return self._window[place]

    def copy(self, begin: int, end: int) -> Array:
        """uint8[end - begin]; several threads may call this at once."""
        array = np.empty(end - begin, np.uint8)
        left = array.data
        while left:
            count = self._read(end - len(left), left)
            if not count:
                raise OSError("it became shorter while it was read")
            left = left[count:]
        return array

    def _read(self, at: int, out: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [out], at)
        with self._turn:
            self._file.seek(at)
            return self._file.readinto(out)


Contents = memoryview | FileContents


def copy(data: Contents, begin: int, end: int) -> Array:
    """data[begin:end] as uint8[end - begin], aligned for any type."""
    return data.copy(begin, end) if isinstance(data, FileContents) else np.frombuffer(data[begin:end], np.uint8).copy()
