"""Time graphc's native code beside the engines that a user would take instead, on one machine in one run.

    python benchmarks/compare.py                                # all networks, a table
    python benchmarks/compare.py --networks resnet50 bert_base --threads 1 --rounds 3
    python benchmarks/compare.py --markdown                     # writes the results into docs/performance.md
    python benchmarks/compare.py --read results.json --markdown # the same, from what --json wrote

Every engine has a process of its own, and they take turns: all rounds of one network on one number of threads, then
the next. Processes that wait are stopped, so that none of them takes the processor from the others. Networks of the
zoo have seeded random weights and inputs, batch 1, float32. OpenVINO and MNN take part where they are installed
(pip install openvino MNN).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from engines import ENGINES
from report import draw, table, write_page

import graphc
from graphc.backends.codegen.target import host_target, llvm_version
from graphc.backends.llvm.limits import measure_limits
from graphc.ir import Graph
from graphc.models import NETWORKS
from graphc.ops.base import Constant
from graphc.random import random_feeds

# Networks, and their options where those are not the defaults.
NAMES: dict[str, dict[str, Any]] = {
    "mlp": {},
    "lenet5": {},
    "alexnet": {},
    "nin": {},
    "vgg16": {},
    "googlenet": {},
    "resnet18": {},
    "resnet50": {},
    "mobilenet_v1": {},
    "fcn32s": {},
    "context_module": {"large": True},
    "bert_base": {},
    "vit_b16": {},
}
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # the ops whose arithmetic counts
CACHE = 32 << 20  # bytes of weights above which each run reads them from memory
ROOT = Path(__file__).parent.parent


@dataclass
class Row:
    """One network on one number of threads.

    Attributes:
        gflop: billions of operations of its convolutions and matrix products, done directly.
        weights: bytes of their constant operands.
        limit_gflops, limit_gbs: the most that so many threads did in registers and from memory, in this run.
        limit_ms: the time that the layers take at these limits, one after the other.
        ms: engine -> median of all calls.
        difference: engine -> largest difference from onnxruntime's results, over their largest magnitude.
        load_s: engine -> seconds to load, compile and run once.
        errors: engine -> why it does not run the network.
    """

    network: str
    threads: int
    gflop: float
    weights: int
    limit_gflops: float = 0.0
    limit_gbs: float = 0.0
    limit_ms: float = 0.0
    ms: dict[str, float] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class Worker:
    """An engine with a model, stopped except during its turns."""

    def __init__(self, engine: str, folder: Path, model: Path, threads: int, script: str = "engines.py"):
        self.engine, self.results = engine, folder / f"{engine}.npz"
        script = str(Path(__file__).with_name(script))
        command = [str(c) for c in (sys.executable, script, engine, model, folder / "feeds.npz", self.results, threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.ready = self._answer()
        self._signal("SIGSTOP")

    def turn(self, seconds: float) -> list[float]:
        assert self.process.stdin is not None
        self._signal("SIGCONT")
        print(seconds, file=self.process.stdin, flush=True)
        times: list[float] = self._answer()
        self._signal("SIGSTOP")
        return times

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"the process ended with {self.process.wait()}"}

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self.process.poll() is None:  # Windows has neither
            self.process.send_signal(getattr(signal, name))


def layers(graph: Graph) -> list[tuple[float, int]]:
    """(operations, bytes of weights) of each convolution and matrix product."""
    found = []
    for node in graph.nodes:
        if node.op.name in PRODUCTS:
            flops = float(node.op.cost(node.inputs, node.outputs).flops)
            fixed = [x for x in node.inputs if x is not None and x.node is not None and isinstance(x.node.op, Constant)]
            found.append((flops, sum(x.tensor.nbytes or 0 for x in fixed)))
    return found


def measure(name: str, threads: int, options: argparse.Namespace, versions: dict[str, str]) -> Row:
    """All rounds of one network on so many threads."""
    graph = NETWORKS[name](**NAMES.get(name, {}))
    work = layers(graph)
    row = Row(name, threads, sum(f for f, _ in work) / 1e9, sum(b for _, b in work))
    times: dict[str, list[float]] = {}
    limits = []
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        model = folder / f"{name}.onnx"
        graphc.save(graph, model, opset=20)
        np.savez(folder / "feeds.npz", **random_feeds(graph, seed=options.seed))
        try:
            for engine in options.engines:
                worker = Worker(engine, folder, model, threads)
                workers.append(worker)
                if "error" in worker.ready:
                    row.errors[engine] = worker.ready["error"]
                    continue
                versions[engine], row.load_s[engine] = worker.ready["version"], worker.ready["load_s"]
                times[engine] = []
            running = [w for w in workers if w.engine in times]
            for _ in range(options.rounds):
                limits.append(measure_limits(host_target(), threads))
                for worker in running:
                    times[worker.engine] += worker.turn(options.seconds)
            row.difference = _differences(running)
        finally:
            for worker in workers:
                worker.close()
    row.ms = {engine: 1e3 * statistics.median(t) for engine, t in times.items()}
    flops, bandwidth = max(m.flops for m in limits), max(m.bytes for m in limits)
    row.limit_gflops, row.limit_gbs = flops / 1e9, bandwidth / 1e9
    cached = row.weights <= CACHE
    row.limit_ms = 1e3 * sum(max(f / flops, 0 if cached else b / bandwidth) for f, b in work)
    return row


def _differences(workers: list[Worker]) -> dict[str, float]:
    results = {w.engine: dict(np.load(w.results)) for w in workers}
    if "onnxruntime" not in results:
        return {}
    found = {}
    for engine, arrays in results.items():
        if engine != "onnxruntime":
            found[engine] = max(
                float(np.abs(arrays[n] - y).max() / np.abs(y).max()) for n, y in results["onnxruntime"].items()
            )
    return found


def machine() -> dict[str, str]:
    """What the results hold for."""
    target = host_target()
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    llvmlite, *llvm = llvm_version()
    return {
        "processor": f"{model}, {target.cpu} to LLVM, vectors of {8 * target.vector_bytes} bits",
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "llvmlite": f"{llvmlite} (LLVM {'.'.join(str(n) for n in llvm)})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NAMES), choices=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="how often the engines take turns")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a turn takes")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES), metavar="ENGINE")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing; take what --json wrote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios (.png, .svg); needs matplotlib")
    parser.add_argument("--markdown", action="store_true", help="write the table and the plot into docs/performance.md")
    options = parser.parse_args()
    if options.read:
        found = json.loads(options.read.read_text())
        rows = found["rows"]
    else:
        options.engines = [e for e in options.engines if importlib.util.find_spec(e) is not None]
        rows, versions = [], {}
        for threads in options.threads:
            for name in options.networks:
                print(f"{name}, {threads} threads …", file=sys.stderr, flush=True)
                rows.append(asdict(measure(name, threads, options, versions)))
        how = {"rounds": options.rounds, "seconds": options.seconds, "seed": options.seed}
        found = {"machine": {**machine(), **versions}, "how": how, "rows": rows}
    print(table(rows))
    for row in rows:
        for engine, error in row["errors"].items():
            print(f"{engine} does not run {row['network']}: {error[:200]}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.plot:
        draw(rows, options.plot)
    if options.markdown:
        write_page(found, ROOT / "docs" / "performance.md")


if __name__ == "__main__":
    main()
