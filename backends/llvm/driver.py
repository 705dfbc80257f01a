"""The driver of a program: the kernels in order, gone through by every thread of a team, waiting where one must.

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

from ..codegen.team import CANCEL, FIRST, MASK_LINE, MASKS, TEAM, THREADS, at

CHUNK = 32  # calls in one function
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
    """A kernel by name, and where its arguments are. `parallel`: it has a share for each thread, others have one."""

    kernel: str
    places: tuple[Place, ...]
    parallel: bool


def barriers(calls: Sequence[Call]) -> list[bool]:
    """For each call, whether all that was called before must be done before it starts."""
    found = []
    pending: list[Call] = []
    for call in calls:
        waits = any(a.meets(b) for other in pending for a in call.places for b in other.places)
        found.append(waits)
        pending = [call] if waits else [*pending, call]
    return found


@dataclass(frozen=True)
class Unit:
    """What one claim covers: a call that has shares, or a chain of calls of which none has.

    `waits`: all that was called before must be done before any of it starts.
    """

    numbers: tuple[int, ...]
    parallel: bool
    waits: bool


def units(calls: Sequence[Call], *, alone: bool = False) -> list[Unit]:
    """The calls in order, those together that one thread may as well do one after the other; with `alone` none.

    No chain goes from one part of CHUNK calls to the next.
    """
    waits = [True] * len(calls) if alone else barriers(calls)
    chains: list[list[int]] = []
    for n, call in enumerate(calls):
        first = chains[-1][0] if chains else 0
        follows = n % CHUNK and waits[n] and (waits[first] or not first)
        if follows and not alone and not call.parallel and not calls[first].parallel:
            chains[-1].append(n)
        else:
            chains.append([n])
    # Who does not do a chain goes past it without waiting for what is in it. So what meets any of it must wait itself.
    wholes = [Call("", tuple(p for n in chain for p in calls[n].places), False) for chain in chains]
    stops = [True] * len(chains) if alone else barriers(wholes)
    return [Unit(tuple(c), calls[c[0]].parallel, stop) for c, stop in zip(chains, stops, strict=True)]


def driver(calls: Sequence[Call], slots: int, *, timed: bool = False) -> str:
    """The LLVM IR of `run(block, thread)`, of `alone(block)`, and of `enter(block)`, which takes the one that fits.

    Where no call has shares for several threads there is no `run`. Each function is made of parts of CHUNK calls, since
    LLVM's time grows faster than a function. With `timed` there is one slot more, for the address of an array of int64:
    the time in nanoseconds at the start and after each call.
    """
    arity = {c.kernel: len(c.places) for c in calls}
    lines = [f"declare void @{n}({', '.join(['ptr'] * (k + 1))}, i64, i64)" for n, k in arity.items()]
    shares = any(c.parallel for c in calls)
    lines += [_SHARED_ENTRY if shares else _ENTRY, *([_TICK] if timed else [])]
    clock = slots if timed else None
    found = units(calls, alone=timed)
    parts = [range(n, min(n + CHUNK, len(calls))) for n in range(0, len(calls), CHUNK)] or [range(0)]
    # One part alone becomes part of the function that calls it; several must not.
    attributes = "nounwind" if len(parts) == 1 else "nounwind noinline"
    split = single = 0  # claims so far of what has a share for each thread, and of what has one
    for p, part in enumerate(parts):
        lines += [f"define internal i1 @alone{p}(ptr %block) {attributes} {{", *_alone(calls, part, clock)]
        lines += ["ret i1 true", "end:", "ret i1 false", "}"]
        if shares:
            lines += [f"define internal i1 @run{p}(ptr %block, i64 %thread) {attributes} {{"]
            own = [u for u in found if u.numbers[0] in part]
            lines += [*_shared(calls, own, (split, single), clock), "ret i1 true", "end:", "ret i1 false", "}"]
            shared = sum(u.parallel for u in own)
            split, single = split + shared, single + len(own) - shared
    functions = [("alone", "", ""), ("run", ", i64 %thread", ", i64 %thread")]
    for name, parameter, argument in functions if shares else functions[:1]:
        lines.append(f"define internal void @{name}(ptr %block{parameter}) nounwind {{")
        for p in range(len(parts)):
            lines += [f"%go{p} = call i1 @{name}{p}(ptr %block{argument})", f"br i1 %go{p}, label %part{p}, label %end"]
            lines.append(f"part{p}:")
        lines += ["br label %end", "end:", "ret void", "}"]
    return "\n".join([*lines, ""])


def _alone(calls: Sequence[Call], part: range, clock: int | None) -> list[str]:
    """The calls of one part on one thread; leaves to `end` when the run is cancelled."""
    lines = [*_pointers([calls[n] for n in part], clock), at("%cancel.at", "%block", CANCEL)]
    if 0 in part or not calls:
        lines += _tick(clock, 0, "0")
    for n in part:
        lines += [*_unless_cancelled(n), *_call(n, calls[n], "0", "1"), *_tick(clock, n + 1, "0")]
    return lines if part else [*lines, "br i1 true, label %go, label %end", "go:"]


def _shared(calls: Sequence[Call], found: Sequence[Unit], before: tuple[int, int], clock: int | None) -> list[str]:
    """The units of one part, as far as nobody else does them; `before` it there were so many claims of each kind."""
    lines = [*_pointers([calls[n] for unit in found for n in unit.numbers], clock), at("%cancel.at", "%block", CANCEL)]
    lines += [at("%threads.at", "%block", THREADS), "%threads = load i64, ptr %threads.at, align 8"]
    lines += [at("%masks.at", "%block", MASKS), "%masks = load ptr, ptr %masks.at, align 8"]
    split, single = before
    for unit in found:
        n = unit.numbers[0]
        lines += [*(_await(f"{n}", split, single) if n and unit.waits else []), *_unless_cancelled(n)]
        lines += _tick(clock, n, "%thread")
        thread, shares = ("%thread", "%threads") if unit.parallel else ("0", "1")
        lines += [at(f"%mask{n}", "%masks", MASK_LINE * n), f"br label %claim{n}", f"claim{n}:"]
        lines += [f"%share{n} = call i64 @claim(ptr %mask{n}, i64 {thread}, i64 {shares})"]
        lines += [f"%got{n} = icmp sge i64 %share{n}, 0", f"br i1 %got{n}, label %work{n}, label %next{n}", f"work{n}:"]
        lines += _call(n, calls[n], f"%share{n}", shares)
        for k in unit.numbers[1:]:
            lines += [*_unless_cancelled(k, f"finish{n}"), *_call(k, calls[k], "0", "1")]
        lines += [f"br label %finish{n}", f"finish{n}:", "call void @finish(ptr %block)"]
        lines += [f"br label %claim{n}", f"next{n}:"]
        split, single = split + unit.parallel, single + (not unit.parallel)
    if clock is not None and found and found[-1].numbers[-1] == len(calls) - 1:
        lines += [*_await("end", split, single), *_tick(clock, len(calls), "%thread")]
    return lines if found else [*lines, "br i1 true, label %go, label %end", "go:"]


def _pointers(calls: Sequence[Call], clock: int | None) -> list[str]:
    """%p0, %p1, …: what the block points to, as far as `calls` use it; for arrays, their data."""
    lines = []
    for i in sorted({p.slot for c in calls for p in c.places} | ({clock} if clock is not None else set())):
        lines += [at(f"%at{i}", "%block", FIRST + 8 * i), f"%a{i} = load ptr, ptr %at{i}, align 8"]
        if i >= 2 and i != clock:
            lines += [at(f"%data{i}", f"%a{i}", HEADER), f"%p{i} = load ptr, ptr %data{i}, align 8"]
        else:
            lines.append(at(f"%p{i}", f"%a{i}", 0))
    return lines


def _call(n: int, call: Call, share: str, shares: str) -> list[str]:
    lines, pointers = [], []
    for k, place in enumerate(call.places):
        if place.offset:
            lines.append(at(f"%q{n}.{k}", f"%p{place.slot}", place.offset))
        pointers.append(f"ptr %q{n}.{k}" if place.offset else f"ptr %p{place.slot}")
    return [
        *lines,
        f"call void @{call.kernel}({', '.join([*pointers, 'ptr %block', f'i64 {share}', f'i64 {shares}'])})",
    ]


def _unless_cancelled(n: int, leave: str = "end") -> list[str]:
    """Leave if the run is cancelled. Whoever stays does the shares that are left, so nobody waits for who has gone."""
    return [
        f"%cancel{n} = load atomic i32, ptr %cancel.at monotonic, align 4",
        f"%go{n} = icmp eq i32 %cancel{n}, 0",
        f"br i1 %go{n}, label %step{n}, label %{leave}",
        f"step{n}:",
    ]


def _await(label: str, split: int, single: int) -> list[str]:
    return [
        f"%split{label} = mul i64 %threads, {split}",
        f"%done{label} = add i64 %split{label}, {single}",
        f"call void @await(ptr %block, i64 %done{label})",
    ]


def _tick(clock: int | None, n: int, thread: str) -> list[str]:
    return [] if clock is None else [f"call void @tick(ptr %p{clock}, i64 {n}, i64 {thread})"]


_ENTRY = """
define void @enter(ptr %block) nounwind {
  call void @alone(ptr %block)
  ret void
}"""

_SHARED_ENTRY = f"""
declare void @dispatch(ptr, ptr, ptr)
declare i64 @claim(ptr, i64, i64)
declare void @finish(ptr)
declare void @await(ptr, i64)
define void @enter(ptr %block) nounwind {{
  {at("%team.at", "%block", TEAM)}
  %team = load ptr, ptr %team.at, align 8
  %alone = icmp eq ptr %team, null
  br i1 %alone, label %single, label %several
single:
  call void @alone(ptr %block)
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
