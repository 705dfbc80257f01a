"""A native program: what was compiled for a run of nodes, and how it is called."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from graphc.errors import ExecutionError, ResourceLimit
from graphc.frozen import Frozen
from graphc.interpret import Data, evaluate
from graphc.ir import Node, Value
from graphc.limits import check_deadline, current_limits, time_left
from graphc.loops.compose import known, sizes
from graphc.loops.nest import Nest
from graphc.types import Array

from ..codegen.jit import Library
from ..codegen.target import Target
from ..codegen.team import CANCEL, FIRST, STATUS, TOO_MANY_TRIPS, TRIPS
from .block import HEADER, Block, holder
from .calls import ARRAYS, Call, Calls, Place, kernel_numbers, record_count
from .clock import TIMED, timed
from .driver import driver
from .steps import Branch, Steps, bodies, leaves, mapped, trip_counts
from .threads import aligned, load_driver, take

LONG = 0.05  # seconds of a run from which on it is worth a thread to wait for it, so that it can be interrupted
WORTH_SHARING = 20e-6  # seconds of a run at full speed, below which it takes longer to wake other threads
UNKNOWN_TRIPS = 100  # of a loop, when the time of a run is guessed
NOWHERE: Mapping[int, Array] = MappingProxyType({})
ENTER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Step(Frozen, eq=False):
    """One call: the kernel's nest, the node that it came from (None for a copy), and where its arguments are."""

    nest: Nest
    node: Node | None
    call: Call

    @property
    def moved(self) -> int:
        """Bytes that it reads and writes, each element once."""
        return sum(n * b.dtype.numpy.itemsize for b, n in self.nest.touched().items())


class Resident(Frozen):
    """A value in the arena: `size` bytes at `offset`, in use from step `first` to step `last`."""

    value: str
    offset: int
    size: int
    first: int
    last: int


class Context:
    """What one run needs besides its inputs and outputs; used by one run at a time, again and again."""

    def __init__(self, program: Program):
        self.arena, self.times = aligned(program.arena), np.zeros(program._times, np.int64)
        arrays = [0] * (len(program.inputs) + len(program.outputs))  # written for each run
        pointers = [x.ctypes.data for x in (self.arena, program.constants, self.times, program._kernels)]
        self.block = Block([*pointers, *arrays], program._records)


