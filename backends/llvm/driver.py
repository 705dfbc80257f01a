"""The driver of a program: the kernels in order, gone through by every thread of a team, waiting where one must.

It reads a block of memory (see codegen/team.py). After the first line there are addresses: the arena, the constants,
times, a table of the kernels, and for each input and output that of an array object, in which NumPy keeps the address
of the data. So nothing of a driver tells which kernels it calls, and small programs with as many arrays share one.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.types import Array

from ..codegen.team import CANCEL, FIRST, RECORD, RECORDS, STATUS, TEAM, THREADS, TOO_MANY_TRIPS, TRIPS, TURN, at
from .steps import Branch, Repeat, Steps, bodies, leaves, mapped

TICK = "tick"  # the call that reads the clock, which the driver has itself
CHUNK = 32  # steps in one function
CLOCK = 6 if sys.platform == "darwin" else 1  # CLOCK_MONOTONIC
ARENA, CONSTANTS, TIMES, KERNELS, ARRAYS = 0, 1, 2, 3, 4  # slots of the block; arrays have those from ARRAYS on
START, SUM, COUNT, TIMED = 0, 8, 16, 24  # of one call: when it began first, nanoseconds, how often; bytes of all that


@dataclass(frozen=True)
class Place:
    """`size` bytes at `offset` of what is in a slot: the arena, the constants, the times, or an array."""

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


Control = Branch[Call, Place] | Repeat[Call, Place]
Calls = Steps[Call, Place]


def barriers(calls: Calls) -> list[bool]:
    """For each step, whether all before it must be done before it starts; after branches and repetitions they are."""
    found = []
    pending: list[Call] = []
    for step in calls:
        if not isinstance(step, Call):
            found.append(True)
            pending = []
            continue
        waits = not pending or any(a.meets(b) for other in pending for a in step.places for b in other.places)
        found.append(waits)
        pending = [step] if waits else [*pending, step]
    return found


def timed(calls: Calls) -> Calls:
    """`calls` with one to the clock before the first, and one after each.

    The times are int64: when the clock was read last, and for each reading START, SUM and COUNT of what came before it;
    the first SUM is the time at the start.
    """
    numbers = itertools.count()

    def reading() -> Call:
        own = Place(TIMES, 8 + TIMED * next(numbers), TIMED, written=True)
        return Call(TICK, (Place(TIMES, 0, 8, written=True), own), False)

    first = reading()
    made: Calls = mapped(calls, lambda call: [call, reading()], lambda place: place)
    return [first, *made]


def record_count(calls: Calls) -> int:
    """How many records a block needs for these calls."""
    return sum(1 + sum(map(record_count, bodies(s))) if isinstance(s, (Branch, Repeat)) else 1 for s in calls)


def kernel_numbers(calls: Calls) -> dict[str, int]:
    """Each kernel that is called, and its place in the table."""
    names = dict.fromkeys(c.kernel for c in leaves(calls) if c.kernel != TICK)
    return {name: k for k, name in enumerate(names)}


def driver(calls: Calls) -> str:
    """The LLVM IR of `run(block, thread)`, of `alone(block)`, and of `enter(block)`, which takes the one that fits.

    Where no call has shares for several threads there is no `run`. A function has CHUNK steps at most, since LLVM's
    time grows faster than a function, and what is under a condition or repeated has functions of its own.
    """
    numbers = kernel_numbers(calls)
    with_clock = any(c.kernel == TICK for c in leaves(calls))
    shares = any(c.parallel for c in leaves(calls))
    lines = [_SHARED_ENTRY if shares else _ENTRY, *([_TICK] if with_clock else [])]
    whole = len(calls) <= CHUNK and all(isinstance(s, Call) for s in calls)
    for shared in (False, True) if shares else (False,):
        writer = _Writer(numbers, shared, with_clock, whole=whole)
        first = writer.function(calls)
        lines += [*writer.lines, *(_run(first) if shared else _alone(first))]
    return "\n".join([*lines, ""])


@dataclass(frozen=True)
class Unit:
    """What one claim covers: a call that has shares, or a chain of calls of which none has, done by one thread.

    `waits`: all that was called before must be done before any of it starts.
    """

    calls: tuple[Call, ...]
    waits: bool


def units(calls: Calls, *, ordered: bool = False) -> list[Unit | Control]:
    """The steps in order, with calls in units; `ordered`: each waits for all before it."""
    waits = [True] * len(calls) if ordered else barriers(calls)
    chains: list[tuple[Call, ...] | Control] = []
    joins = False  # whether a call may join the last chain
    for step, wait in zip(calls, waits, strict=True):
        last = chains[-1] if chains else None
        if not isinstance(step, Call):
            chains.append(step)
            joins = False
        elif isinstance(last, tuple) and joins and wait and not step.parallel and len(last) < CHUNK:
            chains[-1] = (*last, step)
        else:
            chains.append((step,))
            joins = wait and not step.parallel
    # Who does not do a chain goes past it without waiting for what is in it. So what meets any of it must wait itself.
    wholes = [Call("", tuple(p for k in c for p in k.places), False) if isinstance(c, tuple) else c for c in chains]
    stops = [True] * len(chains) if ordered else barriers(wholes)
    return [Unit(c, stop) if isinstance(c, tuple) else c for c, stop in zip(chains, stops, strict=True)]


class _Writer:
    """Writes functions `i64 name(block, thread, turn)`: the steps from `turn` on; the turn after them, 0 to leave.

    Args:
        kernels: the place of each in the table.
        shared: whether several threads do the steps; else one does, whose turn stays what it was.
        ordered: whether each call waits for all before it.
        whole: whether there is one function, which may become part of the one that calls it; several must not.
    """

    def __init__(self, kernels: Mapping[str, int], shared: bool, ordered: bool, *, whole: bool) -> None:
        self.kernels, self.shared, self.ordered = kernels, shared, ordered
        self.name, self.attributes = "run" if shared else "alone", "nounwind" if whole else "nounwind noinline"
        self.lines: list[str] = []
        self.functions, self.numbers = itertools.count(), itertools.count()

    def function(self, calls: Calls) -> str:
        """Write a function for `calls`, those that it calls before it. Returns its name."""
        names = [self._part(part) for part in _parts(units(calls, ordered=self.ordered))]
        if len(names) == 1:
            return names[0]
        lines, turn = [], "%turn"
        for n, name in enumerate(names):
            lines += [f"%turn{n} = call i64 @{name}(ptr %block, i64 %thread, i64 {turn})", *_go(n, f"%turn{n}")]
            turn = f"%turn{n}"
        return self._define(lines, turn)

    def _define(self, lines: Sequence[str], turn: str) -> str:
        name = f"{self.name}{next(self.functions)}"
        self.lines.append(f"define internal i64 @{name}(ptr %block, i64 %thread, i64 %turn) {self.attributes} {{")
        self.lines += [*lines, f"ret i64 {turn}", "end:", "ret i64 0", "}"]
        return name

    def _part(self, part: Sequence[Unit | Control]) -> str:
        lines, turn = self._head(part), "%turn"
        for unit in part:
            if isinstance(unit, Branch):
                added, turn = self._branch(unit, turn)
            elif isinstance(unit, Repeat):
                added, turn = self._repeat(unit, turn)
            elif self.shared:
                added, turn = self._claimed(unit, turn)
            else:
                added = [line for call in unit.calls for line in self._called(call)]
            lines += added
        return self._define(lines, turn)

    def _head(self, part: Sequence[Unit | Control]) -> list[str]:
        """%p0, %p1, …: what the block points to, as far as `part` uses it; for arrays, their data."""
        lines = []
        for i in sorted({p.slot for unit in part for p in _places(unit)}):
            lines += [at(f"%at{i}", "%block", FIRST + 8 * i), f"%a{i} = load ptr, ptr %at{i}, align 8"]
            if i >= ARRAYS:
                lines += [at(f"%data{i}", f"%a{i}", HEADER), f"%p{i} = load ptr, ptr %data{i}, align 8"]
            else:
                lines.append(at(f"%p{i}", f"%a{i}", 0))
        lines += [at("%kernels.at", "%block", FIRST + 8 * KERNELS), "%kernels = load ptr, ptr %kernels.at, align 8"]
        lines.append(at("%cancel.at", "%block", CANCEL))
        if self.shared:
            lines += [at("%threads.at", "%block", THREADS), "%threads = load i64, ptr %threads.at, align 8"]
            lines += [at("%records.at", "%block", RECORDS), "%records = load ptr, ptr %records.at, align 8"]
        return lines

    def _called(self, call: Call) -> list[str]:
        n = next(self.numbers)
        return [*_unless_cancelled(n), *self._call(n, call, "0", "1")]

    def _claimed(self, unit: Unit, turn: str) -> tuple[list[str], str]:
        """The shares of a unit, as far as nobody else does them."""
        first, *more = unit.calls
        n = next(self.numbers)
        thread, shares = ("%thread", "%threads") if first.parallel else ("0", "1")
        lines = [*(_await(turn) if unit.waits else []), *_unless_cancelled(n)]
        lines += [at(f"%record{n}", "%records", RECORD * n), f"br label %claim{n}", f"claim{n}:"]
        lines += [f"%share{n} = call i64 @claim(ptr %record{n}, i64 {thread}, i64 {shares}, i64 {turn})"]
        lines += [f"%got{n} = icmp sge i64 %share{n}, 0", f"br i1 %got{n}, label %work{n}, label %next{n}", f"work{n}:"]
        lines += self._call(n, first, f"%share{n}", shares)
        for call in more:
            k = next(self.numbers)
            lines += [*_unless_cancelled(k, f"finish{n}"), *self._call(k, call, "0", "1")]
        lines += [f"br label %finish{n}", f"finish{n}:", "call void @finish(ptr %block)"]
        lines += [f"br label %claim{n}", f"next{n}:", f"%turn{n} = add i64 {turn}, {shares}"]
        return lines, f"%turn{n}"

    def _call(self, n: int, call: Call, share: str, shares: str) -> list[str]:
        lines, pointers = [], []
        for k, place in enumerate(call.places):
            if place.offset:
                lines.append(at(f"%q{n}.{k}", f"%p{place.slot}", place.offset))
            pointers.append(f"ptr %q{n}.{k}" if place.offset else f"ptr %p{place.slot}")
        called = f"@{TICK}"
        if call.kernel != TICK:
            called = f"%kernel{n}"
            lines += [at(f"{called}.at", "%kernels", 8 * self.kernels[call.kernel])]
            lines += [f"{called} = load ptr, ptr {called}.at, align 8"]
        arguments = ", ".join([*pointers, "ptr %block", f"i64 {share}", f"i64 {shares}"])
        return [*lines, f"call void {called}({arguments})"]

    def _branch(self, step: Branch[Call, Place], turn: str) -> tuple[list[str], str]:
        n = next(self.numbers)
        lines = [*self._await(turn), *_unless_cancelled(n), *_flag(n, step.condition)]
        lines.append(f"%way{n} = zext i1 %on{n} to i64")
        decided, turn, way = self._decided(n, turn)
        lines += [*decided, f"%holds{n} = icmp ne i64 {way}, 0"]
        lines.append(f"br i1 %holds{n}, label %then{n}, label %otherwise{n}")
        for label, body in ((f"then{n}", step.then), (f"otherwise{n}", step.otherwise)):
            name = self.function(body)
            lines += [f"{label}:", f"%after.{label} = call i64 @{name}(ptr %block, i64 %thread, i64 {turn})"]
            lines.append(f"br label %joined{n}")
        after = f"[ %after.then{n}, %then{n} ], [ %after.otherwise{n}, %otherwise{n} ]"
        lines += [f"joined{n}:", f"%turn{n} = phi i64 {after}", *_go(n, f"%turn{n}")]
        return lines, f"%turn{n}"

    def _repeat(self, step: Repeat[Call, Place], turn: str) -> tuple[list[str], str]:
        """Left for good as well when a guard did not hold: the condition might be wrong for ever."""
        n = next(self.numbers)
        body = self.function(step.body)
        lines = [f"br label %enter{n}", f"enter{n}:", f"br label %again{n}", f"again{n}:"]
        lines.append(f"%turn{n} = phi i64 [ {turn}, %enter{n} ], [ %after{n}, %trip{n} ]")
        lines += [*self._await(f"%turn{n}"), *_unless_cancelled(n), *_load(f"status{n}", "i32", "%block", STATUS)]
        lines += [f"%well{n} = icmp eq i32 %status{n}, 0", f"br i1 %well{n}, label %look{n}, label %end", f"look{n}:"]
        lines += _load(f"trips{n}", "i64", f"%p{step.trip.slot}", step.trip.offset)
        lines += [*_load(f"most{n}", "i64", "%block", TRIPS), f"%spent{n} = icmp sge i64 %trips{n}, %most{n}"]
        lines += [*_flag(n, step.condition), f"%more{n} = select i1 %spent{n}, i64 2, i64 1"]
        lines.append(f"%way{n} = select i1 %on{n}, i64 %more{n}, i64 0")
        decided, turn, way = self._decided(n, f"%turn{n}")
        lines += [*decided, f"switch i64 {way}, label %stop{n} [ i64 0, label %next{n} i64 1, label %trip{n} ]"]
        lines.append(f"stop{n}:")
        lines.append(f"store atomic i32 {TOO_MANY_TRIPS}, ptr %status{n}.at monotonic, align 4")
        lines += ["br label %end", f"trip{n}:"]
        lines.append(f"%after{n} = call i64 @{body}(ptr %block, i64 %thread, i64 {turn})")
        lines += [f"%back{n} = icmp ne i64 %after{n}, 0", f"br i1 %back{n}, label %again{n}, label %end", f"next{n}:"]
        return lines, turn

    def _await(self, turn: str) -> list[str]:
        return _await(turn) if self.shared else []

    def _decided(self, n: int, turn: str) -> tuple[list[str], str, str]:
        """The way that all threads go, where %way is what this one sees; and the turn at which that was decided."""
        if not self.shared:
            return [], turn, f"%way{n}"
        lines = [at(f"%record{n}", "%records", RECORD * n)]
        lines += [f"%decided{n} = call i64 @decide(ptr %record{n}, i64 {turn}, i64 %way{n})"]
        lines += [f"%now{n} = lshr i64 %decided{n}, 2", f"%taken{n} = and i64 %decided{n}, 3"]
        return lines, f"%now{n}", f"%taken{n}"


def _parts(found: Sequence[Unit | Control]) -> list[list[Unit | Control]]:
    """`found` in parts of CHUNK steps, or a few less where a chain would not be whole."""
    parts: list[list[Unit | Control]] = [[]]
    room = CHUNK
    for unit in found:
        size = len(unit.calls) if isinstance(unit, Unit) else 1
        if size > room:
            parts.append([])
            room = CHUNK
        parts[-1].append(unit)
        room -= size
    return parts


def _places(unit: Unit | Control) -> list[Place]:
    """What is read where the unit stands, that is without bodies."""
    if isinstance(unit, Unit):
        return [p for call in unit.calls for p in call.places]
    return [unit.condition, unit.trip] if isinstance(unit, Repeat) else [unit.condition]


def _load(name: str, kind: str, base: str, offset: int) -> list[str]:
    """%name = what is in memory that others may write to at the same time."""
    word = f"load atomic {kind}, ptr %{name}.at monotonic, align {int(kind[1:]) // 8}"
    return [at(f"%{name}.at", base, offset), f"%{name} = {word}"]


def _flag(n: int, place: Place) -> list[str]:
    """%on: whether the bool in `place` is true."""
    return [*_load(f"flag{n}", "i8", f"%p{place.slot}", place.offset), f"%on{n} = icmp ne i8 %flag{n}, 0"]


def _go(n: int, turn: str) -> list[str]:
    return [f"%go.on{n} = icmp ne i64 {turn}, 0", f"br i1 %go.on{n}, label %next{n}, label %end", f"next{n}:"]


def _unless_cancelled(n: int, leave: str = "end") -> list[str]:
    """Leave if the run is cancelled. Whoever stays does the shares that are left, so nobody waits for who has gone."""
    return [
        f"%cancel{n} = load atomic i32, ptr %cancel.at monotonic, align 4",
        f"%go{n} = icmp eq i32 %cancel{n}, 0",
        f"br i1 %go{n}, label %step{n}, label %{leave}",
        f"step{n}:",
    ]


def _await(turn: str) -> list[str]:
    return [f"call void @await(ptr %block, i64 {turn})"]


def _alone(first: str) -> list[str]:
    lines = ["define internal void @alone(ptr %block) nounwind {"]
    return [*lines, f"%turn = call i64 @{first}(ptr %block, i64 0, i64 1)", "ret void", "}"]


def _run(first: str) -> list[str]:
    lines = ["define internal void @run(ptr %block, i64 %thread) nounwind {", at("%turn.at", "%block", TURN)]
    lines += ["%first = load i64, ptr %turn.at, align 8"]
    return [*lines, f"%turn = call i64 @{first}(ptr %block, i64 %thread, i64 %first)", "ret void", "}"]


_ENTRY = """
define void @enter(ptr %block) nounwind {
  call void @alone(ptr %block)
  ret void
}"""

_SHARED_ENTRY = f"""
declare void @dispatch(ptr, ptr, ptr)
declare i64 @claim(ptr, i64, i64, i64)
declare i64 @decide(ptr, i64, i64)
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
define internal void @{TICK}(ptr %last.at, ptr %own, ptr %block, i64 %share, i64 %shares) nounwind {{
  %t = alloca [2 x i64], align 8
  %r = call i32 @clock_gettime(i32 {CLOCK}, ptr %t)
  %s = load i64, ptr %t, align 8
  %ns.at = getelementptr i64, ptr %t, i64 1
  %ns = load i64, ptr %ns.at, align 8
  %scaled = mul i64 %s, 1000000000
  %now = add i64 %scaled, %ns
  %last = load i64, ptr %last.at, align 8
  store i64 %now, ptr %last.at, align 8
  {at("%start.at", "%own", START)}
  {at("%sum.at", "%own", SUM)}
  {at("%count.at", "%own", COUNT)}
  %start = load i64, ptr %start.at, align 8
  %sum = load i64, ptr %sum.at, align 8
  %count = load i64, ptr %count.at, align 8
  %first = icmp eq i64 %count, 0
  %begun = select i1 %first, i64 %last, i64 %start
  %elapsed = sub i64 %now, %last
  %total = add i64 %sum, %elapsed
  %counted = add i64 %count, 1
  store i64 %begun, ptr %start.at, align 8
  store i64 %total, ptr %sum.at, align 8
  store i64 %counted, ptr %count.at, align 8
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
