"""What a driver calls, in order: who waits for whom, and what one thread does in one go."""

from __future__ import annotations

from graphc.frozen import Frozen

from .steps import Branch, Repeat, Steps, bodies, leaves

ARENA, CONSTANTS, TIMES, KERNELS, ARRAYS = 0, 1, 2, 3, 4  # slots of the block; arrays have those from ARRAYS on
TICK = "tick"  # the call that reads the clock, which a driver has itself
CHUNK = 32  # calls in one function of a driver at most, and so in one unit


class Place(Frozen):
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


class Call(Frozen):
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


def record_count(calls: Calls) -> int:
    """How many records a block needs for these calls."""
    return sum(1 + sum(map(record_count, bodies(s))) if isinstance(s, (Branch, Repeat)) else 1 for s in calls)


def kernel_numbers(calls: Calls) -> dict[str, int]:
    """Each kernel that is called, and its place in the table at KERNELS."""
    names = dict.fromkeys(c.kernel for c in leaves(calls) if c.kernel != TICK)
    return {name: k for k, name in enumerate(names)}


class Unit(Frozen):
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
