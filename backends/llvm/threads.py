"""The threads that share the work of a run: one team for all models of the process, asleep when there is nothing to do.

The threads are Python's, so that debuggers and profilers see them; they spend their lives in native code, which holds
no lock of the interpreter.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from functools import cache, lru_cache

import numpy as np

from graphc import debug
from graphc.cpu import cpu_count
from graphc.loops.memory import ALIGNMENT
from graphc.types import Array

from ..codegen.jit import COMPILING, Library, compile_object, link
from ..codegen.target import host_target
from ..codegen.team import IDLE_SPINS, LINE, MAILBOXES, MAX_THREADS, STOP, TEAM_BYTES, WAIT_SPINS, team_module

IDLE_SECONDS = 50e-6  # how long a thread without work looks out for more before it sleeps
WAIT_SECONDS = 100e-6  # how long one that waits for the others does
SHORT = 1 << 13  # characters of a driver's text: what is longer is hardly that of another program, and is not kept
IMPORTED = ("dispatch", "claim", "finish", "await", "decide")  # what drivers call

WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
SPIN = ctypes.CFUNCTYPE(None, ctypes.c_int64)


def aligned(size: int) -> Array:
    """`size` bytes that start at a multiple of ALIGNMENT."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


@cache
def native() -> Library:
    """The team's functions."""
    with COMPILING:
        target = host_target()
        code = compile_object(team_module(target), target)
        return link([code], [*IMPORTED, "worker", "spin", "wake"])


def imported() -> dict[str, int]:
    """The addresses of what drivers call."""
    return {name: native().addresses[name] for name in IMPORTED}


def load_driver(text: str) -> Library:
    """`enter` of the driver that `text` is, its LLVM IR."""
    return _kept(text) if len(text) <= SHORT else _loaded(text)


def _loaded(text: str) -> Library:
    return link([compile_object(text, host_target(), quick=True)], ["enter"], imported())


_kept = lru_cache(maxsize=64)(_loaded)


@cache
def pauses(seconds: float) -> int:
    """How many pauses of the processor make up so much time."""
    spin = SPIN(native().addresses["spin"])
    n = 2000
    best = 1.0
    for _ in range(3):
        start = time.perf_counter()
        spin(n)
        best = min(best, time.perf_counter() - start)
    return max(1, int(seconds / (best / n)))


class Team:
    """Threads that wait for runs. Thread 0 is whoever calls; `address` is what native code knows the team by."""

    def __init__(self) -> None:
        self._memory = aligned(TEAM_BYTES)
        self._memory[:] = 0
        words = self._memory.view(np.int64)
        words[IDLE_SPINS // 8] = pauses(IDLE_SECONDS)
        words[WAIT_SPINS // 8] = pauses(WAIT_SECONDS)
        self.address = int(self._memory.ctypes.data)
        self.lock = threading.Lock()  # held by the run that uses the team
        self.threads: list[threading.Thread] = []
        self._worker = WORKER(native().addresses["worker"])

    @property
    def size(self) -> int:
        return len(self.threads) + 1

    def grow(self, size: int) -> None:
        """Start threads until there are `size`; only with the lock held."""
        while self.size < min(size, MAX_THREADS):
            arguments = (self.address, self.size)
            thread = threading.Thread(target=self._worker, args=arguments, name=f"graphc-{self.size}", daemon=True)
            thread.start()
            self.threads.append(thread)

    def stop(self) -> None:
        """End the threads, for good: the lock stays held, so that later runs go on alone."""
        if not self.lock.acquire(timeout=1):
            return
        self._memory[STOP : STOP + 4].view(np.int32)[0] = 1
        for i in range(1, self.size):
            mailbox = MAILBOXES + LINE * i
            self._memory[mailbox : mailbox + 4].view(np.int32)[0] += 1
            _wake(self.address + mailbox)
        for thread in self.threads:
            thread.join(timeout=1)
        self.threads = []


def _wake(address: int) -> None:
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native().addresses["wake"])(address)


_team: Team | None = None
_making = threading.Lock()


def team() -> Team:
    """The team of this process, made when first asked for."""
    global _team
    if _team is None:
        native()
        with _making:
            if _team is None:
                _team = Team()
                atexit.register(_team.stop)
    return _team


def take(threads: int) -> Team | None:
    """The team with `threads` threads at least, now the caller's until it releases `lock`; None when it is busy."""
    found = _team or team()
    if not found.lock.acquire(blocking=False):
        return None
    if found.size < threads:
        try:
            found.grow(threads)
        except BaseException:
            found.lock.release()
            raise
    return found


def thread_count(asked: int | None) -> int:
    """How many threads a run uses: what was asked for or OMP_NUM_THREADS says, no more than the process may have."""
    return min(cpu_count(), asked or debug.threads() or MAX_THREADS, MAX_THREADS)


def _forget() -> None:
    """After a fork the child has none of the threads."""
    global _team, _making
    if _team is not None:
        atexit.unregister(_team.stop)
    _team, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
