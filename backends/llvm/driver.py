"""The driver of a program: the kernels in order, gone through by every thread of a team, waiting where one must.

It reads a block of memory. After the first line there are addresses: the arena, the constants, times, a table of the
kernels, and for each input and output that of an array object, in which NumPy keeps the address of the data. So nothing
in a driver tells which kernels it calls, and small programs with as many arrays share one. How the block begins, how
threads share the calls and why that is right says codegen/team.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from ..codegen.team import CANCEL, FIRST, RECORD, RECORDS, STATUS, TEAM, THREADS, TOO_MANY_TRIPS, TRIPS, TURN, at
from .block import HEADER
from .calls import ARRAYS, CHUNK, KERNELS, TICK, Call, Calls, Control, Place, Unit, kernel_numbers, units
from .clock import READING
from .steps import Branch, Repeat, leaves


def driver(calls: Calls) -> str:
    """The LLVM IR of `run(block, thread)`, of `alone(block)`, and of `enter(block)`, which takes the one that fits.

    Where no call has shares for several threads there is no `run`. A function has CHUNK steps at most, since LLVM's
    time grows faster than a function, and what is under a condition or repeated has functions of its own.
    """
    numbers = kernel_numbers(calls)
    with_clock = any(c.kernel == TICK for c in leaves(calls))
    shares = any(c.parallel for c in leaves(calls))
    parts = [_SHARED_ENTRY if shares else _ENTRY, READING if with_clock else ""]
    whole = len(calls) <= CHUNK and all(isinstance(s, Call) for s in calls)
    for shared in (False, True) if shares else (False,):
        writer = _Writer(numbers, shared, with_clock, whole=whole)
        first = writer.function(calls)
        parts += [*writer.functions, _run(first) if shared else _alone(first)]
    lines = [line.strip() for part in parts for line in part.splitlines()]  # indented here, for those who read this
    return "\n".join([*filter(None, lines), ""])


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


def _alone(first: str) -> str:
    return f"""
define internal void @alone(ptr %block) nounwind {{
  %turn = call i64 @{first}(ptr %block, i64 0, i64 1)
  ret void
}}"""


def _run(first: str) -> str:
    return f"""
