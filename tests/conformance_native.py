"""What holds for a row of the conformance table on the LLVM backend, at each vector width that this machine has.

`llvm_placement.txt` names the rows that run on NumPy's kernels, and why; it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from conformance import Case, compare
from llvm_placement import placement, reasons
from llvm_targets import targets

from graphc.backends.llvm import LlvmBackend
from graphc.backends.llvm.backend import LlvmExecutable
from graphc.errors import GraphcError
from graphc.interpret import Data, interpret
from graphc.ir import Graph
from graphc.passes.bodies import is_pure
from graphc.runtime.backend import Options

PLACEMENT = placement()
BACKENDS = [LlvmBackend(name) for name in targets()]  # the first one is for this machine
SMALL = 16  # elements of what may be a shape, axes and the like


def check_native(name: str, case: Case, graph: Graph, results: Sequence[Data]) -> None:
    """Native code gives the results of NumPy's kernels, and is made for all rows but those of the list."""
    feeds = case.feeds()
    pure = all(is_pure(n) for n in graph.nodes)
    for backend in BACKENDS:
        executable = backend.compile(graph, Options())
        assert isinstance(executable, LlvmExecutable)
        for got, want in zip(executable.run(feeds), results, strict=True):
            if pure:
                compare(got, want, max(case.rtol, 1e-5), case.atol)
            else:
                assert np.asarray(got).shape == np.asarray(want).shape
        assert reasons(executable, backend.target) == PLACEMENT.get(name), "python tests/llvm_placement.py --write"


def check_native_with_constants(case: Case) -> None:
    """The same with small inputs after the first as constants: native code needs shapes, axes and the like so."""
    small = [i for i, x in enumerate(case.inputs) if i and isinstance(x, np.ndarray) and x.size <= SMALL]
    if {*small} <= {*case.const}:
        return
    case = replace(case, const=sorted({*case.const, *small}))
    try:
        graph = case.graph()
    except GraphcError:  # a constant that inference refuses
        return
    if not all(is_pure(n) for n in graph.nodes):
        return
    feeds = case.feeds()
    results = BACKENDS[0].compile(graph, Options()).run(feeds)
    for got, want in zip(results, interpret(graph, feeds), strict=True):
        compare(got, want, max(case.rtol, 1e-5), case.atol)
