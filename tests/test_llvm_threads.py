"""Teams of threads: every thread runs, barriers hold, results do not depend on how many threads there are."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvm_targets import targets

import graphc
from graphc import models
from graphc.backends.codegen.jit import compile_object, link
from graphc.backends.codegen.target import host_target
from graphc.backends.codegen.team import TRIPS
from graphc.backends.llvm import LlvmBackend, lowering, program, threads
from graphc.backends.llvm.block import Block
from graphc.backends.llvm.calls import ARRAYS, Call, Calls, Place, Unit, barriers, kernel_numbers, record_count, units
from graphc.backends.llvm.clock import timed
from graphc.backends.llvm.driver import driver
from graphc.backends.llvm.steps import Branch, Repeat
from graphc.backends.llvm.threads import Team, aligned, load_driver, thread_count
from graphc.cpu import cgroup_quota, cpu_count
from graphc.interpret import interpret
from graphc.ir import Graph, Op, Value
from graphc.loops import contract
from graphc.loops import schedule as schedules
from graphc.loops.nest import For, Nest
from graphc.loops.schedule import schedule
from graphc.ops.activation import Relu
from graphc.ops.arithmetic import Neg
from graphc.ops.base import const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.linear import Gemm, MatMul
from graphc.runtime.backend import Options
from graphc.types import TensorType, float32

# `add`: each share adds its number plus one to an element of its own. `sum`: adds those up, after the first `threads`.
KERNELS = """
define void @add(ptr %x, ptr %status, i64 %thread, i64 %threads) {
  %mine = getelementptr i64, ptr %x, i64 %thread
  %old = load i64, ptr %mine
  %step = add i64 %thread, 1
  %new = add i64 %old, %step
  store i64 %new, ptr %mine
  ret void
}
define void @sum(ptr %x, ptr %total, ptr %status, i64 %thread, i64 %threads) {
entry:
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %k1, %next ]
  %t = phi i64 [ 0, %entry ], [ %t1, %next ]
  %at = getelementptr i64, ptr %x, i64 %k
  %v = load i64, ptr %at
  %t1 = add i64 %t, %v
  %k1 = add i64 %k, 1
  %more = icmp ult i64 %k1, 64
  br i1 %more, label %next, label %done
