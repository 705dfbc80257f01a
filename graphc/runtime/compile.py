"""`graphc.compile`: from a model in any form to something that runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from graphc.errors import CompileError
from graphc.limits import Limits, limited
from graphc.passes.manager import optimize
from graphc.passes.specialize import Bindings, specialize
from graphc.runtime.backend import Backend, Options, get_backend
from graphc.runtime.constants import read_constants
from graphc.runtime.frontends import load
from graphc.runtime.model import CompiledModel


def compile(
    source: Any,
    *,
    backend: str | Backend = "numpy",
    level: int = 2,
    threads: int | None = None,
    bindings: Bindings | None = None,
    cast: Literal["safe"] | None = None,
    limits: Limits | None = None,
    timeout: float | None = None,
) -> CompiledModel:
    """A model that is ready to run.

    Args:
        source: a path, bytes, a binary file, an `onnx.ModelProto`, or a `Graph`.
        backend: the name of an installed backend, or a backend.
        level: how much to optimise: 0 nothing, 1 what never costs anything, 2 fusion as well.
        threads: how many threads one run may use; None leaves it to the backend
            (`llvm`: all cores, or what OMP_NUM_THREADS says).
        bindings: sizes for symbolic dimensions, `{"batch": 8}`, or whole input shapes, `{"x": (8, 3, 224, 224)}`.
        cast: "safe" converts inputs where that loses nothing (float32 to float64); None refuses another element type.
        limits: what the model may cost, in memory and time, now and in each run; `Limits()` when None.
        timeout: seconds that compiling may take.

    Raises:
        ModelError: the model is invalid, unsupported, or over a limit.
        BackendUnavailable: there is no such backend, or what it needs is missing.
        CompileError: the model cannot be compiled as asked.
    """
    if cast not in (None, "safe"):
        raise CompileError(f"cast={cast!r} is not known", hint='Use cast="safe" or leave it out')
    if threads is not None and threads < 1:
        raise CompileError(f"threads={threads}, but at least one is needed")
    limits = limits or Limits()
    with limited(limits.with_timeout(timeout)), _uncollected():
        chosen = get_backend(backend) if isinstance(backend, str) else backend
        graph = load(source, limits=limits)
        if bindings:
            graph = specialize(graph, bindings)
        read_constants(graph)
        optimized, report = optimize(graph, level)
        return CompiledModel(
            graph, optimized, report, chosen, Options(threads), limits=limits, safe_cast=cast == "safe"
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python's collector of cycles waits: nearly all that is made stays, and to look through it again and again takes
    a tenth of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
