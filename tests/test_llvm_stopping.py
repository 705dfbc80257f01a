"""Timeouts and Ctrl-C during native code, and the model afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import graphc
from graphc.backends.codegen.jit import compile_object, link
from graphc.backends.codegen.target import host_target
from graphc.backends.llvm import threads
from graphc.backends.llvm.calls import Call, Place
from graphc.backends.llvm.program import Program, Step
from graphc.backends.llvm.threads import aligned
from graphc.loops.nest import Nest
from graphc.parse import parse

NAP = """
declare i32 @usleep(i32)
define void @nap(ptr %x, ptr %status, i64 %thread, i64 %threads) {
  call i32 @usleep(i32 25000)
  ret void
}
"""
X = np.array([-1, 2, -3, 4], np.float32)
pytestmark = pytest.mark.skipif(os.name != "posix", reason="usleep")


def naps(count: int, program: Program, threads: int) -> Program:
    """`program`'s inputs and outputs around `count` kernels that take 25 ms each and compute nothing."""
    call = Call("nap", (Place(0, 0, 64, True),), threads > 1)
    target = host_target()
    # Each waits for the one before, as kernels do that share memory.
    steps = [Step(Nest((), (), ()), None, call)] * count
    library = link([compile_object(NAP, target)], ["nap"])
    return Program(program.nodes, program.inputs, program.outputs, steps, library, 0, (), aligned(64), threads, target)


@pytest.fixture(params=[1, 2])
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[graphc.CompiledModel]:
    """A model whose run takes ten seconds, in 400 kernels."""
    monkeypatch.setattr(threads, "cpu_count", lambda: 2)
    model = graphc.compile(
        parse("graph (%x: f32[4]) {\n %y: f32[4] = Relu(%x)\n return %y\n}"), backend="llvm", threads=request.param
    )
    compiled = model._executable.signatures.values()[0]  # type: ignore[union-attr]
    quick = compiled.whole
    compiled.whole = naps(400, quick, request.param)
    compiled.whole._seconds = 1.0
    yield model
    short = naps(3, quick, request.param)
    compiled.whole = short
    model(X)
    compiled.whole = quick
    np.testing.assert_array_equal(model(X), [0, 2, 0, 4])


def test_a_timeout(slow: graphc.CompiledModel):
    for seconds in (0.02, 0.3):
        start = time.perf_counter()
        with pytest.raises(graphc.Timeout):
            slow.run([X], timeout=seconds)
        assert seconds <= time.perf_counter() - start < seconds + 2


def test_a_timeout_in_another_thread(slow: graphc.CompiledModel):
    caught: list[BaseException] = []

    def work() -> None:
        try:
            slow.run([X], timeout=0.1)
        except graphc.Timeout as e:
            caught.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert caught


def test_interruption(slow: graphc.CompiledModel):
    for timeout in (None, 30):
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            slow.run([X], timeout=timeout)
        assert time.perf_counter() - start < 3


def test_others_go_on_when_one_is_stopped(slow: graphc.CompiledModel):
    compiled = slow._executable.signatures.values()[0]  # type: ignore[union-attr]
    program = compiled.whole
    done: list[float] = []
    other = naps(20, program, 1)
    other._seconds = 1.0
    thread = threading.Thread(target=lambda: done.append(len(other.run([X]))))
    thread.start()
    with pytest.raises(graphc.Timeout):
        slow.run([X], timeout=0.1)
    thread.join(10)
    assert done == [1]


REAL = """
    import os, signal, sys, threading, time
    import numpy as np
    import graphc
    from graphc.parse import parse

    n = 300
    lines = [f" %{i}: f32[512,512] = MatMul(%{i - 1 if i else 'x'}, %w)" for i in range(n)]
    graph = parse("graph (%x: f32[512,512], %w: f32[512,512]) {" + "\\n".join(["", *lines, f" return %{n - 1}", "}"]))
    model = graphc.compile(graph, backend="llvm")
    x, w = np.zeros((512, 512), np.float32), np.zeros((512, 512), np.float32)
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
    start = time.perf_counter()
    try:
        model(x, w)
    except KeyboardInterrupt:
        sys.exit(17 if time.perf_counter() - start < 5 else 1)
"""


def test_ctrl_c_in_a_real_network():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(REAL)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) in ((17, ""), (0, ""))  # 0: it was faster than the signal
