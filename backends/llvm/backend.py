"""The backend: which nodes are native, and the executable that runs native regions and NumPy's kernels in turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.interpret import Data, evaluate
from graphc.ir import Graph, Node, Value, retype
from graphc.limits import check_deadline
from graphc.names import quote
from graphc.ops.base import Constant
from graphc.passes.decompose import decompose, parts_of
from graphc.runtime.backend import Backend, Executable, KernelRun, MachineLimits, Options
from graphc.runtime.signatures import CacheInfo, Signatures
from graphc.types import Array, TensorType

from ..codegen.jit import COMPILING
from ..codegen.target import Target, host_target, llvm
from .assemble import build
from .control import check_code, controlled, in_parts, own_inputs
from .limits import measure_limits
from .listing import show_kernels
from .lowering import check
from .memory import show_memory
from .program import Program
from .threads import thread_count

STAGES = ("loops", "llvm", "asm")
MAX_NESTING = 32  # bodies in bodies: what is deeper has no native form


class LlvmBackend:
    """Compiles graphs to native code, for each signature of input shapes.

    Args:
        target: the instruction set, as `x86-64-v3`; None is that of this machine.
        winograd: whether 3 × 3 convolutions take Winograd's fewer multiplications, which loses up
            to a factor of two in accuracy; None: where it is faster.
    """

    name = "llvm"

    def __init__(self, target: str | None = None, *, winograd: bool | None = None) -> None:
        llvm()
        self.target, self.winograd = host_target(target), winograd

    def supports(self, node: Node) -> str | None:
        return why_not(node, self.target)

    def compile(self, graph: Graph, options: Options) -> Executable:
        return LlvmExecutable(graph, self.target, options, self.winograd)


Check = Callable[[Node, Target], None]
IN_A_BODY = " in a body: "


def why_not(node: Node, target: Target, check: Check = check_code, depth: int = 0) -> str | None:
    """None for a node that passes `check`, as do those in its bodies; else the reason why not."""
    if isinstance(node.op, Constant):
        return None
    try:
        if not all(isinstance(v.type, TensorType) for v in (*node.outputs, *(x for x in node.inputs if x is not None))):
            return "sequences and optionals are not native"
        own = own_inputs(node)
        parts = parts_of(node, own)
        if parts is not None:
            whole = decompose(Graph([x for x in own if x is not None], parts))
            return next((r for n in whole.nodes if (r := why_not(n, target, check)) is not None), None)
        form = controlled(node)
        if form is None:
            check(node, target)
            return None
        if depth == MAX_NESTING:
            return "bodies in bodies are nested too deeply"
        for n in (n for part in form.parts for n in part.nodes):
            reason = why_not(n, target, check, depth + 1)
            if reason is not None:
                return reason if IN_A_BODY in reason else f"{n.label}{IN_A_BODY}{reason}"
    except CompileError as e:
        return str(e.message)
    return None


class _Region(Frozen, eq=False):
    """Consecutive nodes: a native program, or one node for NumPy's kernels."""

    nodes: list[Node]
    program: Program | None


