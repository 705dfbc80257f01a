"""Time train steps of graphc's native code beside PyTorch's, eager and by torch.compile, in one run on one machine.

    python benchmarks/training.py [--json FILE] [--models mlp lenet5 resnet20] [--threads 1 2]

A step is a batch of 128 through the network, cross-entropy, its gradients and SGD with momentum. Engines take turns in
processes of their own, as in `compare.py`. PyTorch: pip install torch==2.13.0; torch.compile needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from compare import Worker, machine
from rich.console import Console
from rich.table import Table

import graphc
from graphc import models
from graphc.autodiff import Constant, CrossEntropy, Momentum, initial_state, train_step
from graphc.random import random_feeds

BATCH = 128
MODELS = {"mlp": models.mlp, "lenet5": models.lenet5, "resnet20": models.resnet_cifar}
ENGINES = ("graphc", "eager", "compile")


@dataclass
class Row:
    """One network on one number of threads.

    Attributes:
        graphc_ms, eager_ms, compile_ms: medians of a step; None where the engine is not there.
        ratio: graphc's time over that of the faster one of the others.
        difference: the largest one of the first loss from graphc's.
        errors: engine -> why it does not run.
    """

    model: str
    threads: int
    graphc_ms: float | None
    eager_ms: float | None
    compile_ms: float | None
    ratio: float | None
    difference: float
    errors: dict[str, str]


def measure(name: str, threads: int, options: argparse.Namespace, versions: dict[str, str]) -> Row:
    graph = MODELS[name](batch=BATCH)
    step = train_step(graph, CrossEntropy(), Momentum(0.9), schedule=Constant(0.01))
    rng = np.random.default_rng(0)
    feeds = {"x": random_feeds(graph)["x"], "target": rng.integers(0, 10, BATCH)}
    feeds |= initial_state(step, graph)
    times: dict[str, list[float]] = {}
    errors: dict[str, str] = {}
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        graphc.save(step, folder / f"{name}.onnx")
        np.savez(folder / "feeds.npz", **feeds)
        try:
            for engine in ENGINES if importlib.util.find_spec("torch") else ENGINES[:1]:
                worker = Worker(engine, folder, folder / f"{name}.onnx", threads, "training_engines.py")
                workers.append(worker)
                if "error" in worker.ready:
                    errors[engine] = worker.ready["error"]
                    continue
                versions[engine], times[engine] = worker.ready["version"], []
            running = [w for w in workers if w.engine in times]
            for _ in range(options.rounds):
                for worker in running:
                    times[worker.engine] += worker.turn(options.seconds)
            losses = {w.engine: float(np.load(w.results)["loss"]) for w in running}
        finally:
            for worker in workers:
                worker.close()
    ms = {engine: 1e3 * statistics.median(t) for engine, t in times.items()}
    own, others = ms.get("graphc"), [t for engine, t in ms.items() if engine != "graphc"]
    ratio = own / min(others) if own and others else None
    difference = max(abs(x - losses["graphc"]) for x in losses.values()) if "graphc" in losses else float("nan")
    return Row(name, threads, own, ms.get("eager"), ms.get("compile"), ratio, difference, errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="how often the engines take turns")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a turn takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    options = parser.parse_args()
    rows, versions = [], {}
    for threads in options.threads:
        for name in options.models:
            print(f"{name}, {threads} threads …", file=sys.stderr, flush=True)
            rows.append(measure(name, threads, options, versions))
    table = Table(title=f"a train step, batch {BATCH}: ms")
    for column in ("model", "threads", "graphc", "eager", "torch.compile", "ratio"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        cells = (row.graphc_ms, row.eager_ms, row.compile_ms, row.ratio)
        table.add_row(row.model, str(row.threads), *("" if x is None else f"{x:.2f}" for x in cells))
        for engine, error in row.errors.items():
            print(f"{engine} does not run {row.model}: {error[:300]}", file=sys.stderr)
    Console().print(table)
    if options.json:
        how = {"rounds": options.rounds, "seconds": options.seconds, "batch": BATCH}
        document = {"machine": {**machine(), **versions}, "how": how, "rows": [asdict(r) for r in rows]}
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
