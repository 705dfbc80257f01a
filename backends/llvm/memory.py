"""The plan of a program's memory, as text."""

from __future__ import annotations

from graphc.runtime.table import format_table

from .program import Program


def show_memory(program: Program) -> str:
    """What lies in the arena: where, from which step to which, and what it would take without sharing."""
    residents = sorted(program.residents, key=lambda r: (r.first, r.offset))
    rows = [(r.value, f"{r.offset:,}", f"{r.size:,}", r.first, r.last) for r in residents]
    lines = [format_table(["value", "offset", "bytes", "from step", "to step"], rows)] if rows else []
    alone = sum(r.size for r in residents)
    lines.append(
        f"arena {program.arena:,} bytes ({alone:,} without sharing), constants {program.constants.nbytes:,} bytes, "
        f"{len(program.kernels)} steps"
    )
    return "\n".join(lines)