done:
  %old = load i64, ptr %total
  %new = add i64 %old, %t1
  store i64 %new, ptr %total
  ret void
}
"""
# `count`: trip = trip + 1; go = trip mod 4 != 0 and odd = trip mod 2 == 1, in the bytes after it.
COUNT = """
define void @count(ptr %trip, ptr %status, i64 %thread, i64 %threads) {
  %old = load i64, ptr %trip
  %new = add i64 %old, 1
  store i64 %new, ptr %trip
  %rest = and i64 %new, 3
  %go = icmp ne i64 %rest, 0
  %byte = zext i1 %go to i8
  %go.at = getelementptr i8, ptr %trip, i64 8
  store i8 %byte, ptr %go.at
  %odd = trunc i64 %new to i8
  %bit = and i8 %odd, 1
  %odd.at = getelementptr i8, ptr %trip, i64 9
  store i8 %bit, ptr %odd.at
  ret void
}
"""
ADD = Call("add", (Place(0, 0, 512, True),), True)
SUM = Call("sum", (Place(0, 0, 512, False), Place(0, 512, 8, True)), False)
ENTER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Driven:
    """A driver of the kernels above, on a team of its own."""

    def __init__(self, size: int, calls: Calls):
        names = list(kernel_numbers(calls))
        self.code = link([compile_object(KERNELS + COUNT, host_target())], names)
        self.driver = load_driver(driver(calls))
        self.enter = ENTER(self.driver.addresses["enter"])
        self.kernels = np.array([self.code.addresses[name] for name in names])
        self.team = Team()
        self.team.grow(size)
        self.data, self.times = aligned(1024).view(np.int64), aligned(1 << 16)
        slots = self.data, self.data, self.times, self.kernels
        self.block = Block([x.ctypes.data for x in slots], record_count(calls))
        self.block.words[TRIPS // 8] = 1 << 62

    def run(self, threads: int) -> int:
        self.data[:] = 0
        self.block.share(self.team, threads)
        self.enter(self.block.address)
        return int(self.data[64])


class Rounds(Driven):
    """`add` and `sum` by turns; several `sum`s in a row are done by one thread."""

    def __init__(self, size: int, rounds: int, sums: int = 1):
        super().__init__(size, [ADD, *[SUM] * sums] * rounds)
        self.rounds, self.sums = rounds, sums

    def want(self, threads: int) -> int:
        return self.sums * sum(range(1, self.rounds + 1)) * threads * (threads + 1) // 2


@pytest.fixture(params=[(1, 20), (2, 1), (2, 16), (2, 200), (3, 50), (8, 100), (2, 16, 3), (3, 50, 5)], ids=str)
def rounds(request: pytest.FixtureRequest) -> Iterator[Rounds]:
    made = Rounds(*request.param)
    yield made
    made.team.stop()
    assert not made.team.threads


class TestTeam:
    def test_every_share_is_done_once_and_in_time(self, rounds: Rounds):
        for _ in range(300):
            assert rounds.run(rounds.team.size) == rounds.want(rounds.team.size)

    def test_fewer_threads_than_there_are(self, rounds: Rounds):
        for _ in range(10):
            for size in range(1, rounds.team.size + 1):
                assert rounds.run(size) == rounds.want(size)

    def test_after_they_have_fallen_asleep(self, rounds: Rounds):
        for _ in range(5):
            time.sleep(0.01)
            assert rounds.run(rounds.team.size) == rounds.want(rounds.team.size)

    def test_nobody_has_to_come(self, rounds: Rounds):
        """The caller does all shares when the others do not wake up."""
        missing = Team()
        missing.threads = list(rounds.team.threads)  # so many, that is, but they listen to another
        team, rounds.team = rounds.team, missing
        assert rounds.run(missing.size) == rounds.want(missing.size)
        rounds.team = team

    def test_idle_threads_use_no_time(self):
        made = Rounds(4, 3)
        made.run(4)
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.05
        made.team.stop()


def counted(at: int) -> tuple[Call, Place, Place, Place]:
    """A call that counts in the word at `at`, and the places of the count, of "go on" and of "odd"."""
    trip = Place(0, at, 8, False)
    places = (replace(trip, size=10, written=True),)
    return Call("count", places, False), trip, Place(0, at + 8, 1, False), Place(0, at + 9, 1, False)


class TestControl:
    @pytest.mark.parametrize("size", [1, 2, 3, 8])
    def test_loops_and_branches(self, size: int):
        """Trips that take less time than waking a thread, so that there are always some who are late."""
        (outer, outer_trip, outer_going, _), (inner, inner_trip, inner_going, odd) = counted(576), counted(640)
        choice = Branch(odd, [ADD, SUM], [SUM, *[ADD] * 40])
        body = [ADD, inner, Repeat(inner_going, inner_trip, [choice, SUM, inner]), SUM, outer]
        calls = [outer, Repeat(outer_going, outer_trip, body), ADD, SUM]
        # The inner loop goes on from the count where it stopped.
        trips = [("as" if n % 2 else "s" + 40 * "a") + "s" for n in range(12)]
        names = "".join(f"a{''.join(trips[k + 1 : k + 4])}s" for k in (0, 4, 8))
        added = total = 0
        for name in names + "as":
            added, total = (added + 1, total) if name == "a" else (added, total + added)
        for form in (calls, timed(calls)):
            driven = Driven(size, form)
            for count in range(1, size + 1):
                for _ in range(200):
                    assert driven.run(count) == total * count * (count + 1) // 2
            driven.team.stop()


def test_a_busy_team_is_not_waited_for():
    team = threads.take(2)
    assert team is not None
    try:
        assert threads.take(2) is None
    finally:
        team.lock.release()


def test_no_more_threads_than_the_process_may_have(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert thread_count(None) == 6
    assert thread_count(4) == 4
    assert thread_count(1000) == 6


SAID = [("3", 3), ("2,4", 2), ("64", 6), ("0", 6), ("-1", 6), ("many", 6), ("", 6)]


@pytest.mark.parametrize(("said", "count"), SAID)
def test_no_more_than_the_environment_says_unless_asked(monkeypatch: pytest.MonkeyPatch, said: str, count: int):
    monkeypatch.setattr(threads, "cpu_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert thread_count(None) == count
    assert thread_count(5) == 5


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"own": "0::/a/b", "fs/a/cpu.max": "150000 100000", "fs/a/b/cpu.max": "max 100000"}, 1.5),
        ({"own": "0::/host/path", "fs/cpu.max": "300000 100000"}, 3.0),
        ({"own": "0::/", "fs/cpu.max": "max 100000"}, None),
        (
            {
                "own": "5:memory:/m\n4:cpu,cpuacct:/c",
                "fs/cpu/c/cpu.cfs_quota_us": "50000",
                "fs/cpu/c/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        ({"own": "4:cpu:/", "fs/cpu/cpu.cfs_quota_us": "-1", "fs/cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_control_groups(tmp_path: Path, files: dict[str, str], want: float | None):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "own") == want
    assert cpu_count() >= 1


class TestDriver:
    def test_barriers_only_where_memory_is_shared(self):
        def call(parallel: bool, reads: int, writes: int) -> Call:
            return Call("k", (Place(0, 64 * reads, 64, False), Place(0, 64 * writes, 64, True)), parallel)

        chain = [call(True, 0, 1), call(True, 1, 2), call(False, 2, 3), call(False, 3, 4), call(True, 4, 5)]
        assert barriers(chain) == [True, True, True, True, True]
        branches = [call(True, 0, 1), call(True, 0, 2), call(True, 0, 3), call(True, 3, 4), call(True, 2, 5)]
        assert barriers(branches) == [True, False, False, True, False]
        reuse = [call(True, 0, 1), call(True, 2, 0)]  # overwrites what the first one reads
        assert barriers(reuse) == [True, True]
        choice = Branch(Place(0, 0, 1, False), [call(True, 0, 1)], [])
        assert barriers([*branches[:2], choice, *branches[1:3]]) == [True, False, True, True, False]

    def test_what_meets_the_middle_of_a_chain_waits_for_it(self):
        """The last call does not meet the second, but the first, which another thread may still be at."""
        write, read, other = Place(0, 0, 64, True), Place(0, 0, 64, False), Place(0, 64, 64, True)
        calls = [Call("k", (write,), False), Call("k", (read, other), False), Call("k", (read,), True)]
        assert barriers(calls) == [True, True, False]
        assert units(calls) == [Unit((calls[0], calls[1]), True), Unit((calls[2],), True)]

    @given(
        st.lists(
            st.tuples(st.sets(st.integers(0, 3), max_size=2), st.integers(0, 3), st.booleans()), min_size=1, max_size=80
        )
    )
    def test_units_wait_for_all_that_they_meet(self, drawn: list[tuple[set[int], int, bool]]):
        """Between two units whose order matters one waits: the later, or one on the way to it."""
        calls = [
            Call("k", (*(Place(0, 64 * r, 64, False) for r in reads), Place(0, 64 * w, 64, True)), parallel)
            for reads, w, parallel in drawn
        ]
        found = [unit for unit in units(calls) if isinstance(unit, Unit)]
        assert [call for unit in found for call in unit.calls] == calls
        assert all(len(unit.calls) == 1 or not any(call.parallel for call in unit.calls) for unit in found)
        for j, later in enumerate(found):
            for i, earlier in enumerate(found[:j]):
                places = [[p for call in unit.calls for p in call.places] for unit in (earlier, later)]
                if any(a.meets(b) for a in places[0] for b in places[1]):
                    assert any(unit.waits for unit in found[i + 1 : j + 1])

    def test_text(self, golden):
        calls = [
            Call("k1", (Place(ARRAYS, 0, 64, False), Place(0, 0, 64, True)), True),
            Call("k2", (Place(0, 0, 64, False), Place(ARRAYS + 1, 0, 64, True)), True),
        ]
        text = driver(calls)
        assert compile_object(text, host_target())
        golden(text[text.index("define internal i64 @alone0") :])

    def test_text_of_control(self, golden):
        going, trip, odd = Place(1, 64, 1, False), Place(1, 72, 8, False), Place(ARRAYS, 0, 1, False)
        first = Call("k1", (Place(0, 0, 64, True),), True)
        second = Call("k2", (Place(0, 0, 64, False), Place(1, 64, 16, True)), False)
        text = driver([first, Repeat(going, trip, [Branch(odd, [first], [second]), second])])
        assert compile_object(text, host_target())
        golden(text[text.index("define internal i64 @run0") :])

    def test_small_programs_share_one(self):
        """Which kernels they call is not written in it."""
        x = Value(TensorType(float32, (4,)), name="x")
        compiled = [graphc.compile(Graph([x], [op()(x)]), backend="llvm") for op in (Relu, Neg)]
        first, second = (m._executable.only.whole for m in compiled)  # type: ignore[union-attr]
        assert first._driver is second._driver
        data = np.array([-1, 0, 2, -3], np.float32)
        np.testing.assert_array_equal(compiled[0](data), [0, 0, 2, 0])
        np.testing.assert_array_equal(compiled[1](data), -data)

    def test_what_no_thread_can_share_has_no_code_for_teams(self):
        """It runs, alone, also where the block names a team."""
        calls = [replace(ADD, parallel=False), SUM]
        text = driver(calls)
        assert "@run" not in text
        assert "@dispatch" not in text
        code = load_driver(text)
        rounds = Rounds(2, 1)
        rounds.enter = ENTER(code.addresses["enter"])
        assert rounds.run(2) == rounds.run(1) == 1
        rounds.team.stop()


def parallel_outside(nest: Nest, lanes: int) -> Nest:
    """The usual schedule, and the outermost loop shared out, which in these graphs runs over elements of the output."""
    nest = schedule(nest, lanes)
    if len(nest.body) == 1 and isinstance(loop := nest.body[0], For) and loop.kind == "serial":
        return replace(nest, body=(replace(loop, kind="parallel"),))
    return nest


@pytest.fixture
def shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "schedule", parallel_outside)
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)


IMAGE = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32)


@pytest.mark.usefixtures("shared_out")
class TestPrograms:
    def test_same_bits_for_any_number_of_threads(self):
        graph = models.lenet5(batch=4)
        found = {graphc.compile(graph, backend="llvm", threads=n)(IMAGE).tobytes() for n in (1, 2, 3, 8)}
        assert len(found) == 1

    def test_work_is_shared_out(self):
        executable = LlvmBackend().compile(models.lenet5(batch=4), Options(threads=3))
        compiled = next(iter(executable.signatures.values())).regions[0].program
        assert compiled.threads == 3
        assert sum(s.call.parallel for s in compiled.steps) > 5

    def test_many_callers(self):
        model = graphc.compile(models.lenet5(batch=4), backend="llvm", threads=4)
        want = [model(IMAGE + k) for k in range(4)]
        with ThreadPoolExecutor(8) as pool:
            for k, y in enumerate(pool.map(lambda k: model(IMAGE + k % 4), range(200))):
                assert y.tobytes() == want[k % 4].tobytes()

    def test_after_a_fork(self):
        model = graphc.compile(models.lenet5(batch=4), backend="llvm", threads=2)
        want = model(IMAGE)
        context = multiprocessing.get_context("fork")
        receive, send = context.Pipe()
        child = context.Process(target=lambda: send.send_bytes(model(IMAGE).tobytes()))
        child.start()
        assert receive.poll(60)
        assert receive.recv_bytes() == want.tobytes()
        child.join(10)
        assert child.exitcode == 0
        assert model(IMAGE).tobytes() == want.tobytes()

    def test_forks_while_others_run(self):
        model = graphc.compile(models.lenet5(batch=4), backend="llvm", threads=2)
        want = model(IMAGE).tobytes()
        stop = threading.Event()

        def keep_running() -> None:
            while not stop.is_set():
                model(IMAGE)

        others = [threading.Thread(target=keep_running) for _ in range(2)]
        for other in others:
            other.start()
        try:
            for _ in range(10):
                pid = os.fork()
                if pid == 0:
                    os._exit(0 if model(IMAGE).tobytes() == want else 1)
                assert os.waitpid(pid, 0)[1] == 0
        finally:
            stop.set()
            for other in others:
                other.join()


# Outputs whose rows, panels and lanes do not come out even, in each form of contraction.
CONTRACTIONS: dict[str, tuple[Op, list[tuple[int, ...]]]] = {
    "matmul": (MatMul(), [(65, 70), (70, 101)]),
    "matmul-row": (MatMul(), [(1, 300), (300, 1003)]),
    "matmul-column": (MatMul(), [(203, 300), (300, 1)]),
    "matmul-batch": (MatMul(), [(3, 17, 33), (3, 33, 19)]),
    "gemm-transposed": (Gemm(transA=True, transB=True), [(70, 135), (150, 70), (150,)]),
    "conv": (Conv(pads=(1, 1, 1, 1)), [(2, 19, 13, 15), (37, 19, 3, 3), (37,)]),
    "conv-blocked": (Conv(pads=(1, 1, 1, 1)), [(1, 64, 13, 15), (64, 64, 3, 3), (64,)]),
    "conv-strided": (Conv(strides=(2, 2), pads=(3, 3, 3, 3)), [(1, 3, 37, 41), (32, 3, 7, 7)]),
    "conv-1x1": (Conv(), [(1, 33, 9, 7), (50, 33, 1, 1)]),
    "conv-grouped": (Conv(group=3), [(1, 27, 11, 12), (33, 9, 3, 3)]),
    "conv-depthwise": (Conv(group=40, pads=(1, 1, 1, 1)), [(1, 40, 17, 19), (40, 1, 3, 3)]),
    "conv-1d": (Conv(pads=(2, 2)), [(1, 20, 203), (30, 20, 5)]),
    "conv-transposed": (ConvTranspose(strides=(2, 2)), [(1, 20, 9, 11), (20, 13, 3, 3)]),
}


@pytest.fixture
def all_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to do, threads share it."""
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)
    monkeypatch.setattr(program, "WORTH_SHARING", 0.0)
    monkeypatch.setattr(schedules, "GRAIN", 1)
    monkeypatch.setattr(contract, "GRAIN", 1)


