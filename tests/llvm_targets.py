"""What tests of the LLVM backend share: the targets that this machine has, and object code that is kept in memory."""

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


class Kept:
    """Object code by its key, as the cache on disk has it, in memory."""

    def __init__(self) -> None:
        self.code: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.code.get(key)

    def put(self, key: bytes, code: bytes) -> None:
        self.code[key] = code


_kept = Kept()


def kept_code() -> Kept:
    """What stands in for the cache on disk, in `jit.store`."""
    return _kept
