"""The LLVM IR of a team of threads: how a run is handed out, a barrier, and how idle threads wait.

A waiting thread looks at a word of memory for some microseconds, then sleeps in the kernel until that word changes: an
idle team uses no CPU. On Linux that is a futex; elsewhere it sleeps for short times between looks.

A run is described by a block of memory, of which the first line is the same for all programs:

    0   i32  status: not 0 where a guard did not hold
    8   i32  cancel: not 0 once the run shall stop
    16  i64  how many threads take part
    24  ptr  the team, or null when one thread runs alone
    64  …    what the program's driver reads
"""

from __future__ import annotations

import sys

from .target import Target

STATUS, CANCEL, THREADS, TEAM, FIRST = 0, 8, 16, 24, 64

# The memory of a team. Words that different threads write are on lines of their own.
LINE = 128  # two cache lines: they are fetched in pairs
FUNCTION, BLOCK, IDLE_SPINS, BARRIER_SPINS, STOP = 0, 8, 16, 24, 32
COUNT, GENERATION, DECISION, SLEEPERS = LINE, 2 * LINE, 2 * LINE + 4, 3 * LINE
MAILBOXES = 4 * LINE
MAX_THREADS = 256
TEAM_BYTES = MAILBOXES + LINE * MAX_THREADS

FUTEX = {"x86_64": 202, "aarch64": 98, "arm64": 98, "riscv64": 98}  # number of the system call, by architecture
WAIT, WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, private to the process


def team_module(target: Target) -> str:
    """The functions of a team:

    `dispatch(team, function, block)` runs `function(block, thread)` on every thread of the block and returns when all
    are done; `worker(team, thread)` is what a thread of the team does until it is told to stop; `barrier(block)`
    returns when all threads have called it, on all of them the same: not 0 if the run is cancelled; `spin(n)` pauses
    n times; `wake(word)` wakes who sleeps until `word` changes.
    """
    return "\n".join([_pause(target), _sleep(target), _WAIT, _SIGNAL, _BARRIER, _DISPATCH, _WORKER, _SPIN])


def at(name: str, base: str, offset: int) -> str:
    """name = base + offset, in bytes."""
    return f"{name} = getelementptr i8, ptr {base}, i64 {offset}"


def _pause(target: Target) -> str:
    architecture = target.triple.split("-")[0]
    if architecture in ("x86_64", "i686"):
        call, declaration = "call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"
    elif architecture in ("aarch64", "arm64"):
        call, declaration = "call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"
    else:
        call, declaration = "fence seq_cst", ""
    return f"""
{declaration}
define internal void @pause() alwaysinline nounwind {{
  {call}
  ret void
}}"""


def _sleep(target: Target) -> str:
    """`sleep_on(word, seen)`: sleep until somebody calls `wake(word)`, or not at all if word is not `seen` any more."""
    number = FUTEX.get(target.triple.split("-")[0])
    if number is not None and "linux" in target.triple:
        return f"""
declare i64 @syscall(i64, ...)
define internal void @sleep_on(ptr %word, i32 %seen) nounwind {{
  call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 {WAIT}, i32 %seen, ptr null, ptr null, i32 0)
  ret void
}}
define void @wake(ptr %word) nounwind {{
  call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 {WAKE}, i32 2147483647, ptr null, ptr null, i32 0)
  ret void
}}"""
    name, argument = ("Sleep", 1) if sys.platform == "win32" else ("usleep", 500)
    return f"""
declare i32 @{name}(i32)
define internal void @sleep_on(ptr %word, i32 %seen) nounwind {{
  call i32 @{name}(i32 {argument})
  ret void
}}
define void @wake(ptr %word) nounwind {{
  ret void
}}"""


# `sleepers` counts who is about to sleep. It is raised before the word is looked at for the last time, and read after
# the word is written, both in one order that all threads agree on: so nobody sleeps through a change.
_WAIT = """
define internal void @wait(ptr %word, i32 %seen, ptr %sleepers, i64 %spins) nounwind {
entry:
  br label %look
look:
  %n = phi i64 [ 0, %entry ], [ %n1, %again ]
  %now = load atomic i32, ptr %word acquire, align 4
  %same = icmp eq i32 %now, %seen
  br i1 %same, label %again, label %done
again:
  call void @pause()
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, %spins
  br i1 %more, label %look, label %tired
tired:
  %a = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %check
check:
  %last = load atomic i32, ptr %word seq_cst, align 4
  %still = icmp eq i32 %last, %seen
  br i1 %still, label %nap, label %awake
nap:
  call void @sleep_on(ptr %word, i32 %seen)
  br label %check
awake:
  %b = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %done
done:
  ret void
}"""

_SIGNAL = """
define internal void @signal(ptr %word, i32 %value, ptr %sleepers) nounwind {
entry:
  store atomic i32 %value, ptr %word seq_cst, align 4
  %n = load atomic i32, ptr %sleepers seq_cst, align 4
  %any = icmp ne i32 %n, 0
  br i1 %any, label %wake, label %done
wake:
  call void @wake(ptr %word)
  br label %done
done:
  ret void
}"""