@dataclass(eq=False)
class Program:
    """Machine code for `nodes`, from the values `inputs` to the values `outputs`.

    `run` may be called by several threads at once: each call has a context of its own.

    Attributes:
        steps: the kernels in order, those under a condition and those that are repeated.
        code: the kernels by name.
        arena: bytes of everything that lives only during a run, `residents`.
        threads: how many threads share the work; the arena has scratch memory for as many as it was built for.
    """

    nodes: Sequence[Node]
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    steps: Steps[Step, Place]
    code: Library
    arena: int
    residents: Sequence[Resident]
    constants: Array
    threads: int
    target: Target
    _times: int = 0  # words that the driver writes times to
    _timed: Program | None = None
    _free: list[Context] = field(default_factory=list)

    def __post_init__(self) -> None:
        steps = timed(calls(self.steps)) if self._times else calls(self.steps)
        self._driver = load_driver(driver(steps))
        self._enter = ENTER(self._driver.addresses["enter"])
        self._kernels = np.array([self.code.addresses[name] for name in kernel_numbers(steps)], np.uint64)
        self._types = [(sizes(v), v.tensor.dtype.numpy) for v in self.outputs]
        self._records = record_count(steps)
        trips = list(trip_counts(self.steps))
        self._loops, self._endless = bool(trips), None in trips
        flops, moved = work(self.steps)
        self._seconds = (flops + moved) * 1e-9  # until there has been a run: rather too long than too short
        if flops * 1e-11 + moved * 5e-11 < WORTH_SHARING or not any(s.call.parallel for s in self.kernels):
            self.threads = 1

    @cached_property
    def kernels(self) -> list[Step]:
        """All steps that call a kernel, in the order in which they are written down."""
        return list(leaves(self.steps))

    def run(self, data: Sequence[Array], out: Mapping[int, Array] = NOWHERE, times: Array | None = None) -> list[Array]:
        """The outputs for `data`, arrays of the inputs' types. Raises `ExecutionError` as NumPy's kernels do.

        Outputs whose numbers are in `out` are written into those arrays; what the driver's clock said goes to `times`.
        Written without detours: a small network takes some microseconds.
        """
        try:
            context = self._free.pop()
        except IndexError:
            context = Context(self)
        words = context.block.words
        held: list[Any] = []
        at = FIRST // 8 + ARRAYS
        for x in data:
            flags = x.flags
            if not (flags.c_contiguous and flags.aligned):
                x = np.require(x, requirements=["C", "A"])
                held.append(x)
            words[at] = id(x) if HEADER else holder(x, held)
            at += 1
        results: list[Array] = []
        for k, (shape, dtype) in enumerate(self._types):
            y = out[k] if k in out else np.empty(shape, dtype)
            results.append(y)
            words[at] = id(y) if HEADER else holder(y, held)
            at += 1
        if self._loops:
            words[TRIPS // 8] = current_limits().max_loop_trips
        if times is not None:
            context.times[:] = 0
        start = time.perf_counter()
        if self._seconds >= LONG or self._endless:
            self._call_watched(context, (data, results, held))
        elif self.threads > 1:
            self._call(context)
        else:
            self._enter(context.block.address)
        self._seconds = time.perf_counter() - start
        failed = words[STATUS // 8]
        if times is not None:
            times[:] = context.times
        if failed:
            words[STATUS // 8] = 0
        self._free.append(context)
        if failed:
            self._explain(data, failed)
        return results

    def _call(self, context: Context) -> None:
        """One run, on the team if it is free; alone otherwise, with the same results."""
        block = context.block
        team = take(self.threads) if self.threads > 1 else None
        if team is None:
            self._enter(block.address)
            return
        try:
            block.share(team, self.threads)
            self._enter(block.address)
        finally:
            block.share(None, 1)
            team.lock.release()

    def _call_watched(self, context: Context, used: object) -> None:
        """A run that takes long, in a thread of its own, so that Ctrl-C and the deadline can end it between kernels.

        Nothing that the thread uses is freed before it ends, whatever happens here: it holds `used`.
        """
        left = time_left()
        if left is None and threading.current_thread() is not threading.main_thread():
            self._call(context)
            return
        check_deadline()
        done = threading.Event()

        def work(used: object) -> None:
            try:
                self._call(context)
            finally:
                done.set()

        thread = threading.Thread(target=work, args=(used,), name="graphc-run", daemon=True)
        try:
            thread.start()
            while not done.wait(None if left is None else max(left, 0)):
                check_deadline()
                left = time_left()
        except BaseException:
            context.block.words[CANCEL // 8] = 1
            raise
        finally:
            thread.join()

    def time_kernels(self, data: Sequence[Array]) -> tuple[list[Array], list[tuple[float, float, int]]]:
        """The outputs, and for each kernel when it started first, how long it took in all its runs, and their number.

        In seconds after the start of the run, on a driver with a clock.
        """
        size = 1 + TIMED // 8 * (1 + len(self.kernels))
        if self._timed is None:
            self._timed = replace(self, _free=[], _times=size)
        times = np.zeros(size, np.int64)
        results = self._timed.run(data, times=times)
        (_, start, _), *rows = times[1:].reshape(-1, TIMED // 8).tolist()
        return results, [((t - start) * 1e-9 if runs else 0.0, total * 1e-9, runs) for t, total, runs in rows]

    def _explain(self, data: Sequence[Data], status: int) -> None:
        """A guard did not hold: NumPy's kernels say which node's, and why. Or a loop did not end."""
        if status == TOO_MANY_TRIPS:
            most = current_limits().max_loop_trips
            raise ResourceLimit(f"stopped after {most:,} trips", hint="Raise it with Limits(max_loop_trips=…)")
        computed: dict[Value, Any] = dict(zip(self.inputs, data, strict=True))
        for node in self.nodes:
            for x in node.inputs:
                if x is not None and x not in computed and (constant := known(x)) is not None:
                    computed[x] = constant.array
            results = evaluate(node, [None if x is None else computed[x] for x in node.inputs])
            computed.update(zip(node.outputs, results, strict=True))
        raise ExecutionError("a value that was computed breaks the contract of an operator")


def calls(steps: Steps[Step, Place]) -> Calls:
    """The steps as the driver knows them."""
    return mapped(steps, lambda s: [s.call], lambda place: place)


def work(steps: Steps[Step, Place]) -> tuple[float, float]:
    """Arithmetic operations and bytes of one run, both ways of a branch counted."""
    flops = moved = 0.0
    nodes: dict[Node, None] = {}
    for s in steps:
        if isinstance(s, Step):
            nodes.update({} if s.node is None else {s.node: None})
            moved += sum(p.size for p in s.call.places[: len(s.nest.arguments)])
            continue
        times = 1 if isinstance(s, Branch) else UNKNOWN_TRIPS if s.trips is None else s.trips
        for body in bodies(s):
            inner = work(body)
            flops, moved = flops + times * inner[0], moved + times * inner[1]
    for node in nodes:
        cost = node.op.cost(node.inputs, node.outputs).flops
        flops += cost if isinstance(cost, int) else 0
    return flops, moved
