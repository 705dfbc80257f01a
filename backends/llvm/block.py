"""The block of memory that describes a run to its driver: how it is laid out says codegen/team.py."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..codegen.team import FIRST, MASK_BYTES, MASK_LINE, MASKS, TEAM, THREADS
from .threads import Team, aligned


class Block:
    """For one run at a time of a driver that makes so many `calls`.

    Attributes:
        address: what the driver is called with.
        words: the block as a table of 64-bit words; from FIRST on there are the `pointers`.
    """

    def __init__(self, pointers: Sequence[int], calls: int):
        self._masks, self._memory = aligned(MASK_LINE * calls), aligned(FIRST + 8 * len(pointers))
        self._memory[:] = 0
        self._memory.view(np.int64)[FIRST // 8 :] = pointers
        self.address = ctypes.c_void_p(self._memory.ctypes.data)
        self.words: Any = (ctypes.c_int64 * (FIRST // 8 + len(pointers))).from_address(self._memory.ctypes.data)
        self.words[MASKS // 8], self.words[MASK_BYTES // 8] = self._masks.ctypes.data, self._masks.nbytes
        self.share(None, 1)

    def share(self, team: Team | None, threads: int) -> None:
        """Have so many threads of `team` take part in the next run; without one, only the caller."""
        self.words[THREADS // 8], self.words[TEAM // 8] = threads, 0 if team is None else team.address