# The last thread to arrive decides for all whether the run goes on. Nobody can arrive at the next barrier before, and
# so nobody can overwrite the decision until everybody has read it.
_BARRIER = f"""
define i32 @barrier(ptr %block) nounwind {{
entry:
  {at("%cancel.at", "%block", CANCEL)}
  {at("%team.at", "%block", TEAM)}
  %team = load ptr, ptr %team.at, align 8
  %alone = icmp eq ptr %team, null
  br i1 %alone, label %single, label %arrive
single:
  %own = load atomic i32, ptr %cancel.at monotonic, align 4
  ret i32 %own
arrive:
  {at("%threads.at", "%block", THREADS)}
  {at("%count", "%team", COUNT)}
  {at("%generation", "%team", GENERATION)}
  {at("%decision", "%team", DECISION)}
  {at("%sleepers", "%team", SLEEPERS)}
  {at("%spins.at", "%team", BARRIER_SPINS)}
  %threads = load i64, ptr %threads.at, align 8
  %seen = load atomic i32, ptr %generation monotonic, align 4
  %before = atomicrmw add ptr %count, i32 1 acq_rel
  %arrived = add i32 %before, 1
  %all = trunc i64 %threads to i32
  %last = icmp eq i32 %arrived, %all
  br i1 %last, label %release, label %stay
release:
  store atomic i32 0, ptr %count monotonic, align 4
  %cancel = load atomic i32, ptr %cancel.at monotonic, align 4
  store atomic i32 %cancel, ptr %decision monotonic, align 4
  %next = add i32 %seen, 1
  call void @signal(ptr %generation, i32 %next, ptr %sleepers)
  ret i32 %cancel
stay:
  %spins = load i64, ptr %spins.at, align 8
  call void @wait(ptr %generation, i32 %seen, ptr %sleepers, i64 %spins)
  %decided = load atomic i32, ptr %decision monotonic, align 4
  ret i32 %decided
}}"""

_DISPATCH = f"""
define void @dispatch(ptr %team, ptr %function, ptr %block) nounwind {{
entry:
  {at("%function.at", "%team", FUNCTION)}
  {at("%block.at", "%team", BLOCK)}
  {at("%threads.at", "%block", THREADS)}
  store ptr %function, ptr %function.at, align 8
  store ptr %block, ptr %block.at, align 8
  %threads = load i64, ptr %threads.at, align 8
  {at("%mailboxes", "%team", MAILBOXES)}
  %any = icmp ugt i64 %threads, 1
  br i1 %any, label %post, label %work
post:
  %w = phi i64 [ 1, %entry ], [ %w1, %post ]
  %offset = mul i64 %w, {LINE}
  %mailbox = getelementptr i8, ptr %mailboxes, i64 %offset
  {at("%sleepers", "%mailbox", 4)}
  %old = load atomic i32, ptr %mailbox monotonic, align 4
  %new = add i32 %old, 1
  call void @signal(ptr %mailbox, i32 %new, ptr %sleepers)
  %w1 = add i64 %w, 1
  %more = icmp ult i64 %w1, %threads
  br i1 %more, label %post, label %work
work:
  call void %function(ptr %block, i64 0)
  %end = call i32 @barrier(ptr %block)
  ret void
}}"""

_WORKER = f"""
define void @worker(ptr %team, i64 %thread) nounwind {{
entry:
  {at("%function.at", "%team", FUNCTION)}
  {at("%block.at", "%team", BLOCK)}
  {at("%spins.at", "%team", IDLE_SPINS)}
  {at("%stop.at", "%team", STOP)}
  {at("%mailboxes", "%team", MAILBOXES)}
  %offset = mul i64 %thread, {LINE}
  %mailbox = getelementptr i8, ptr %mailboxes, i64 %offset
  {at("%sleepers", "%mailbox", 4)}
  br label %next
next:
  %seen = phi i32 [ 0, %entry ], [ %now, %work ]
  %spins = load atomic i64, ptr %spins.at monotonic, align 8
  call void @wait(ptr %mailbox, i32 %seen, ptr %sleepers, i64 %spins)
  %now = load atomic i32, ptr %mailbox acquire, align 4
  %stop = load atomic i32, ptr %stop.at monotonic, align 4
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %work, label %done
work:
  %function = load ptr, ptr %function.at, align 8
  %block = load ptr, ptr %block.at, align 8
  call void %function(ptr %block, i64 %thread)
  %end = call i32 @barrier(ptr %block)
  br label %next
done:
  ret void
}}"""

_SPIN = """
define void @spin(i64 %n) nounwind {
entry:
  br label %again
again:
  %i = phi i64 [ 0, %entry ], [ %i1, %again ]
  call void @pause()
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %n
  br i1 %more, label %again, label %done
done:
  ret void
}"""
