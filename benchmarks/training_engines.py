"""A train step of one engine in a process of its own; see `engines.py` for what is said on its input and output.

    python benchmarks/training_engines.py ENGINE STEP.onnx FEEDS.npz RESULTS.npz THREADS

STEP.onnx is a train step of graphc, FEEDS.npz has its first inputs. PyTorch builds the same network from its name and
takes the same weights: eager, and by torch.compile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from engines import Run, serve

RATE, MOMENTUM = 0.01, 0.9


def graphc(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    import graphc
    from graphc.runtime.carried import Carried

    compiled = graphc.compile(model, backend="llvm", threads=threads)
    state = {n: x for n, x in feeds.items() if n not in ("x", "target")}
    step = Carried(compiled, state)
    batch = {n: feeds[n] for n in ("x", "target")}
    return ["loss"], lambda: [step(batch)["loss"]]


def eager(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    return _torch(model, feeds, threads, compiled=False)


def compile(model: str, feeds: dict[str, Any], threads: int) -> tuple[list[str], Run]:
    return _torch(model, feeds, threads, compiled=True)


def _torch(model: str, feeds: dict[str, Any], threads: int, *, compiled: bool) -> tuple[list[str], Run]:
    import torch
    from training_networks import BUILDERS

    torch.set_num_threads(threads)
    network = BUILDERS[Path(model).stem]()
    network.load_state_dict({n: torch.from_numpy(np.array(feeds[n])) for n, _ in _stored(network)}, strict=False)
    network.train()
    x, target = torch.from_numpy(feeds["x"]), torch.from_numpy(feeds["target"])
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    loss_of = torch.nn.CrossEntropyLoss()

    def forward(x: Any, target: Any) -> Any:
        return loss_of(network(x), target)

    evaluate = torch.compile(forward) if compiled else forward

    def run() -> list[Any]:
        optimiser.zero_grad()
        loss = evaluate(x, target)
        loss.backward()
        optimiser.step()
        return [loss.detach().numpy()]

    return ["loss"], run


def _stored(network: Any) -> list[tuple[str, Any]]:
    """Parameters and running averages, under the names that graphc's builders give them."""
    return [(n, t) for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")]


if __name__ == "__main__":
    serve({"graphc": graphc, "eager": eager, "compile": compile})
