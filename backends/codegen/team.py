"""The LLVM IR of a team of threads: how a run is handed out, how kernels are shared, and how idle threads wait.

A kernel has as many shares as the run has threads (one, if it cannot be split). Each thread goes through all kernels
in order and takes the shares that nobody has taken yet, its own first. So nobody waits for a thread that the system has
not woken yet, or has stopped: its shares are done by others, and when it comes it finds nothing left and catches up.

Turns. The turn of a step is how many shares there are before it, counted on from run to run; so it grows along the way
that the run takes, through the trips of a loop too. The block counts the shares that are done.

Claims. A step has a record: for each share the turn at which it was taken last. It is free for whoever comes at a later
turn, and taken by exchanging that word for the turn. No thread goes on from a step before every share of it is taken,
by itself or by others. Hence, once somebody is at turn t, all shares before t are taken, and who is late, with a turn
that is not later than those words, takes nothing.

Waiting. A step that touches what others wrote waits until as many shares are done as its turn says. These are exactly
those before it: nobody takes one from there on before the count has come so far, because everybody passes that wait.
What they wrote is seen, for `finish` adds to the count with release, and `await` reads it with acquire: whoever reads a
count is behind all those that added to it. Claims need no such order; it is enough that only one exchange succeeds.

Decisions. Which way a branch goes, or whether a loop goes on, is decided by whoever is there first, after waiting for
all that is before it, and written into the record of the step together with the turn. Everybody takes the way and the
turn from there. Who is late finds a later turn, perhaps of a later trip, goes on from that, and so skips the trips that
it missed. The condition that it has read may be of any trip by then (so it is read atomically), but does not count. For
whoever decides it is the right one: nobody passes a decision that is not written down, so nobody is there yet to change
what it depends on. Between two visits to a decision at least one share is done, or else the old one would stand: a trip
counts itself, and either branch writes the outputs.

Leaving. When a run is cancelled, or a guard did not hold before a trip, threads leave, each when it sees that, but
never with a share that it has taken and not finished. The others do what is left, or leave as well. So in the end as
many shares are done as were taken, and the next run begins at that count, with all of them free.

A waiting thread looks at a word of memory for some microseconds, then sleeps in the kernel until that word changes: an
idle team uses no CPU. On Linux that is a futex; elsewhere it sleeps for short times between looks.

A run is described by a block of memory that starts the same for all programs:

    0   i32  status: not 0 where a guard did not hold
    8   i32  cancel: not 0 once the run shall stop
    16  i64  how many threads take part
    24  ptr  the team, or null when one thread runs alone
    32  ptr  for each step a record: the turn at which each share was taken last, or at which a branch was decided
    40  i64  the turn of the first step
    48  i64  how many trips a loop may make
    64  i32  how many shares are done; and how many threads sleep until there are more
    128 …    what the program's driver reads
"""

from __future__ import annotations

import sys

from .target import Target

STATUS, CANCEL, THREADS, TEAM, RECORDS, TURN, TRIPS, DONE, FIRST = 0, 8, 16, 24, 32, 40, 48, 64, 128
FAILED, TOO_MANY_TRIPS = 1, 2  # what the status says

# The memory of a team. Words that different threads write are on lines of their own.
LINE = 128  # two cache lines: they are fetched in pairs
FUNCTION, BLOCK, IDLE_SPINS, WAIT_SPINS, STOP = 0, 8, 16, 24, 32
STATE = LINE  # i32: OPEN while threads may join the run, and how many have; then how many sleep until all have left
OPEN = 1 << 30
MAILBOXES = 2 * LINE
MAX_THREADS = 64
RECORD = 8 * MAX_THREADS  # bytes for a step
TEAM_BYTES = MAILBOXES + LINE * MAX_THREADS

FUTEX = {"x86_64": 202, "aarch64": 98, "arm64": 98, "riscv64": 98}  # number of the system call, by architecture
WAIT, WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, private to the process


