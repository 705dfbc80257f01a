"""Compile and run real networks, and prove the results right against onnxruntime.

    python examples/demo.py [NETWORK ...]

The networks are those that the onnx package ships (Caffe2 exports), with seeded random weights. For each of them the
table says what the passes did to the graph, how far the result of the native code is from onnxruntime's, and how long
things took. At last a LeNet-5 that `examples/digits.py` has trained reads handwritten digits that it has not seen.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter

import numpy as np
from rich.console import Console
from rich.table import Table

import graphc
from graphc.models import lenet5_digits
from graphc.models.light import NAMES, light
from graphc.train.datasets import digits

RTOL = 1e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of: {', '.join(NAMES)}")
    names = parser.parse_args().networks or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        parser.error(f"unknown network {unknown[0]}, choose from {', '.join(NAMES)}")

    table = Table(title="graphc against onnxruntime: batch 1, 224×224 images, seeded random weights and images")
    table.add_column("network")
    for column in ("nodes", "after", "BN folded", "fused", "native", "max error", "compile s", "graphc ms", "ort ms"):
        table.add_column(column, justify="right")
    table.add_column("", justify="left")
    passed = True
    with Console(stderr=True).status("") as status:
        for name in names:
            status.update(f"{name} ...")
            *cells, ok = measure(name)
            table.add_row(name, *cells, "[green]ok[/]" if ok else "[red]differs[/]")
            passed &= ok
    console = Console(width=max(Console().width, 124))
    console.print(table)
    console.print(
        f"nodes, after: nodes to run before and after the passes; BN folded: batch normalisations absorbed by\n"
        f"convolutions; fused: groups of nodes that became one; native: nodes that run as machine code\n"
        f"max error: largest difference, relative to the largest output; ok: within {RTOL} of every output\n"
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"
    )
    passed &= read_digits(console)
    return 0 if passed else 1


def read_digits(console: Console, shown: int = 9) -> bool:
    """Show some digits and what they are taken for; true when nearly all are read, and as onnxruntime reads them."""
    graph, task = lenet5_digits(batch="batch"), digits()
    x, y = task.held_out.x, task.held_out.y
    read = graphc.compile(graph, backend="llvm")(x).argmax(1)
    same = np.array_equal(read, graphc.compile(graph, backend="onnxruntime", level=0)(x).argmax(1))
    share = float((read == y).mean())
    console.print()
    for row in x[:shown, 0, 3:25:2, 3:25:2].transpose(1, 0, 2):
        console.print("  ".join("".join(" ░▒▓█"[int(4.99 * p)] for p in line) for line in row), highlight=False)
    console.print("  ".join(f"{digit:^11}" for digit in read[:shown]), style="bold", highlight=False)
    ok = share > 0.985 and same
    console.print(
        f"LeNet-5, trained by graphc, reads {share:.1%} of {len(y)} digits that it has not seen; "
        + ("[green]onnxruntime reads the same[/]" if same else "[red]onnxruntime reads others[/]")
    )
    return ok


def measure(name: str) -> tuple[str, str, str, str, str, str, str, str, str, bool]:
    """The cells of one row, and whether the result is within tolerance."""
    proto = light(name)
    start = time.perf_counter()
    model = graphc.compile(proto, backend="llvm")
    compile_s = time.perf_counter() - start
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    got = model(x)
    native_ms = milliseconds(model, x)

    # Only now: the threads of an onnxruntime session keep spinning after a run, and would slow ours down.
    with graphc.compile(proto, backend="onnxruntime", level=0) as oracle:
        expected = oracle(x)
        oracle_ms = milliseconds(oracle, x)
    error = float(np.abs(got - expected).max() / np.abs(expected).max())
    ok = np.allclose(got, expected, rtol=RTOL, atol=1e-6 * float(np.abs(expected).max()))

    passes = model.explain().passes
    fired = Counter(f.rule for p in passes for f in p.fired)
    folded = fired["batch_norm_before"] + fired["batch_norm_after"]
    fused = sum(n.op.name == "Fused" for n in model.graph.nodes)
    native = sum(p.backend == "llvm" for p in model.placement())
    return (
        str(passes[0].before), str(passes[-1].after), str(folded), str(fused), str(native), f"{error:.1e}",
        f"{compile_s:.2f}", f"{native_ms:.1f}", f"{oracle_ms:.1f}", ok,
    )  # fmt: skip


def milliseconds(model: graphc.CompiledModel, x: np.ndarray, runs: int = 7) -> float:
    """The median time of one inference."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[runs // 2]


if __name__ == "__main__":
    sys.exit(main())