class LlvmExecutable(Executable):
    """Native code for each signature that has been run, the least recently used ones dropped."""

    def __init__(self, graph: Graph, target: Target, options: Options, winograd: bool | None = None):
        self.graph, self.target, self.options, self.winograd = graph, target, options, winograd
        self.signatures: Signatures[_Compiled] = Signatures()
        self.only: _Compiled | None = None  # where all sizes are known, and there is nothing to look up
        if all(isinstance(v.type, TensorType) and v.type.is_static for v in graph.inputs):
            self.only = self._find(tuple([v.tensor.shape for v in graph.inputs]))
            self.owned = self.only.whole is not None

    def run(self, inputs: Sequence[Data]) -> list[Data]:
        found = self.only or self._find(signature(inputs))
        return found.run(inputs)

    def run_into(self, inputs: Sequence[Data], out: Mapping[int, Array]) -> list[Data]:
        whole = self._find(signature(inputs)).whole
        if whole is None:
            return super().run_into(inputs, out)
        check_deadline()
        return list(whole.run(inputs, out))

    def specialized(self) -> Graph | None:
        kept = self.signatures.values()
        return kept[-1].source if kept else None

    def left_out(self, node: Node, backend: Backend) -> str | None:
        kept = self.signatures.values()  # whose code need not be written again to know that it can be
        return why_not(node, self.target, kept[-1].check) if kept else backend.supports(node)

    def time_kernels(self, inputs: Sequence[Data]) -> list[KernelRun] | None:
        if sys.platform == "win32":  # the driver's clock is that of POSIX
            return None
        return self._find(signature(inputs)).time_kernels(inputs)

    def machine_limits(self) -> MachineLimits:
        return measure_limits(self.target, thread_count(self.options.threads))

    def listing(self, stage: str, node: str | None) -> str:
        kept = self.signatures.values()
        if stage not in STAGES or not kept:
            reason = f"there is no stage {quote(stage)}" if kept else "input shapes are not known yet"
            raise CompileError(reason, hint=f"Use one of {', '.join(STAGES)}; bind symbolic dimensions")
        programs = [r.program for r in kept[-1].regions if r.program is not None]
        return show_kernels(programs, self.target, stage, node)

    def memory_plan(self, inputs: Sequence[Data] | None) -> str | None:
        if inputs is not None:
            return self._find(signature(inputs)).memory_plan()
        kept = self.signatures.values()
        return kept[-1].memory_plan() if kept else None

    def cache_info(self) -> CacheInfo:
        return self.signatures.info()

    def close(self) -> None:
        self.only = None
        self.signatures.clear()

    def _find(self, shapes: Signature) -> _Compiled:
        return self.signatures.find(shapes, lambda: self._compile(shapes))

    def _compile(self, shapes: Signature) -> _Compiled:
        types = [
            TensorType(v.type.dtype, shape) if isinstance(v.type, TensorType) and shape is not None else v.type
            for v, shape in zip(self.graph.inputs, shapes, strict=True)
        ]
        specialized = retype(self.graph, types, [v.content for v in self.graph.inputs])
        with COMPILING:
            return _Compiled(specialized, self.target, thread_count(self.options.threads), self.winograd)


def _ordered(values: list[Value], wanted: Sequence[Value]) -> list[Value]:
    """`values`, those in `wanted` first and in that order."""
    place = {v: k for k, v in enumerate(wanted)}
    return sorted(values, key=lambda v: place.get(v, len(place)))


Signature = tuple[Any, ...]  # a shape for each input, None for what is not a tensor


def signature(inputs: Sequence[Data]) -> Signature:
    return tuple([x.shape if isinstance(x, np.ndarray) else None for x in inputs])


Run = Callable[[Program, list[Array]], list[Array]]


