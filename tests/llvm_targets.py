"""The targets on which tests of the LLVM backend run."""

from __future__ import annotations

from graphc.backends.codegen.target import Target, host_target
from graphc.errors import CompileError


def targets() -> list[str]:
    """Names of the targets to test: this machine itself, and one of each other vector width that it has."""
    found: dict[int, Target] = {}
    for name in ("native", "x86-64", "x86-64-v3"):
        try:
            target = host_target(name)
        except CompileError:
            continue
        found.setdefault(target.vector_bytes, target)
    return [t.name for t in found.values()]