def team_module(target: Target) -> str:
    """The functions of a team:

    `dispatch(team, function, block)` runs `function(block, thread)` on the caller as thread 0 and on those others that
    come in time, and returns when all have left; `worker(team, thread)` is what a thread of the team does until it is
    told to stop; `claim(record, thread, shares, turn)` is a share that nobody has taken, or -1; `finish(block)` says
    that one is done, `await(block, turn)` returns when all before that turn are; `decide(record, turn, way)` is
    4 * turn + way (0 to 3), or what was decided there before, perhaps at a later turn; `spin(n)` pauses n times;
    `wake(word)` wakes who sleeps on `word`.
    """
    parts = [_pause(target), _sleep(target), _WAIT, _SIGNAL, _CLAIM, _DECIDE, _FINISH, _DISPATCH, _WORKER, _SPIN]
    return "\n".join(parts)


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

_CLAIM = """
define i64 @claim(ptr %record, i64 %thread, i64 %shares, i64 %turn) nounwind {
entry:
  br label %look
look:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %sum = add i64 %thread, %i
  %over = icmp uge i64 %sum, %shares
  %less = sub i64 %sum, %shares
  %share = select i1 %over, i64 %less, i64 %sum
  %word = getelementptr i64, ptr %record, i64 %share
  %now = load atomic i64, ptr %word monotonic, align 8
  %free = icmp ult i64 %now, %turn
  br i1 %free, label %try, label %next
try:
  %pair = cmpxchg ptr %word, i64 %now, i64 %turn acq_rel monotonic
  %got = extractvalue { i64, i1 } %pair, 1
  br i1 %got, label %mine, label %next
mine:
  ret i64 %share
next:
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %shares
  br i1 %more, label %look, label %none
none:
  ret i64 -1
}"""

_DECIDE = """
define i64 @decide(ptr %record, i64 %turn, i64 %way) nounwind {
entry:
  %least = shl i64 %turn, 2
  %made = or i64 %least, %way
  %now = load atomic i64, ptr %record acquire, align 8
  %open = icmp ult i64 %now, %least
  br i1 %open, label %try, label %known
try:
  %pair = cmpxchg ptr %record, i64 %now, i64 %made acq_rel acquire
  %old = extractvalue { i64, i1 } %pair, 0
  %first = extractvalue { i64, i1 } %pair, 1
  %found = select i1 %first, i64 %made, i64 %old
  ret i64 %found
known:
  ret i64 %now
}"""

_FINISH = f"""
define void @finish(ptr %block) nounwind {{
entry:
  {at("%done", "%block", DONE)}
  {at("%sleepers", "%block", DONE + 4)}
  %before = atomicrmw add ptr %done, i32 1 seq_cst
  %n = load atomic i32, ptr %sleepers seq_cst, align 4
  %any = icmp ne i32 %n, 0
  br i1 %any, label %wake, label %end
wake:
  call void @wake(ptr %done)
  br label %end
end:
  ret void
}}
define void @await(ptr %block, i64 %turn) nounwind {{
entry:
  {at("%done", "%block", DONE)}
  {at("%sleepers", "%block", DONE + 4)}
  {at("%team.at", "%block", TEAM)}
  %team = load ptr, ptr %team.at, align 8
  {at("%spins.at", "%team", WAIT_SPINS)}
  %spins = load i64, ptr %spins.at, align 8
  %want = trunc i64 %turn to i32
  br label %look
look:
  %now = load atomic i32, ptr %done acquire, align 4
  %ahead = sub i32 %now, %want
  %enough = icmp sge i32 %ahead, 0
  br i1 %enough, label %end, label %stay
stay:
  call void @wait(ptr %done, i32 %now, ptr %sleepers, i64 %spins)
  br label %look
end:
  ret void
}}"""