class _Compiled:
    """A graph whose inputs have known shapes, as regions in order."""

    def __init__(self, graph: Graph, target: Target, threads: int, winograd: bool | None):
        self.source, self.graph, self.threads, self.winograd = graph, in_parts(graph), threads, winograd
        self.check: Check = check
        self.regions = self._at_once(target) or self._in_regions(target)
        # The program that is the whole graph, if there is one.
        self.whole = None
        if len(self.regions) == 1 and (program := self.regions[0].program) is not None:
            same = [*program.inputs, None, *program.outputs] == [*self.graph.inputs, None, *self.graph.outputs]
            self.whole = program if same else None

    def _at_once(self, target: Target) -> list[_Region]:
        """One region, where every node is native: to ask each one first takes longer."""
        nodes = [n for n in self.graph.nodes if not isinstance(n.op, Constant)]
        if not all(isinstance(v.type, TensorType) for n in nodes for v in (*n.inputs, *n.outputs) if v is not None):
            return []
        try:
            return [self._region(nodes, True, target, self._constants())] if nodes else []
        except CompileError:
            return []

    def _in_regions(self, target: Target) -> list[_Region]:
        try:
            return self._regions(target)
        except CompileError:  # for a few nodes this shows only when code is written
            self.check = check_code
            return self._regions(target)

    def _regions(self, target: Target) -> list[_Region]:
        native = {n: why_not(n, target, self.check) is None for n in self.graph.nodes}
        found = regions(self.graph, native)
        # Where there is one region, it returns constants as well, and is the whole graph.
        constants = self._constants() if len(found) == 1 else []
        return [self._region(nodes, native[nodes[0]], target, constants) for nodes in found]

    def _constants(self) -> list[Value]:
        """The outputs that are constants."""
        return [v for v in self.graph.outputs if v.node is not None and isinstance(v.node.op, Constant)]

    def _region(self, nodes: list[Node], native: bool, target: Target, constants: Sequence[Value]) -> _Region:
        if not native:
            return _Region(nodes, None)
        made = {v for n in nodes for v in n.outputs}
        inputs = list(dict.fromkeys(x for n in nodes for x in n.inputs if x is not None and x not in made))
        inputs = [x for x in inputs if x.node is None or not isinstance(x.node.op, Constant)]
        read = set(self.graph.outputs)
        inside = set(nodes)
        read |= {x for n in self.graph.nodes if n not in inside for x in n.inputs if x is not None}
        outputs = [*dict.fromkeys(constants), *(v for n in nodes for v in n.outputs if v in read)]
        inputs, outputs = _ordered(inputs, self.graph.inputs), _ordered(outputs, self.graph.outputs)
        return _Region(nodes, build(nodes, inputs, outputs, target, self.threads, self.winograd))

    @cached_property
    def constants(self) -> dict[Value, Array]:
        """Those that NumPy's kernels read or that are outputs; native programs have their own."""
        read = {x for r in self.regions if r.program is None for n in r.nodes for x in n.inputs}.union(
            self.graph.outputs
        )
        return {n.output: n.op.value.array for n in self.graph.nodes if isinstance(n.op, Constant) and n.output in read}

    def run(self, inputs: Sequence[Data]) -> list[Data]:
        check_deadline()
        if self.whole is not None:
            return self.whole.run(inputs)
        return self._run(inputs, lambda program, data: program.run(data))

    def time_kernels(self, inputs: Sequence[Data]) -> list[KernelRun]:
        """Each kernel of a run on drivers with clocks."""
        runs: list[KernelRun] = []
        begin = time.perf_counter()

        def timed(program: Program, arguments: list[Array]) -> list[Array]:
            start = time.perf_counter() - begin
            results, times = program.time_kernels(arguments)
            for step, (at, seconds, count) in zip(program.kernels, times, strict=True):
                runs.append(KernelRun(step.node, step.call.kernel, start + at, seconds, step.moved, count))
            return results

        def fallback(node: Node, start: float) -> None:
            runs.append(KernelRun(node, "", start - begin, time.perf_counter() - start, None))

        self._run(inputs, timed, fallback)
        return runs

    def _run(self, inputs: Sequence[Data], run: Run, done: Callable[[Node, float], None] | None = None) -> list[Data]:
        data: dict[Value, Data] = self.constants | dict(zip(self.graph.inputs, inputs, strict=True))
        for region in self.regions:
            check_deadline()
            program = region.program
            if program is None:
                for node in region.nodes:
                    check_deadline()
                    start = time.perf_counter()
                    results = evaluate(node, [None if x is None else data[x] for x in node.inputs])
                    if done is not None:
                        done(node, start)
                    data.update(zip(node.outputs, results, strict=True))
            else:
                data.update(zip(program.outputs, run(program, [data[v] for v in program.inputs]), strict=True))
        return [data[v] for v in self.graph.outputs]

    def memory_plan(self) -> str:
        """The arena of each native region."""
        programs = [r.program for r in self.regions if r.program is not None]
        return "\n\n".join(show_memory(p) for p in programs)


def regions(graph: Graph, native: dict[Node, bool]) -> list[list[Node]]:
    """The nodes in an order that the graph allows, in runs that are native or not: as few as a greedy walk finds."""
    waiting = [n for n in graph.nodes if not isinstance(n.op, Constant)]
    ready = {n.output for n in graph.nodes if isinstance(n.op, Constant)} | set(graph.inputs)
    found: list[list[Node]] = []
    wanted = True
    while waiting:
        run: list[Node] = []
        left: list[Node] = []
        for n in waiting:
            if native[n] == wanted and all(x is None or x in ready for x in n.inputs):
                run.append(n)
                ready.update(n.outputs)
            else:
                left.append(n)
        if run:
            found.append(run)
        waiting, wanted = left, not wanted
    return found
