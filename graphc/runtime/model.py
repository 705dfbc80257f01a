"""A compiled model: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from graphc.errors import ExecutionError, FeedError, escape
from graphc.interpret import Data
from graphc.ir import Graph
from graphc.limits import Limits, enter, leave, limited
from graphc.names import did_you_mean, listing, quote
from graphc.passes.manager import Report
from graphc.runtime.backend import Backend, Executable, Options
from graphc.runtime.budget import Budget
from graphc.runtime.feeds import Feeds
from graphc.runtime.finite import check_feeds, find_non_finite
from graphc.runtime.placement import Placement, place
from graphc.runtime.ports import Port
from graphc.runtime.profile import Profile, profile
from graphc.runtime.signatures import CacheInfo
from graphc.text import format_graph, format_near
from graphc.types import Array


class CompiledModel:
    """A model that is ready to run; made by `graphc.compile`.

    It may be called from several threads at once and after a fork, can be pickled and copied (it compiles again where
    it arrives), and leaves nothing behind when a run is interrupted. Arrays that it returns belong to the caller.

    Attributes:
        source: the graph as it was loaded.
        graph: the graph after the passes, which is what runs.
        inputs, outputs: what goes in and out, with `.name`, `.shape` and `.dtype`.
    """

    def __init__(
        self,
        source: Graph,
        graph: Graph,
        report: Report,
        backend: Backend,
        options: Options,
        *,
        limits: Limits,
        safe_cast: bool = False,
    ):
        self.source, self.graph = source, graph
        self.inputs = tuple(Port(v.name, v.type) for v in graph.inputs)
        self.outputs = tuple(Port(n, v.type) for n, v in zip(graph.output_names, graph.outputs, strict=True))
        self._report, self._backend, self._options, self._limits = report, backend, options, limits
        self._feeds = Feeds(self.inputs, safe_cast=safe_cast)
        self._budget = Budget(graph)
        self._executable: Executable | None = backend.compile(graph, options)

    def __call__(self, *arrays: Any) -> Any:
        """The outputs for inputs given in order: one array, or a tuple when the model has several outputs.

        Args:
            arrays: anything with `__array__` or `__dlpack__`, of the declared element types and shapes; Python
                numbers for inputs of rank 0; lists for sequences, dicts for maps.

        Raises:
            FeedError: an input does not fit.
            ExecutionError: what an operator computed breaks the contract of another.
            Timeout: `Limits.timeout_s` ran out.
        """
        results = self._run(self._feeds.bind(arrays), None)
        return results[0] if len(results) == 1 else tuple(results)

    def run(
        self,
        feeds: Mapping[str, Any] | Sequence[Any] | Array,
        outputs: Sequence[str] | None = None,
        *,
        timeout: float | None = None,
        check_nan: bool = False,
    ) -> dict[str, Any]:
        """The outputs by name, in order.

        Args:
            feeds: input name -> array; or the arrays in order, or the one array of a model with one input.
            outputs: the names of the outputs to return; all when None.
            timeout: seconds after which the run stops with `Timeout`.
            check_nan: raise `ExecutionError` naming the first node that makes a NaN or an infinity out of numbers
                that are neither. Keeps every intermediate value, so it is slow.
        """
        wanted = self._wanted(outputs)
        data = self._bind(feeds)
        if check_nan:
            check_feeds(self.inputs, data)
        results = self._run(data, timeout)
        if check_nan:
            with limited(self._limits.with_timeout(timeout)):
                find_non_finite(self.graph, self._backend, self._options, data)
        named = dict(zip(self.graph.output_names, results, strict=True))
        return named if wanted is None else {name: named[name] for name in wanted}

    @property
    def backend(self) -> str:
        """The name of the backend that runs the model."""
        return self._backend.name

    def prepare(self, feeds: Mapping[str, Any] | Sequence[Any] | Array) -> Callable[[], object]:
        """A function that runs once on `feeds`, for benchmarks: `model(…)`, or what of a peer is comparable to it."""
        data = self._bind(feeds)
        direct = self._open().direct(data)
        return direct if direct is not None else lambda: self(*data)

    def placement(self) -> Placement:
        """Where each node runs, and why: for the input shapes that ran last, where shapes are not known before."""
        executable = self._open()
        return place(executable.specialized() or self.graph, self._backend, executable)

    def explain(self) -> Report:
        """What each pass did: nodes before and after, rewrites made and declined. Print it, or read its fields."""
        return self._report

    def profile(self, feeds: Mapping[str, Any] | Sequence[Any] | Array, *, repeat: int = 5) -> Profile:
        """The time of each node, or of each kernel where the backend compiles: the median of `repeat` runs."""
        data = self._bind(feeds)
        with limited(self._limits):
            return profile(self.graph, self._open(), data, repeat=repeat)

    def listing(self, stage: str, node: str | None = None) -> str:
        """What became of a node (None: of all) at `stage`: "graph", "loops", "llvm" or "asm", as text.

        Of the input shapes that ran last, where shapes are not known before. In the graph, a node stands between those
        that it reads and those that read it.
        """
        if stage == "graph":
            return format_graph(self.graph) if node is None else format_near(self.graph, node)
        return self._open().listing(stage, node)

    def memory_plan(self, feeds: Mapping[str, Any] | Sequence[Any] | Array | None = None) -> str:
        """Where values are in memory during a run with such feeds (None: the shapes that ran last), as a table."""
        plan = self._open().memory_plan(None if feeds is None else self._bind(feeds))
        if plan is None:
            raise ExecutionError(
                f"there is no plan of memory on the {self._backend.name} backend, or not before a run",
                hint='Use backend="llvm", and pass feeds',
            )
        return plan

    def cache_info(self) -> CacheInfo | None:
        """Counters of what is compiled for each signature of input shapes; None where the backend compiles nothing."""
        return self._open().cache_info()

    def close(self) -> None:
        """Free what the compiled model holds; it cannot run afterwards. Closing twice does no harm."""
        executable, self._executable = self._executable, None
        if executable is not None:
            executable.close()

    def __enter__(self) -> CompiledModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self._executable is not None else ", closed"
        inputs, outputs = (", ".join(map(str, ports)) for ports in (self.inputs, self.outputs))
        return f"<CompiledModel '{escape(self.graph.name)}' on {self._backend.name}: ({inputs}) -> ({outputs}){state}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (
            (self.source, self.graph, self._report, self._backend, self._options),
            {"limits": self._limits, "safe_cast": self._feeds.safe_cast},
            self._executable is None,
        )

    def _open(self) -> Executable:
        executable = self._executable
        if executable is None:
            raise ExecutionError("the model is closed", hint="Compile it again")
        return executable

    def _bind(self, feeds: Mapping[str, Any] | Sequence[Any] | Array) -> list[Data]:
        if isinstance(feeds, Mapping):
            return self._feeds.bind_names(feeds)
        if isinstance(feeds, (list, tuple)):
            return self._feeds.bind(feeds)
        if len(self.inputs) != 1:
            kind = type(feeds).__name__
            raise FeedError(
                f"the feeds are one {kind}, but the model has {len(self.inputs)} inputs", hint="Pass a dict by name"
            )
        return self._feeds.bind([feeds])

    def _wanted(self, outputs: Sequence[str] | None) -> list[str] | None:
        if outputs is None:
            return None
        wanted = [outputs] if isinstance(outputs, str) else list(outputs)
        names = self.graph.output_names
        for name in wanted:
            if name not in names:
                raise FeedError(
                    f"the model has no output {quote(name)}",
                    value=str(name),
                    hint=f"{did_you_mean(name, names)}It has {listing(names)}",
                )
        return wanted

    def run_into(self, arrays: Sequence[Any], out: Mapping[int, Array]) -> list[Any]:
        """The outputs for inputs given in order; those whose numbers are in `out` are written there: see `Carried`."""
        data = self._feeds.bind(arrays)
        with limited(self._limits):
            self._budget.check(data)
            return self._open().run_into(data, out)

    def _run(self, data: list[Data], timeout: float | None) -> list[Data]:
        executable = self._executable or self._open()
        # Not a `with`: a small network takes some microseconds, and a context manager half of one.
        token = enter(self._limits if timeout is None else self._limits.with_timeout(timeout))
        try:
            self._budget.check(data)
            results = executable.run(data)
        finally:
            leave(token)
        return results if executable.owned else own(results, data)


def _restore(arguments: tuple[Any, ...], options: Mapping[str, Any], closed: bool) -> CompiledModel:
    model = CompiledModel(*arguments, **options)
    if closed:
        model.close()
    return model


def own(results: Sequence[Data], inputs: Sequence[Data]) -> list[Data]:
    """`results` with a copy of each that is not the caller's alone: an input, a view, a constant, one twice."""
    if len(results) == 1 and type(r := results[0]) is np.ndarray:  # the usual case, without the detours
        flags = r.flags
        if flags.owndata and flags.writeable:
            for x in inputs:
                if x is r or type(x) is not np.ndarray:
                    break
            else:
                return [r]
    seen: set[int] = set()
    _collect(inputs, seen)
    return [_own(r, seen) for r in results]


def _collect(data: Sequence[Data], seen: set[int]) -> None:
    for x in data:
        if isinstance(x, (list, tuple)):
            _collect(x, seen)
        else:
            seen.add(id(x))


def _own(data: Data, seen: set[int]) -> Data:
    if isinstance(data, (list, tuple)):
        return [_own(element, seen) for element in data]
    if isinstance(data, dict):
        if type(data) is dict and id(data) not in seen:
            seen.add(id(data))
            return data
        return dict(data)
    if not isinstance(data, np.ndarray):
        return data
    if id(data) in seen or not (data.flags.owndata and data.flags.writeable):
        return data.copy()
    seen.add(id(data))
    return data
