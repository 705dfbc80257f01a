"""How long runs take, how many there are in a second, what they take in memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from graphc.errors import BackendUnavailable
from graphc.frozen import Frozen
from graphc.interpret import Data
from graphc.runtime.model import CompiledModel

if sys.platform != "win32":
    import resource

PERCENTILES = (50, 90, 95, 99)
WARM_UP = 0.2  # seconds of runs that do not count
KEPT = 5000  # times that a result keeps at most


class Benchmark(Frozen):
    """One model on one backend, in a process of its own.

    Attributes:
        backend: what ran it.
        runs: how many runs were timed.
        milliseconds: percentile -> time of a run.
        throughput: runs in a second.
        load_s, compile_s, first_run_s: the cold start: reading the model, compiling it, and its first run.
        peak_bytes: the most memory that the process held, the model and the interpreter included; None if not known.
        times: milliseconds of runs in order, thinned out where there were many.
    """

    backend: str
    runs: int
    milliseconds: dict[int, float]
    throughput: float
    load_s: float
    compile_s: float
    first_run_s: float
    peak_bytes: int | None
    times: tuple[float, ...]


def benchmark(
    model: CompiledModel, feeds: Mapping[str, Data], *, seconds: float, load_s: float, compile_s: float
) -> Benchmark:
    """Time runs of `model` for so many seconds, at least ten."""
    data = [feeds[p.name] for p in model.inputs]
    call = model.prepare(data)
    clock = time.perf_counter
    start = clock()
    call()
    first = clock() - start
    while clock() - start < WARM_UP:
        call()
    times: list[float] = []
    begin = now = clock()
    while now - begin < seconds or len(times) < 10:
        call()
        after = clock()
        times.append(after - now)
        now = after
    found = np.array(times) * 1e3
    percentiles = {p: float(np.percentile(found, p)) for p in PERCENTILES}
    kept = found[:: -(-len(found) // KEPT)]
    return Benchmark(
        model.backend,
        len(times),
        percentiles,
        len(times) / (now - begin),
        load_s,
        compile_s,
        first,
        peak_memory(),
        tuple(float(t) for t in kept),
    )


def peak_memory() -> int | None:
    """The most bytes of memory that this process has held."""
    if sys.platform == "win32":
        return None
    scale = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * scale


def plot(results: Sequence[Benchmark], path: Path, title: str) -> None:
    """Write a picture of the times: their distribution for each backend. Needs matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise BackendUnavailable(f"matplotlib cannot be imported: {e}", hint="pip install 'graphc[plot]'") from e
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for r in results:
        ordered = np.sort(r.times)
        share = np.linspace(0, 100, len(ordered))
        axes.plot(ordered, share, label=f"{r.backend}: median {r.milliseconds[50]:.3g} ms")
    axes.set_xlabel("ms a run")
    axes.set_ylabel("% of runs that take no longer")
    axes.set_title(title)
    axes.set_xlim(0, 1.2 * max(r.milliseconds[99] for r in results))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