define internal void @run(ptr %block, i64 %thread) nounwind {{
  {at("%turn.at", "%block", TURN)}
  %first = load i64, ptr %turn.at, align 8
  %turn = call i64 @{first}(ptr %block, i64 %thread, i64 %first)
  ret void
}}"""


class _Writer:
    """Writes functions `i64 name(block, thread, turn)`: the steps from `turn` on; the turn after them, 0 to leave.

    Each step has a number, in which the names of its registers and labels end, and which is that of its record. What
    writes a step gives its code, and the register that the turn after it is in.

    Args:
        kernels: the place of each in the table.
        shared: whether several threads do the steps; else one does, whose turn stays what it was.
        ordered: whether each call waits for all before it.
        whole: whether there is one function, which may become part of the one that calls it; several must not.
    """

    def __init__(self, kernels: Mapping[str, int], shared: bool, ordered: bool, *, whole: bool) -> None:
        self.kernels, self.shared, self.ordered = kernels, shared, ordered
        self.attributes = "nounwind" if whole else "nounwind noinline"
        self.functions: list[str] = []
        self.numbers = itertools.count()

    # -- functions ----------------------------------------------------------------------------------------------------
    def function(self, calls: Calls) -> str:
        """Write a function for `calls`, those that it calls before it. Returns its name."""
        names = [self._part(part) for part in _parts(units(calls, ordered=self.ordered))]
        if len(names) == 1:
            return names[0]
        code, turn = "", "%turn"
        for n, name in enumerate(names):
            code += f"""
                %turn{n} = call i64 @{name}(ptr %block, i64 %thread, i64 {turn})
                {_go_on(n, f"%turn{n}")}"""
            turn = f"%turn{n}"
        return self._define(code, turn)

    def _part(self, part: Sequence[Unit | Control]) -> str:
        code, turn = self._pointers(part), "%turn"
        for step in part:
            if isinstance(step, Branch):
                more, turn = self._branch(step, turn)
            elif isinstance(step, Repeat):
                more, turn = self._repeat(step, turn)
            else:
                more, turn = self._claimed(step, turn) if self.shared else (self._called(step), turn)
            code += more
        return self._define(code, turn)

    def _define(self, code: str, turn: str) -> str:
        name = f"{'run' if self.shared else 'alone'}{len(self.functions)}"
        self.functions.append(f"""
            define internal i64 @{name}(ptr %block, i64 %thread, i64 %turn) {self.attributes} {{
              {code}
              ret i64 {turn}
            end:
              ret i64 0
            }}""")
        return name

    def _pointers(self, part: Sequence[Unit | Control]) -> str:
        """%p0, %p1, …: what the block points to, as far as `part` uses it; for arrays, their data."""
        slots = sorted({place.slot for step in part for place in _places(step)})
        code = f"""
            {"".join(map(_pointer, slots))}
            {at("%kernels.at", "%block", FIRST + 8 * KERNELS)}
            %kernels = load ptr, ptr %kernels.at, align 8
            {at("%cancel.at", "%block", CANCEL)}"""
        if self.shared:
            code += f"""
                {at("%threads.at", "%block", THREADS)}
                %threads = load i64, ptr %threads.at, align 8
                {at("%records.at", "%block", RECORDS)}
                %records = load ptr, ptr %records.at, align 8"""
        return code

    # -- calls --------------------------------------------------------------------------------------------------------
    def _called(self, unit: Unit) -> str:
        """The calls of a unit, by the one thread that there is."""
        return "\n".join(self._each(unit.calls, "end"))

    def _each(self, calls: Sequence[Call], leave: str) -> list[str]:
        """Calls that have one share each; who is cancelled leaves for the label `leave`."""
        numbered = [(next(self.numbers), call) for call in calls]
        return [f"{_unless_cancelled(n, leave)}\n{self._call(n, call, '0', '1')}" for n, call in numbered]

    def _claimed(self, unit: Unit, turn: str) -> tuple[str, str]:
        """The shares of a unit, as far as nobody else does them; one that is claimed is finished in any case."""
        n = next(self.numbers)
        first, *more = unit.calls
        thread, shares = ("%thread", "%threads") if first.parallel else ("0", "1")
        code = f"""
              {self._await(turn) if unit.waits else ""}
              {_unless_cancelled(n)}
              {at(f"%record{n}", "%records", RECORD * n)}
              br label %claim{n}
            claim{n}:
              %share{n} = call i64 @claim(ptr %record{n}, i64 {thread}, i64 {shares}, i64 {turn})
              %got{n} = icmp sge i64 %share{n}, 0
              br i1 %got{n}, label %work{n}, label %next{n}
            work{n}:
              {self._call(n, first, f"%share{n}", shares)}
              {"".join(self._each(more, f"finish{n}"))}
              br label %finish{n}
            finish{n}:
              call void @finish(ptr %block)
              br label %claim{n}
            next{n}:
              %turn{n} = add i64 {turn}, {shares}"""
        return code, f"%turn{n}"

    def _call(self, n: int, call: Call, share: str, shares: str) -> str:
        code, pointers, called = "", [], f"@{TICK}"
        for k, place in enumerate(call.places):
            pointer = f"%p{place.slot}"
            if place.offset:
                code += at(f"%q{n}.{k}", pointer, place.offset) + "\n"
                pointer = f"%q{n}.{k}"
            pointers.append(f"ptr {pointer}")
        if call.kernel != TICK:
            called = f"%kernel{n}"
            code += f"""
                {at(f"{called}.at", "%kernels", 8 * self.kernels[call.kernel])}
                {called} = load ptr, ptr {called}.at, align 8
                """
        return f"{code}call void {called}({', '.join(pointers)}, ptr %block, i64 {share}, i64 {shares})"

    # -- control ------------------------------------------------------------------------------------------------------
    def _branch(self, step: Branch[Call, Place], turn: str) -> tuple[str, str]:
        n = next(self.numbers)
        decided, now, way = self._decided(n, turn)
        code = f"""
              {self._await(turn)}
              {_unless_cancelled(n)}
              {_flag(n, step.condition)}
              %way{n} = zext i1 %on{n} to i64
              {decided}
              %holds{n} = icmp ne i64 {way}, 0
              br i1 %holds{n}, label %then{n}, label %otherwise{n}
            then{n}:
              %after.then{n} = call i64 @{self.function(step.then)}(ptr %block, i64 %thread, i64 {now})
              br label %joined{n}
            otherwise{n}:
              %after.otherwise{n} = call i64 @{self.function(step.otherwise)}(ptr %block, i64 %thread, i64 {now})
              br label %joined{n}
            joined{n}:
              %turn{n} = phi i64 [ %after.then{n}, %then{n} ], [ %after.otherwise{n}, %otherwise{n} ]
              {_go_on(n, f"%turn{n}")}"""
        return code, f"%turn{n}"

    def _repeat(self, step: Repeat[Call, Place], turn: str) -> tuple[str, str]:
        """Left for good as well when a guard did not hold: the condition might be wrong for ever."""
        n = next(self.numbers)
        decided, now, way = self._decided(n, f"%turn{n}")
        code = f"""
              br label %enter{n}
            enter{n}:
              br label %again{n}
            again{n}:
              %turn{n} = phi i64 [ {turn}, %enter{n} ], [ %after{n}, %trip{n} ]
              {self._await(f"%turn{n}")}
              {_unless_cancelled(n)}
              {_load(f"status{n}", "i32", "%block", STATUS)}
              %well{n} = icmp eq i32 %status{n}, 0
              br i1 %well{n}, label %look{n}, label %end
            look{n}:
              {_load(f"trips{n}", "i64", f"%p{step.trip.slot}", step.trip.offset)}
              {_load(f"most{n}", "i64", "%block", TRIPS)}
              %spent{n} = icmp sge i64 %trips{n}, %most{n}
              {_flag(n, step.condition)}
              %more{n} = select i1 %spent{n}, i64 2, i64 1
              %way{n} = select i1 %on{n}, i64 %more{n}, i64 0
              {decided}
              switch i64 {way}, label %stop{n} [ i64 0, label %next{n} i64 1, label %trip{n} ]
            stop{n}:
              store atomic i32 {TOO_MANY_TRIPS}, ptr %status{n}.at monotonic, align 4
              br label %end
            trip{n}:
              %after{n} = call i64 @{self.function(step.body)}(ptr %block, i64 %thread, i64 {now})
              %back{n} = icmp ne i64 %after{n}, 0
              br i1 %back{n}, label %again{n}, label %end
            next{n}:"""
        return code, now

    def _await(self, turn: str) -> str:
        """Wait until all before `turn` is done; who is alone has done it."""
        return f"call void @await(ptr %block, i64 {turn})" if self.shared else ""

    def _decided(self, n: int, turn: str) -> tuple[str, str, str]:
        """The turn at which the way of all threads was decided, and that way, where %way is what this one sees."""
        if not self.shared:
            return "", turn, f"%way{n}"
        code = f"""
            {at(f"%record{n}", "%records", RECORD * n)}
            %decided{n} = call i64 @decide(ptr %record{n}, i64 {turn}, i64 %way{n})
            %now{n} = lshr i64 %decided{n}, 2
            %taken{n} = and i64 %decided{n}, 3"""
        return code, f"%now{n}", f"%taken{n}"


# -- pieces -----------------------------------------------------------------------------------------------------------
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


def _places(step: Unit | Control) -> list[Place]:
    """What is read where the step stands, that is without bodies."""
    if isinstance(step, Unit):
        return [p for call in step.calls for p in call.places]
    return [step.condition, step.trip] if isinstance(step, Repeat) else [step.condition]


def _pointer(slot: int) -> str:
    """%p: what the slot of the block points to; for an array the data, whose address is in the array object."""
    into, offset = (f"%data{slot}", HEADER) if slot >= ARRAYS else (f"%p{slot}", 0)
    return f"""
        {at(f"%at{slot}", "%block", FIRST + 8 * slot)}
        %a{slot} = load ptr, ptr %at{slot}, align 8
        {at(into, f"%a{slot}", offset)}
        {f"%p{slot} = load ptr, ptr %data{slot}, align 8" if slot >= ARRAYS else ""}
        """


def _load(name: str, kind: str, base: str, offset: int) -> str:
    """%name = what is in memory that others may write to at the same time."""
    return f"""
        {at(f"%{name}.at", base, offset)}
        %{name} = load atomic {kind}, ptr %{name}.at monotonic, align {int(kind[1:]) // 8}"""


def _flag(n: int, place: Place) -> str:
    """%on: whether the bool in `place` is true."""
    return f"""
        {_load(f"flag{n}", "i8", f"%p{place.slot}", place.offset)}
        %on{n} = icmp ne i8 %flag{n}, 0"""


def _go_on(n: int, turn: str) -> str:
    """Leave if who was called did."""
    return f"""
          %go.on{n} = icmp ne i64 {turn}, 0
          br i1 %go.on{n}, label %next{n}, label %end
        next{n}:"""


def _unless_cancelled(n: int, leave: str = "end") -> str:
    """Leave if the run is cancelled. Whoever stays does the shares that are left, so nobody waits for who has gone."""
    return f"""
          %cancel{n} = load atomic i32, ptr %cancel.at monotonic, align 4
          %go{n} = icmp eq i32 %cancel{n}, 0
          br i1 %go{n}, label %step{n}, label %{leave}
        step{n}:"""
