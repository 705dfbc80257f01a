"""The block of memory that describes a run to its driver: how it is laid out says codegen/team.py."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

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
