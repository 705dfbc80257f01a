"""The block of memory that describes a run to its driver, and how that finds the data of arrays.

How the block is laid out says codegen/team.py.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.types import Array

from ..codegen.team import DONE, FIRST, RECORD, RECORDS, TEAM, THREADS, TURN
from .threads import Team, aligned


class Block:
    """For one run at a time of a driver with so many `records`.

    Attributes:
        address: what the driver is called with.
        words: the block as a table of 64-bit words; from FIRST on there are the `pointers`.
    """

    def __init__(self, pointers: Sequence[int], records: int):
        self._records, self._memory = aligned(RECORD * records), aligned(FIRST + 8 * len(pointers))
        self._records[:] = self._memory[:] = 0
        self._memory.view(np.int64)[FIRST // 8 :] = pointers
        self.address = ctypes.c_void_p(self._memory.ctypes.data)
        self.words: Any = (ctypes.c_int64 * (FIRST // 8 + len(pointers))).from_address(self._memory.ctypes.data)
        self.words[RECORDS // 8] = self._records.ctypes.data
        self.words[TURN // 8] = self.words[DONE // 8] = 1  # a record of no turn is 0
        self.share(None, 1)

    def share(self, team: Team | None, threads: int) -> None:
        """Have so many threads of `team` take part in the next run; without one, only the caller."""
        self.words[THREADS // 8], self.words[TEAM // 8] = threads, 0 if team is None else team.address


# -- arrays -----------------------------------------------------------------------------------------------------------
def _header() -> int:
    """Where in an array object NumPy keeps the address of the data: right after what every Python object starts with.

    Asking NumPy for that address takes 2 µs, longer than a small network. The place is part of NumPy's binary
    interface; it is looked at here once, so that an interpreter that lays objects out otherwise is found out.
    """
    offset = object.__basicsize__
    for x in (np.zeros(3, np.float32), np.zeros((2, 2), np.int8)[1:]):
        if sys.implementation.name != "cpython" or _pointer_at(id(x) + offset) != x.ctypes.data:
            return 0
    return offset


def _pointer_at(address: int) -> int | None:
    return ctypes.c_void_p.from_address(address).value


HEADER = _header()


def holder(x: Array, cells: list[object]) -> int:
    """The address of an object that has the address of `x`'s data at HEADER; `cells` keeps what must stay alive."""
    if HEADER:
        return id(x)
    cell = ctypes.c_void_p(x.ctypes.data)
    cells.append(cell)
    return ctypes.addressof(cell)
