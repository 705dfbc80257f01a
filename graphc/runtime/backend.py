"""What a backend is, and how one is found: through the entry points of the group `graphc.backends`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from graphc.errors import BackendUnavailable, CompileError
from graphc.frozen import Frozen
from graphc.interpret import Data
from graphc.ir import Graph, Node
from graphc.names import did_you_mean, quote
from graphc.runtime.plugins import find_plugin, plugin_names
from graphc.runtime.signatures import CacheInfo
from graphc.types import Array

GROUP = "graphc.backends"


class Options(Frozen):
    """What a backend is told when it compiles.

    Attributes:
        threads: how many threads one run may use; None leaves it to the backend.
    """

    threads: int | None = None


class KernelRun(Frozen):
    """One kernel of one run, in which it is called once, or as often as its place in a branch or a loop demands.

    Attributes:
        node: the node that it computes, or part of it; None for what belongs to none, as the copy of an input.
        kernel: what generated code calls it; empty for NumPy's kernels.
        start, seconds: when it started first, after the run did, and how long it took in all calls.
        bytes: what one call reads and writes, each element once; None where that is not known.
        calls: how many there were.
    """

    node: Node | None
    kernel: str
    start: float
    seconds: float
    bytes: int | None
    calls: int = 1


class MachineLimits(Frozen):
    """The most that `threads` threads of this machine do in a second: operations in registers, bytes from memory."""

    flops: float
    bytes: float
    threads: int


class Executable(Protocol):
    """A compiled graph. `run` may be called from several threads at once, and after a fork.

    Attributes:
        owned: whether nobody else has the arrays that `run` returns.
    """

    owned: bool = False

    def run(self, inputs: Sequence[Data]) -> list[Data]:
        """The graph's outputs for inputs that fit its declared types. The caller copies what it must own."""
        ...

    def run_into(self, inputs: Sequence[Data], out: Mapping[int, Array]) -> list[Data]:
        """`run`; outputs whose numbers are in `out` are written there: into arrays of their types, in C order.

        Nothing in `out` may overlap with `inputs`.
        """
        results = self.run(inputs)
        for number, place in out.items():
            np.copyto(place, results[number])
            results[number] = place
        return results

    def specialized(self) -> Graph | None:
        """The graph for the input shapes that ran last; None where it is the graph itself, or there were none."""
        return None

    def left_out(self, node: Node, backend: Backend) -> str | None:
        """Why the NumPy kernels run `node` of that graph, which `backend` compiled; None where they do not."""
        return backend.supports(node)

    def direct(self, inputs: Sequence[Data]) -> Callable[[], object] | None:
        """A function that runs a peer on `inputs` with nothing of ours around it; None for graphc's own backends."""
        return None

    def time_nodes(self, inputs: Sequence[Data]) -> list[float] | None:
        """Seconds that each of `graph.nodes` took in one run, or None where nodes are not separate at run time."""
        return None

    def time_kernels(self, inputs: Sequence[Data]) -> list[KernelRun] | None:
        """The kernels of one run in order, the same in each run, or None where there are none of its own."""
        return None

    def machine_limits(self) -> MachineLimits | None:
        """What a kernel's speed is to be compared with, measured now; None where that is not known."""
        return None

    def listing(self, stage: str, node: str | None) -> str:
        """The code made for the node called `node` (None: for all) at a stage such as `loops`, `llvm`, `asm`.

        Raises `CompileError` where there is none.
        """
        raise CompileError(f"this backend makes no code that could be shown at the stage {quote(stage)}")

    def memory_plan(self, inputs: Sequence[Data] | None) -> str | None:
        """Where values are during a run on such inputs (None: on those used last), as text; None without a plan."""
        return None

    def cache_info(self) -> CacheInfo | None:
        """Counters of what is kept for each signature of input shapes, or None where nothing depends on them."""
        return None

    def close(self) -> None:
        """Free what the executable holds."""
        return


class Backend(Protocol):
    """A way to run graphs. Making one raises `BackendUnavailable`, with the command that installs what is missing."""

    name: str

    def supports(self, node: Node) -> str | None:
        """None if this backend runs `node` itself, else the reason why the NumPy kernels must."""
        ...

    def compile(self, graph: Graph, options: Options) -> Executable:
        """Prepare `graph` to run."""
        ...


def backend_names() -> list[str]:
    """Every backend that is installed as an entry point, whether or not what it needs is there."""
    return plugin_names(GROUP)


def get_backend(name: str) -> Backend:
    """The backend called `name`. Raises `BackendUnavailable` with the reason and what there is instead."""
    try:
        found = find_plugin(GROUP, name)
    except LookupError as e:
        hint = f"{did_you_mean(name, backend_names())}{_available()}"
        raise BackendUnavailable(f"there is no backend {quote(name)}", hint=hint) from e
    try:
        backend: Backend = found.load()()
    except (ImportError, AttributeError) as e:
        raise BackendUnavailable(f"backend '{name}' cannot be loaded: {e}", hint=_available(without=name)) from e
    except BackendUnavailable as e:
        e.hint = f"{e.hint or ''} {_available(without=name)}".strip()
        raise
    return backend


def unavailable_reason(name: str) -> str | None:
    """Why the backend cannot be used, or None when it can."""
    try:
        find_plugin(GROUP, name).load()()
    except BackendUnavailable as e:
        return str(e)
    except Exception as e:  # whatever somebody else's package raises is the answer
        return f"{type(e).__name__}: {e}"
    return None


def _available(without: str = "") -> str:
    names = [n for n in backend_names() if n != without and unavailable_reason(n) is None]
    return f"Available: {', '.join(names)}" if names else "No backend is available; reinstall graphc"