_DISPATCH = f"""
define void @dispatch(ptr %team, ptr %function, ptr %block) nounwind {{
entry:
  {at("%function.at", "%team", FUNCTION)}
  {at("%block.at", "%team", BLOCK)}
  {at("%threads.at", "%block", THREADS)}
  {at("%turn.at", "%block", TURN)}
  {at("%done", "%block", DONE)}
  {at("%state", "%team", STATE)}
  {at("%stayers", "%team", STATE + 4)}
  {at("%spins.at", "%team", WAIT_SPINS)}
  {at("%mailboxes", "%team", MAILBOXES)}
  %turn = load i64, ptr %turn.at, align 8
  %turn.low = trunc i64 %turn to i32
  store ptr %function, ptr %function.at, align 8
  store ptr %block, ptr %block.at, align 8
  %threads = load i64, ptr %threads.at, align 8
  store atomic i32 {OPEN}, ptr %state seq_cst, align 4
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
  %spins = load i64, ptr %spins.at, align 8
  %closed = atomicrmw and ptr %state, i32 {OPEN - 1} seq_cst
  br label %leaving
leaving:
  %inside = load atomic i32, ptr %state acquire, align 4
  %empty = icmp eq i32 %inside, 0
  br i1 %empty, label %end, label %stay
stay:
  call void @wait(ptr %state, i32 %inside, ptr %stayers, i64 %spins)
  br label %leaving
end:
  %done.now = load atomic i32, ptr %done acquire, align 4
  %shares = sub i32 %done.now, %turn.low
  %added = zext i32 %shares to i64
  %turn.next = add i64 %turn, %added
  store i64 %turn.next, ptr %turn.at, align 8
  ret void
}}"""

_WORKER = f"""
define void @worker(ptr %team, i64 %thread) nounwind {{
entry:
  {at("%function.at", "%team", FUNCTION)}
  {at("%block.at", "%team", BLOCK)}
  {at("%spins.at", "%team", IDLE_SPINS)}
  {at("%stop.at", "%team", STOP)}
  {at("%state", "%team", STATE)}
  {at("%stayers", "%team", STATE + 4)}
  {at("%mailboxes", "%team", MAILBOXES)}
  %offset = mul i64 %thread, {LINE}
  %mailbox = getelementptr i8, ptr %mailboxes, i64 %offset
  {at("%sleepers", "%mailbox", 4)}
  br label %next
next:
  %seen = phi i32 [ 0, %entry ], [ %now, %join ], [ %now, %left ], [ %now, %last ]
  %spins = load atomic i64, ptr %spins.at monotonic, align 8
  call void @wait(ptr %mailbox, i32 %seen, ptr %sleepers, i64 %spins)
  %now = load atomic i32, ptr %mailbox acquire, align 4
  %stop = load atomic i32, ptr %stop.at monotonic, align 4
  %go = icmp eq i32 %stop, 0
  br i1 %go, label %join, label %done
join:
  %state.now = load atomic i32, ptr %state seq_cst, align 4
  %open = icmp uge i32 %state.now, {OPEN}
  br i1 %open, label %try, label %next
try:
  %more = add i32 %state.now, 1
  %pair = cmpxchg ptr %state, i32 %state.now, i32 %more seq_cst seq_cst
  %joined = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %joined, label %inside, label %join
inside:
  %function = load ptr, ptr %function.at, align 8
  %block = load ptr, ptr %block.at, align 8
  {at("%threads.at", "%block", THREADS)}
  %threads = load i64, ptr %threads.at, align 8
  %wanted = icmp ult i64 %thread, %threads
  br i1 %wanted, label %work, label %leave
work:
  call void %function(ptr %block, i64 %thread)
  br label %leave
leave:
  %before = atomicrmw sub ptr %state, i32 1 seq_cst
  %was.last = icmp eq i32 %before, 1
  br i1 %was.last, label %last, label %left
last:
  %n = load atomic i32, ptr %stayers seq_cst, align 4
  %any = icmp ne i32 %n, 0
  br i1 %any, label %tell, label %next
tell:
  call void @wake(ptr %state)
  br label %left
left:
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