@pytest.mark.usefixtures("all_shared")
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_contractions(name: str):
    """The same bits for any number of threads, and right results at every vector width."""
    op, shapes = CONTRACTIONS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    for fixed in (False, True):  # weights that are known are packed when they are compiled
        xs = [Value(TensorType(float32, s), name=f"x{i}") for i, s in enumerate(shapes)]
        if fixed:
            xs[1:] = [const(a) for a in arrays[1:]]
        graph = Graph(xs[:1] if fixed else xs, op.apply(xs))
        (want,) = interpret(graph, arrays[: len(graph.inputs)])
        found = set()
        for n in (1, 2, 3):
            executable = LlvmBackend().compile(graph, Options(threads=n))
            steps = next(iter(executable.signatures.values())).regions[0].program.steps
            assert any(s.call.parallel for s in steps)
            for _ in range(2):
                (y,) = executable.run(arrays[: len(graph.inputs)])
                found.add(y.tobytes())
        assert len(found) == 1
        for target in targets():
            (y,) = LlvmBackend(target).compile(graph, Options(threads=2)).run(arrays[: len(graph.inputs)])
            np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)


EXIT = """
    import sys, threading
    import numpy as np
    import graphc
    from graphc import models
    from graphc.backends.llvm import threads

    threads.take(3).lock.release()
    model = graphc.compile(models.lenet5(), backend="llvm")
    x = np.zeros((1, 1, 28, 28), np.float32)

    def forever():
        while True:
            model(x)

    threading.Thread(target=forever, daemon=True).start()
    model(x)
"""


def test_the_interpreter_exits():
    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(EXIT)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
