"""Exports the graph to ONNX and runs it on ONNX Runtime's CPU provider."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from graphc import debug
from graphc.errors import BackendUnavailable, CompileError, ExecutionError, GraphcError, UnsupportedOp
from graphc.interpret import Data
from graphc.ir import Graph, Node
from graphc.limits import check_deadline
from graphc.runtime.backend import Executable, Options
from graphc.runtime.constants import read_constants
from graphc.runtime.frontends import save
from graphc.types import Tensor

from .values import from_ort, needs_ort_values, to_ort


class OnnxRuntimeBackend:
    """Runs whole graphs on ONNX Runtime; there is no fallback for single nodes, since it is there to compare with."""

    name = "onnxruntime"

    def __init__(self) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise BackendUnavailable("onnxruntime is not installed", hint="Install it: pip install 'graphc[verify]'.")

    def supports(self, node: Node) -> str | None:
        return None

    def compile(self, graph: Graph, options: Options) -> Executable:
        read_constants(graph)
        return OnnxRuntimeExecutable(graph, options)


class OnnxRuntimeExecutable(Executable):
    """A session, and the weights that it reads. Its threads do not survive a fork, so a child makes one of its own."""

    def __init__(self, graph: Graph, options: Options):
        self.graph, self.options = graph, options
        self._make_session()

    def _make_session(self) -> None:
        self._session, self._weights = make_session(self.graph, self.options)
        self._process = os.getpid()

    def run(self, inputs: Sequence[Data]) -> list[Data]:
        if self._process != os.getpid():
            self._make_session()
        ort = import_onnxruntime()
        types = [v.type for v in (*self.graph.inputs, *self.graph.outputs)]
        names = [v.name for v in self.graph.inputs]
        outputs = list(self.graph.output_names)
        options = ort.RunOptions()
        if not any(map(needs_ort_values, types)):
            feeds = {n: x for n, x in zip(names, inputs, strict=True) if x is not None}
            return _interruptible(lambda: list(self._session.run(outputs, feeds, options)), options)
        values = {n: to_ort(ort, x, t) for n, x, t in zip(names, inputs, types[: len(names)], strict=True)}
        found = _interruptible(lambda: self._session.run_with_ort_values(outputs, values, options), options)
        return [from_ort(r, t) for r, t in zip(found, types[len(names) :], strict=True)]

    def direct(self, inputs: Sequence[Data]) -> Callable[[], object] | None:
        if any(needs_ort_values(v.type) for v in (*self.graph.inputs, *self.graph.outputs)):
            return None
        feeds = {v.name: x for v, x in zip(self.graph.inputs, inputs, strict=True) if x is not None}
        outputs = list(self.graph.output_names)
        return lambda: self._session.run(outputs, feeds)


def _interruptible(call: Callable[[], list[Any]], options: Any) -> list[Any]:
    """`call()` in a thread, so that Ctrl-C and the deadline can end it."""
    result: list[Any] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            result.extend(call())
        except BaseException as e:
            failure.append(e)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="graphc-onnxruntime", daemon=True)
    thread.start()
    try:
        while not done.wait(0.05):
            check_deadline()
    except BaseException:
        options.terminate = True
        thread.join()
        raise
    thread.join()
    if failure:
        raise ExecutionError(f"onnxruntime fails: {_message(failure[0])}") from failure[0]
    return result


def make_session(graph: Graph, options: Options) -> tuple[Any, list[Any]]:
    """A session for `graph`, and the weights that have to live as long as it, which it reads where they are.

    Raises `UnsupportedOp` or `CompileError` with what onnxruntime says.
    """
    ort = import_onnxruntime()
    settings = _settings(ort, options)
    tensors: dict[str, Tensor] = {}
    model = save(graph, aside=tensors)  # outside of what follows: a fault of this is none of onnxruntime's
    try:
        weights = [to_ort(ort, t.array, t.type) for t in tensors.values()]
        settings.add_external_initializers(list(tensors), weights)
        session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except GraphcError:
        raise
    except Exception as e:  # its exceptions have no common base of their own
        if type(e).__name__ == "NotImplemented":
            raise UnsupportedOp(f"onnxruntime cannot run this model: {_message(e)}") from e
        raise CompileError(f"onnxruntime refuses the model: {_message(e)}") from e
    return session, weights


def _settings(ort: ModuleType, options: Options) -> Any:
    settings = ort.SessionOptions()
    settings.log_severity_level = {0: 4, 1: 3, 2: 2, 3: 1}.get(debug.level(), 0)
    if options.threads is not None:
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
    return settings


@cache
def import_onnxruntime() -> ModuleType:
    """The package, imported when first asked for, with its telemetry switched off before."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as e:
        raise BackendUnavailable(
            f"onnxruntime cannot be imported: {e}", hint="Install it: pip install 'graphc[verify]'"
        ) from e
    package: ModuleType = onnxruntime
    return package


def _message(e: BaseException) -> str:
    return str(e).strip().replace("\n", " ")
