"""What a model may cost. Sizes are Python integers, computed before anything is allocated."""

from __future__ import annotations

import time
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from graphc.errors import ResourceLimit, Timeout
from graphc.frozen import Frozen

GiB = 1 << 30


class Limits(Frozen):
    """Upper bounds on a model; `ResourceLimit` (or `Timeout`) is raised before one is passed.

    Attributes:
        max_file_bytes: size of a model file, external data not counted.
        max_nodes: nodes of the graph, sub-graphs included.
        max_depth: nesting depth of sub-graphs.
        max_rank: dimensions of a tensor.
        max_tensor_bytes: size of one tensor.
        max_total_bytes: size of all tensors that are alive at one time.
        max_loop_trips: iterations of one Loop or Scan.
        max_inlined_nodes: nodes that inlining model-local functions may make.
        timeout_s: wall-clock seconds of one run or compilation; None for no bound.
    """

    max_file_bytes: int = 8 * GiB
    max_nodes: int = 1_000_000
    max_depth: int = 256
    max_rank: int = 64
    max_tensor_bytes: int = 16 * GiB
    max_total_bytes: int = 64 * GiB
    max_loop_trips: int = 100_000_000
    max_inlined_nodes: int = 1_000_000
    timeout_s: float | None = None

    @classmethod
    def unlimited(cls) -> Limits:
        """No bounds but those of the machine."""
        big = 1 << 62
        return cls(big, big, 512, big, big, big, big, big, None)

    @cached_property
    def _budget(self) -> _Budget:
        """What is in force when no clock runs: made once, since each run puts it in force."""
        return _Budget(self, None)

    def with_timeout(self, seconds: float | None) -> Limits:
        return self if seconds is None else replace(self, timeout_s=seconds)

    def check(self, what: str, amount: int, bound: str) -> None:
        """Raise `ResourceLimit` if `amount` is over the field named `bound`."""
        allowed = getattr(self, bound)
        if amount > allowed:
            raise ResourceLimit(
                f"{what} is {amount:,}, the limit is {allowed:,}", hint=f"Raise it with Limits({bound}=…)"
            )


class _Budget(NamedTuple):
    limits: Limits
    deadline: float | None


_current: ContextVar[_Budget | None] = ContextVar("graphc_budget", default=None)
_default = _Budget(Limits(), None)


def enter(limits: Limits) -> Token[_Budget | None]:
    """Put `limits` in force and start their clock, until `leave` is given what this returns."""
    seconds = limits.timeout_s
    return _current.set(limits._budget if seconds is None else _Budget(limits, time.monotonic() + seconds))


leave = _current.reset


class limited:
    """`with limited(limits): …` applies `limits` (and starts their clock) to everything computed inside the block."""

    __slots__ = ("_limits", "_token")

    def __init__(self, limits: Limits):
        self._limits = limits

    def __enter__(self) -> Limits:
        self._token = enter(self._limits)
        return self._limits

    def __exit__(self, *raised: object) -> None:
        leave(self._token)


def current_limits() -> Limits:
    """The limits in force."""
    return (_current.get() or _default).limits


def check_deadline() -> None:
    """Raise `Timeout` when the time of the enclosing `limited` block has run out."""
    budget = _current.get()
    if budget is not None and budget.deadline is not None and time.monotonic() > budget.deadline:
        raise Timeout(
            f"stopped after {budget.limits.timeout_s} s", hint="Allow more: timeout= (--timeout), Limits(timeout_s=…)"
        )


def time_left() -> float | None:
    """Seconds until `check_deadline` raises; None without a deadline."""
    budget = _current.get()
    return None if budget is None or budget.deadline is None else budget.deadline - time.monotonic()


def check_tensor(shape: tuple[int, ...], itemsize: float, what: str = "tensor") -> None:
    """Raise `ResourceLimit` if a tensor of `shape` may not be made. For shapes that come from data."""
    limits = current_limits()
    limits.check(f"rank of {what}", len(shape), "max_rank")
    count = 1
    for n in shape:
        if n < 0:
            raise ResourceLimit(f"{what} has a negative size: {list(shape)}")
        count *= int(n)
    limits.check(f"size of {what} {list(shape)} in bytes", int(count * itemsize), "max_tensor_bytes")
