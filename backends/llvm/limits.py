"""What this machine can do at most, in registers and from memory, measured by small kernels."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from graphc.runtime.backend import MachineLimits

from ..codegen.jit import compile_object, link
from ..codegen.target import Target
from ..codegen.team import at
from .block import Block
from .calls import Call, Place
from .driver import driver
from .program import ENTER
from .threads import Team, aligned, load_driver, take

ROUNDS = 5  # the best of so many counts
STEPS = 200_000  # of the arithmetic, 10 ms or so
STREAM_BYTES = 1 << 27  # read by all threads together: more than caches hold


def measure_limits(target: Target, threads: int) -> MachineLimits:
    """The limits of `threads` threads in float32, and of their reads; takes about a tenth of a second."""
    team = take(threads) if threads > 1 else None
    try:
        threads = threads if team is not None else 1
        accumulators, lanes = target.registers * 3 // 4, target.lanes(4)
        computing = _best(_arithmetic(accumulators, lanes, target.fma), [STEPS, 0], threads, team, target)
        data = aligned(STREAM_BYTES)
        data[:] = 1
        each = STREAM_BYTES // threads // (8 * target.vector_bytes) * 8 * target.vector_bytes
        reading = _best(_stream(lanes), [each, data.ctypes.data], threads, team, target)
    finally:
        if team is not None:
            team.lock.release()
    flops = 2 * accumulators * lanes * STEPS * threads
    return MachineLimits(flops / computing, each * threads / reading, threads)


def _best(text: str, arguments: Sequence[int], threads: int, team: Team | None, target: Target) -> float:
    """The seconds of the fastest run of a kernel on `arguments`, as many shares of it as there are threads."""
    calls = [Call("limit", (Place(0, 0, 64, True),), True)]
    library, first = link([compile_object(text, target)], ["limit"]), load_driver(driver(calls))
    kernels = np.array([library.addresses["limit"]], np.uint64)
    given = aligned(64)
    given[:] = 0
    given.view(np.int64)[: len(arguments)] = arguments
    block = Block([given.ctypes.data, 0, 0, kernels.ctypes.data], len(calls))
    block.share(team, threads)
    enter = ENTER(first.addresses["enter"])
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        enter(block.address)
        best = min(best, time.perf_counter() - start)
    return best


def _head(lanes: int) -> list[str]:
    return [
        "define void @limit(ptr %given, ptr %block, i64 %thread, i64 %threads) {",
        "entry:",
        "%n = load i64, ptr %given, align 8",
        at("%base.at", "%given", 8),
        "%base = load ptr, ptr %base.at, align 8",
        at("%x.at", "%given", 16),
        "%x = load float, ptr %x.at, align 4",
        f"%x0 = insertelement <{lanes} x float> poison, float %x, i64 0",
        f"%xs = shufflevector <{lanes} x float> %x0, <{lanes} x float> poison, <{lanes} x i32> zeroinitializer",
    ]


def _arithmetic(accumulators: int, lanes: int, fma: bool) -> str:
    """n steps of a = a * x + x on each of so many vectors in registers."""
    kind = f"<{lanes} x float>"
    lines = [f"declare {kind} @llvm.fma.v{lanes}f32({kind}, {kind}, {kind})", *_head(lanes), "br label %loop", "loop:"]
    lines.append("%i = phi i64 [ 0, %entry ], [ %i1, %loop ]")
    lines += [f"%a{k} = phi {kind} [ %xs, %entry ], [ %b{k}, %loop ]" for k in range(accumulators)]
    for k in range(accumulators):
        if fma:
            lines.append(f"%b{k} = call {kind} @llvm.fma.v{lanes}f32({kind} %a{k}, {kind} %xs, {kind} %xs)")
        else:
            lines += [f"%m{k} = fmul {kind} %a{k}, %xs", f"%b{k} = fadd {kind} %m{k}, %xs"]
    lines += ["%i1 = add i64 %i, 1", "%more = icmp ult i64 %i1, %n", "br i1 %more, label %loop, label %done", "done:"]
    return _finish(lines, [f"%b{k}" for k in range(accumulators)], kind)


def _stream(lanes: int) -> str:
    """Sums of the n bytes that are this thread's."""
    kind, width = f"<{lanes} x float>", 4 * lanes
    lines = [*_head(lanes), "%offset = mul i64 %n, %thread", "%own = getelementptr i8, ptr %base, i64 %offset"]
    lines += ["br label %loop", "loop:", "%i = phi i64 [ 0, %entry ], [ %i1, %loop ]"]
    lines += [f"%a{k} = phi {kind} [ %xs, %entry ], [ %b{k}, %loop ]" for k in range(8)]
    lines.append("%here = getelementptr i8, ptr %own, i64 %i")
    for k in range(8):
        lines += [at(f"%p{k}", "%here", k * width), f"%v{k} = load {kind}, ptr %p{k}, align {width}"]
        lines.append(f"%b{k} = fadd {kind} %a{k}, %v{k}")
    lines += [f"%i1 = add i64 %i, {8 * width}", "%more = icmp ult i64 %i1, %n"]
    return _finish([*lines, "br i1 %more, label %loop, label %done", "done:"], [f"%b{k}" for k in range(8)], kind)


def _finish(lines: list[str], results: list[str], kind: str) -> str:
    """Use what was computed, so that it is not dropped: thread 0 stores the sum."""
    total = results[0]
    for k, r in enumerate(results[1:]):
        lines.append(f"%sum{k} = fadd {kind} {total}, {r}")
        total = f"%sum{k}"
    lines += [f"%out = extractelement {kind} {total}, i64 0", "%first = icmp eq i64 %thread, 0"]
    lines += ["br i1 %first, label %store, label %end", "store:", at("%out.at", "%given", 24)]
    lines += ["store float %out, ptr %out.at, align 4", "br label %end", "end:", "ret void", "}", ""]
    return "\n".join(lines)
