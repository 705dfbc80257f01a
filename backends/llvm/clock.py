"""A clock in a driver: how long each call takes."""

from __future__ import annotations

import itertools
import sys

from ..codegen.team import at
from .calls import TICK, TIMES, Call, Calls, Place
from .steps import mapped

CLOCK = 6 if sys.platform == "darwin" else 1  # CLOCK_MONOTONIC
START, SUM, COUNT, TIMED = 0, 8, 16, 24  # of one call: when it began first, nanoseconds, how often; bytes of all that


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


# What `timed` calls: a kernel in the module of the driver.
READING = f"""
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
