"""One arena for everything that lives only during a run: offsets such that what lives at one time does not overlap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from graphc.frozen import Frozen

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


class Lifetime(Frozen):
    """`size` bytes that are in use from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int


class Arena(Frozen):
    """Where each buffer starts, and how many bytes there are."""

    offsets: dict[Hashable, int]
    size: int


def plan(lifetimes: Mapping[Hashable, Lifetime]) -> Arena:
    """Offsets for all buffers: the largest first, each at the lowest place that is free during its life."""
    placed: list[tuple[int, int, Lifetime]] = []
    offsets: dict[Hashable, int] = {}
    for key, life in sorted(lifetimes.items(), key=lambda item: (-item[1].size, item[1].first)):
        size = -(-life.size // ALIGNMENT) * ALIGNMENT
        at = 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if other.last < life.first or life.last < other.first:
                continue
            if start - at >= size:
                break
            at = max(at, end)
        offsets[key] = at
        placed.append((at, at + size, life))
    return Arena(offsets, max((end for _, end, _ in placed), default=0))
