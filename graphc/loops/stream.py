"""Results that no cache keeps until they are read are stored past the caches.

    for i < n {vector l < 16 {y[16 i + l] = f}}  ->  for i < n {vector l < 16 {y[16 i + l] := f}}

To store part of a line, a cache reads it from memory first; a line that is stored as a whole need not be there.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import replace

from graphc.expr import Buffer, Load
from graphc.index import Index
from graphc.loops.layout import LINE
from graphc.loops.nest import Block, For, If, Nest, Prefetch, Stmt, Store, Update, exprs, statements
from graphc.loops.schedule import Machine
from graphc.traverse import walk

SHARE = 4  # of the last cache: what is larger than this part of it is not there any more when it is read


def stream(nest: Nest, aligned: Collection[Buffer], machine: Machine) -> Nest:
    """`nest` with stores past the caches: of vectors that are lines, into large results of which nothing is read.

    Args:
        nest: a kernel that is scheduled.
        aligned: those of its arguments that begin where a line begins.
        machine: for the size of its last cache.
    """
    large = {b for b in aligned if b in nest.written and b.size * b.dtype.numpy.itemsize > machine.last_cache // SHARE}
    if not large:
        return nest
    inside = list(statements(nest.body))
    large -= {e.buffer for s in inside for e in walk(*exprs(s)) if isinstance(e, Load)}
    large -= {s.buffer for s in inside if isinstance(s, Update)}
    return replace(nest, body=_streamed(nest.body, large, None))


def _streamed(body: Block, large: Container[Buffer], lane: Index | None) -> Block:
    made: list[Stmt] = []
    for s in body:
        if isinstance(s, For):
            s = replace(s, body=_streamed(s.body, large, s.index if s.kind == "vector" else lane))
        elif isinstance(s, If):
            s = replace(s, body=_streamed(s.body, large, lane))
        elif isinstance(s, Store) and s.buffer in large:
            s = replace(s, streams=lane is not None and _is_line(s, lane))
        if not (isinstance(s, Prefetch) and s.buffer in large):
            made.append(s)
    return tuple(made)


def _is_line(s: Store, lane: Index) -> bool:
    """True if the lanes store one line, from its beginning to its end."""
    elements = LINE // int(s.buffer.dtype.numpy.itemsize)
    others = [c for atom, c in s.offset.terms.items() if atom != lane]
    starts = s.offset.constant % elements == 0 and all(c % elements == 0 for c in others)
    return starts and s.offset.terms.get(lane) == 1 and lane.extent == elements
