"""The driver of a program: the kernels in order, run by every thread of a team, with barriers where one must wait.

It reads a block of memory (see codegen/team.py). After the first line there are addresses: the arena, the constants,
and for each input and output that of an array object, in which NumPy keeps the address of the data.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.types import Array

from ..codegen.team import CANCEL, FIRST, TEAM, THREADS, at

CLOCK = 6 if sys.platform == "darwin" else 1  # CLOCK_MONOTONIC


@dataclass(frozen=True)
class Place:
    """`size` bytes at `offset` of the arena (0), the constants (1) or an array (2, 3, …), in the order of the block."""

    slot: int
    offset: int
    size: int
    written: bool

    def meets(self, other: Place) -> bool:
        """Whether the order of two accesses matters."""
        return (
            self.slot == other.slot
            and (self.written or other.written)
            and self.offset < other.offset + other.size
            and other.offset < self.offset + self.size
        )


@dataclass(frozen=True)
class Call:
    """A kernel by name, and where its arguments are. `parallel`: threads share it; others run on thread 0 alone."""

    kernel: str
    places: tuple[Place, ...]
    parallel: bool


def barriers(calls: Sequence[Call]) -> list[bool]:
    """For each call, whether all that was called before must be done before it starts."""
    found = []
    pending: list[Call] = []
    for call in calls:
        waits = any(
            (call.parallel or other.parallel) and any(a.meets(b) for a in call.places for b in other.places)
            for other in pending
        )
        found.append(waits)
        pending = [call] if waits else [*pending, call]
    return found


def driver(calls: Sequence[Call], slots: int, *, timed: bool = False) -> str:
    """The LLVM IR of `run(block, thread)`, and of `enter(block)`, which runs it on the block's team.

    With `timed` there is one slot more, for the address of an array of int64: the time in nanoseconds at the start and
    after each call.
    """
    arity = {c.kernel: len(c.places) for c in calls}
    lines = [f"declare void @{n}({', '.join(['ptr'] * (k + 1))}, i64, i64)" for n, k in arity.items()]
    lines += ["declare i32 @barrier(ptr)", ENTRY]
    if timed:
        lines.append(_TICK)
    lines += ["define void @run(ptr %block, i64 %thread) nounwind {"]
    lines += [at("%threads.at", "%block", THREADS), "%threads = load i64, ptr %threads.at, align 8"]
    lines += [at("%team.at", "%block", TEAM), "%team = load ptr, ptr %team.at, align 8"]
    lines += [at("%cancel.at", "%block", CANCEL), "%alone = icmp eq ptr %team, null"]
    for i in range(slots + timed):
        lines += [at(f"%at{i}", "%block", FIRST + 8 * i), f"%a{i} = load ptr, ptr %at{i}, align 8"]
        if 2 <= i < slots:
            lines += [at(f"%data{i}", f"%a{i}", HEADER), f"%p{i} = load ptr, ptr %data{i}, align 8"]
        else:
            lines.append(f"%p{i} = getelementptr i8, ptr %a{i}, i64 0")
    if timed:
        lines.append(f"call void @tick(ptr %p{slots}, i64 0, i64 %thread)")
    for n, (call, waits) in enumerate(zip(calls, barriers(calls), strict=True)):
        if n and (waits or timed):
            lines.append(f"%stop{n} = call i32 @barrier(ptr %block)")
        elif n:
            lines.append(f"%cancel{n} = load atomic i32, ptr %cancel.at monotonic, align 4")
            lines.append(f"%stop{n} = select i1 %alone, i32 %cancel{n}, i32 0")
        if n:
            lines.append(f"%go{n} = icmp eq i32 %stop{n}, 0")
            lines += [f"br i1 %go{n}, label %step{n}, label %end", f"step{n}:"]
            if timed:
                lines.append(f"call void @tick(ptr %p{slots}, i64 {n}, i64 %thread)")
        pointers = []
        for k, place in enumerate(call.places):
            if place.offset:
                lines.append(at(f"%q{n}.{k}", f"%p{place.slot}", place.offset))
            pointers.append(f"ptr %q{n}.{k}" if place.offset else f"ptr %p{place.slot}")
        lines.append(f"call void @{call.kernel}({', '.join([*pointers, 'ptr %block', 'i64 %thread', 'i64 %threads'])})")
    if timed:
        lines.append("%last = call i32 @barrier(ptr %block)")
        lines.append(f"call void @tick(ptr %p{slots}, i64 {len(calls)}, i64 %thread)")
    return "\n".join([*lines, "br label %end", "end:", "ret void", "}", ""])


ENTRY = f"""
declare void @dispatch(ptr, ptr, ptr)
define void @enter(ptr %block) nounwind {{
  {at("%team.at", "%block", TEAM)}
  %team = load ptr, ptr %team.at, align 8
  %alone = icmp eq ptr %team, null
  br i1 %alone, label %single, label %several
single:
  call void @run(ptr %block, i64 0)
  ret void
several:
  call void @dispatch(ptr %team, ptr @run, ptr %block)
  ret void
}}"""

_TICK = f"""
declare i32 @clock_gettime(i32, ptr)
define internal void @tick(ptr %times, i64 %n, i64 %thread) nounwind {{
  %t = alloca [2 x i64], align 8
  %first = icmp eq i64 %thread, 0
  br i1 %first, label %read, label %done
read:
  %r = call i32 @clock_gettime(i32 {CLOCK}, ptr %t)
  %s = load i64, ptr %t, align 8
  %ns.at = getelementptr i64, ptr %t, i64 1
  %ns = load i64, ptr %ns.at, align 8
  %scaled = mul i64 %s, 1000000000
  %now = add i64 %scaled, %ns
  %to = getelementptr i64, ptr %times, i64 %n
  store i64 %now, ptr %to, align 8
  br label %done
done:
  ret void
}}"""


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
