"""Load, optimise and run networks on the NumPy backend beside onnxruntime, interleaved in one run.

    python benchmarks/networks.py resnet50 vgg16 --batch 1 --rounds 5 --json results.json

Prints one row for each network: seconds to load the ONNX file and to run the passes, median milliseconds of one
inference with each backend, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import graphc
from graphc.models import NETWORKS

WARM_UP, REPEATS = 3, 5  # inferences of each model in each round


def seconds(f: Callable[[], object]) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def measure(name: str, batch: int, rounds: int, threads: int) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        graphc.save(NETWORKS[name](batch=batch), path)
        load_s = seconds(lambda: graphc.load(path))
        graph = graphc.load(path)
        optimize_s = seconds(lambda: graphc.optimize(graph))
        backends = {"numpy": {"level": 2}, "onnxruntime": {"level": 0, "threads": threads}}
        times: dict[str, list[float]] = {name: [] for name in backends}
        for _ in range(rounds):  # interleaved: the machine's speed drifts
            for backend, options in backends.items():
                # One model at a time: onnxruntime's idle threads spin, and would take the processor from NumPy.
                with graphc.compile(path, backend=backend, **options) as model:
                    shape = tuple(int(d) for d in model.inputs[0].shape)
                    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
                    for _ in range(WARM_UP):
                        model(x)
                    times[backend] += [seconds(functools.partial(model, x)) for _ in range(REPEATS)]
    medians = {k: 1e3 * statistics.median(v) for k, v in times.items()}
    return {
        "network": name,
        "load_s": load_s,
        "optimize_s": optimize_s,
        "numpy_ms": medians["numpy"],
        "onnxruntime_ms": medians["onnxruntime"],
        "ratio": medians["numpy"] / medians["onnxruntime"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "networks", nargs="*", default=["lenet5", "alexnet", "googlenet", "resnet18", "resnet50", "vgg16"]
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="how often the backends take turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="also write the rows to this file")

    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, NumPy {np.__version__}")
    print(f"{'network':<18}{'load s':>8}{'optimise s':>12}{'numpy ms':>11}{'ort ms':>9}{'ratio':>8}")
    rows = []
    for name in options.networks:
        row = measure(name, options.batch, options.rounds, options.threads)
        rows.append(row)
        print(
            f"{name:<18}{row['load_s']:>8.2f}{row['optimize_s']:>12.2f}{row['numpy_ms']:>11.1f}"
            f"{row['onnxruntime_ms']:>9.1f}{row['ratio']:>8.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
