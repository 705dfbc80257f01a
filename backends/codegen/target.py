"""What machine code is made for: instruction set, vector width, registers."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graphc.errors import BackendUnavailable, CompileError
from graphc.frozen import Frozen
from graphc.loops.schedule import Machine


@cache
def llvm() -> Any:
    """The module llvmlite.binding, ready for use. Raises `BackendUnavailable`."""
    try:
        import llvmlite.binding as binding
    except ImportError as e:
        raise BackendUnavailable(f"llvmlite cannot be imported: {e}", hint="Install it: pip install llvmlite") from e
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


@cache
def llvm_version() -> tuple[object, ...]:
    """Of llvmlite, and of the LLVM in it."""
    binding = llvm()
    return version("llvmlite"), *binding.llvm_version_info


class Target(Frozen):
    """An instruction set.

    Attributes:
        name: what the user calls it, such as `x86-64-v3`.
        cpu, features: what LLVM calls it.
        vector_bytes: bytes of a vector register.
        registers: how many vector registers there are.
        fma, half: whether it has fused multiply-add and float16 conversions.
        cache: bytes of the second-level cache of a core.
        last_cache: bytes of the cache that cores share.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    fma: bool
    half: bool
    cache: int = 1 << 20
    last_cache: int = 32 << 20

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector register."""
        return max(1, self.vector_bytes // itemsize)

    @property
    def schedule(self) -> Machine:
        """What schedules need to know of it."""
        halves = self.cpu in IN_HALVES and self.vector_bytes == 64
        return Machine(self.vector_bytes, self.registers, self.cache, self.last_cache, multipliers=1 if halves else 2)

    @property
    def fence(self) -> str | None:
        """LLVM's function after which other cores see what was stored past the caches, where that takes one."""
        return "llvm.x86.sse.sfence" if self.triple.startswith("x86_64") else None

    def machine(self, speed: int = 3) -> Any:
        """LLVM's target machine; `speed` is what its code is worth, from 0 to 3."""
        binding = llvm()
        found = binding.Target.from_triple(self.triple)
        return found.create_target_machine(cpu=self.cpu, features=self.features, opt=speed, jit=True)


# LLVM's names of processors that do a vector of 512 bits as two of 256.
IN_HALVES = ("znver4",)

# Instruction sets that can be asked for by name: LLVM's CPU name, vector bytes, registers, FMA, float16 conversions.
LEVELS = {
    "x86-64": ("x86-64", 16, 16, False, False),
    "x86-64-v2": ("x86-64-v2", 16, 16, False, False),
    "x86-64-v3": ("x86-64-v3", 32, 16, True, True),
    "x86-64-v4": ("x86-64-v4", 64, 32, True, True),
}


def host_target(name: str | None = None) -> Target:
    """The instruction set of this machine, or the one called `name`. Raises `CompileError` if it lacks that one."""
    binding = llvm()
    triple = binding.get_process_triple()
    features = binding.get_host_cpu_features()
    best = _best(triple, features)
    if name is None or name == "native":
        cpu, flags = binding.get_host_cpu_name(), features.flatten()
        if best is None:
            neon = triple.startswith(("aarch64", "arm64"))
            return Target("native", triple, cpu, flags, 16, 32 if neon else 16, neon, neon, *cache_sizes())
        _, width, registers, fma, half = LEVELS[best]
        prefer = ",+prefer-256-bit" if width == 32 else ",-prefer-256-bit"
        return Target("native", triple, cpu, flags + prefer, width, registers, fma, half, *cache_sizes())
    order = list(LEVELS)
    if name not in LEVELS or best is None or order.index(name) > order.index(best):
        usable = ", ".join(["native", *(order[: order.index(best) + 1] if best else [])])
        raise CompileError(f"target={name!r} is not one that this machine runs", hint=f"Use one of {usable}")
    cpu, width, registers, fma, half = LEVELS[name]
    return Target(name, triple, cpu, "", width, registers, fma, half, *cache_sizes())


def _best(triple: str, features: Any) -> str | None:
    """The highest of LEVELS that an x86-64 machine has; None for another architecture."""
    if not triple.startswith("x86_64"):
        return None
    if all(features.get(f) for f in ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")):
        return "x86-64-v4"
    if all(features.get(f) for f in ("avx2", "fma", "f16c", "bmi2")):
        return "x86-64-v3"
    return "x86-64-v2" if features.get("sse4.2") else "x86-64"


def cache_sizes() -> tuple[int, int]:
    """Bytes of the second-level cache of a core, and of the third level, as Linux says; else 1 MiB and 32 MiB."""
    sizes = [1 << 20, 32 << 20]
    for level, _ in enumerate(sizes):
        try:
            text = Path(f"/sys/devices/system/cpu/cpu0/cache/index{2 + level}/size").read_text("ascii").strip()
        except OSError:
            continue
        if text.endswith("K"):
            sizes[level] = int(text.removesuffix("K")) << 10
    second, third = sizes
    return second, third
