"""Lanes from anywhere near: which whole vectors to read, and how to sort their elements out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.index import Index, Linear, Quotient, Remainder, evaluate, index_variables


def mixed_places(at: Linear, lane: Index, bound: Mapping[Index, object]) -> list[int] | None:
    """Where each lane is at `at`, if digits of the lane say so and all else is a number in `bound`."""
    if not any(isinstance(a, (Quotient, Remainder)) and lane in index_variables(a.index) for a in at.terms):
        return None
    known = {i: v for i, v in bound.items() if isinstance(v, int)}
    if not index_variables(at) <= known.keys() | {lane} or at.data:
        return None
    return [evaluate(at, {**known, lane: k}) for k in range(lane.extent)]


def windows(places: Sequence[int], *, aligned: bool) -> list[int]:
    """Where vectors of `len(places)` elements begin that together hold the elements at `places`.

    They reach no further than the last of these; or, with `aligned`, begin at multiples of their length.
    """
    n, last = len(places), max(places)
    found: list[int] = []
    for p in sorted(set(places)):
        if not found or p >= found[-1] + n:
            found.append(p // n * n if aligned else min(p, max(last + 1 - n, min(places))))
    return found


def masks(places: Sequence[int], starts: Sequence[int]) -> list[str]:
    """For each vector the mask of a shuffle of what was found before it, and it: lanes not found yet are poison."""
    n = len(places)
    found: list[str] = []
    for k, start in enumerate(starts):
        picked = []
        for lane, p in enumerate(places):
            owner = next(j for j, s in enumerate(starts) if s <= p < s + n)
            picked.append("poison" if owner > k else str(n + p - start if owner == k else lane))
        found.append(f"<{n} x i32> <{', '.join(f'i32 {p}' for p in picked)}>")
    return found
