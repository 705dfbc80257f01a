"""What an introduction to deep learning says about training, tried out on handwritten digits.

    python examples/lecture.py [EXPERIMENT …] [--folder docs/training]

The experiments are activations, optimisers, schedules, regularisation and initialisation: for each a picture of curves,
and a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import graphc
from graphc.autodiff import (
    L2,
    SGD,
    Adagrad,
    Adam,
    Constant,
    Cosine,
    CrossEntropy,
    Exponential,
    Momentum,
    RMSProp,
    Stairstep,
    accuracy,
)
from graphc.ir import Graph, Value
from graphc.models.builder import Builder, features, flatten, images, max_pool, network, relu, softmax
from graphc.ops.base import const
from graphc.ops.dropout import Dropout
from graphc.ops.math import Tanh
from graphc.train import Dataset, Gaussian, He, OnPlateau, Recipe, Trained, Translate, Xavier, fit, initialise
from graphc.train.datasets import digits
from graphc.train.pictures import Chart, curves

TASK = digits(8)
TRAIN, HELD_OUT = (Dataset(d.x.reshape(len(d), 64), d.y) for d in (TASK.train, TASK.held_out))
EPOCHS, BATCH = 20, 32
STEPS = len(TRAIN) // BATCH
RECIPE = Recipe(CrossEntropy(), Momentum(), Constant(0.02), BATCH, EPOCHS, metrics={"accuracy": accuracy})


def tanh(x: Value) -> Value:
    return Tanh().apply((x,))[0]


def mlp(*hidden: int, activation=relu) -> Graph:
    net, x = Builder(0), features("batch", 64)
    y = x
    for i, units in enumerate(hidden):
        y = activation(net.dense(f"fc{i + 1}", y, units))
    return network("mlp", x, softmax(net.dense("scores", y, 10)))


def show(title: str, runs: Mapping[str, Trained]) -> None:
    """The last epoch of each run."""
    table = Table(title=title)
    for column in ("", "loss", "held-out loss", "held-out accuracy %"):
        table.add_column(column, justify="left" if not column else "right")
    for name, run in runs.items():
        last = run.history[-1]
        cells = f"{last['loss']:.4f}", f"{last['validation_loss']:.4f}", f"{100 * last['validation_accuracy']:.2f}"
        table.add_row(name, *cells)
    Console().print(table)


def losses(runs: Mapping[str, Trained]) -> Chart:
    return Chart("loss", {n: r.losses for n, r in runs.items()}, window=STEPS, log=True)


def of_epochs(what: str, runs: Mapping[str, Trained], of: str) -> Chart:
    return Chart(of, {n: [e[what] for e in r.history] for n, r in runs.items()}, along="epoch", log="loss" in what)


def activations(folder: Path) -> None:
    """ReLU learns faster than tanh: its gradient does not vanish where units are large."""
    runs = {
        name: fit(initialise(mlp(64, 64, 64, activation=f), first), TRAIN, replace(RECIPE, optimiser=SGD()),
                  validation=HELD_OUT)
        for name, f, first in (("tanh", tanh, Xavier()), ("ReLU", relu, He()))
    }  # fmt: skip
    show("activations: three hidden layers, SGD at 0.02", runs)
    curves(folder / "activations.svg", losses(runs))


def optimisers(folder: Path) -> None:
    chosen = {
        "SGD, 0.02": (SGD(), 0.02),
        "momentum, 0.02": (Momentum(), 0.02),
        "Nesterov, 0.02": (Momentum(nesterov=True), 0.02),
        "Adagrad, 0.02": (Adagrad(), 0.02),
        "RMSProp, 0.001": (RMSProp(), 0.001),
        "Adam, 0.001": (Adam(), 0.001),
        "Adam, no correction": (Adam(bias_correction=False), 0.001),
    }
    graph = initialise(mlp(64), He())
    runs = {
        name: fit(graph, TRAIN, replace(RECIPE, optimiser=o, schedule=Constant(rate)), validation=HELD_OUT)
        for name, (o, rate) in chosen.items()
    }
    show("optimisers, with learning rates", runs)
    first = Chart("loss", {n: r.losses[: 3 * STEPS] for n, r in runs.items()}, window=10, log=True)
    curves(folder / "optimisers.svg", first, losses(runs))


def schedules(folder: Path) -> None:
    """A large rate is fast at first, and noisy at last: so it falls."""
    rate, every, batch = 0.1, 5, 8
    steps = len(TRAIN) // batch
    chosen = {
        "constant 0.1": Constant(rate),
        "constant 0.001": Constant(0.001),
        "stairstep": Stairstep(rate, 0.2, every * steps),
        "exponential": Exponential(rate, 0.2, every * steps),
        "cosine": Cosine(rate, EPOCHS * steps),
        "on plateau": OnPlateau(rate, 0.2, patience=1),
    }
    graph = initialise(mlp(64), He())
    runs = {
        name: fit(graph, TRAIN, replace(RECIPE, schedule=s, batch=batch), validation=HELD_OUT)
        for name, s in chosen.items()
    }
    show("learning rates: momentum, batches of 8", runs)
    rates = Chart("learning rate", {n: r.rates for n, r in runs.items()}, log=True)
    curves(folder / "schedules.svg", rates, of_epochs("loss", runs, "loss"))


def regularisation(folder: Path) -> None:
    """With 200 examples a network learns them by heart; what keeps it from that helps with others."""

    def build(ratio: float) -> Graph:
        net, x = Builder(0), images("batch", 1, 16)
        y = max_pool(relu(net.conv("conv1", x, 16, 3, pad=1)), 2, 2)
        y = flatten(max_pool(relu(net.conv("conv2", y, 32, 3, pad=1)), 2, 2))
        y = relu(net.dense("fc1", y, 128))
        y = Dropout().apply((y, const(np.float32(ratio))), "drop")[0] if ratio else y
        return initialise(network("net", x, softmax(net.dense("fc2", y, 10))), He())

    task = digits(16)
    few, many = task.train[np.arange(200)], task.held_out
    recipe = replace(RECIPE, optimiser=Adam(), schedule=Constant(0.001), batch=25, epochs=60)
    shifted = (Translate(1),)
    runs = {
        name: fit(build(ratio), few, replace(recipe, augment=augment, regulariser=penalty), validation=many)
        for name, ratio, augment, penalty in (
            ("nothing", 0.0, (), None),
            ("L2", 0.0, (), L2(1e-3)),
            ("dropout", 0.5, (), None),
            ("augmentation", 0.0, shifted, None),
            ("dropout, augmentation", 0.5, shifted, None),
        )
    }
    show("regularisation: 200 examples", runs)
    curves(
        folder / "regularisation.svg",
        of_epochs("loss", runs, "loss"),
        of_epochs("validation_loss", runs, "held-out loss"),
    )


def initialisation(folder: Path) -> None:
    """Ten ReLU layers: small Gaussians let the signal die out, He keeps its size from layer to layer."""
    graph = mlp(*[64] * 10)
    runs, spreads = {}, {}
    for name, first in (("Gaussian 0.01", Gaussian(0.01)), ("Xavier", Xavier()), ("He", He())):
        start = initialise(graph, first)
        hidden = [n.output for n in start.nodes if n.op.name == "Relu"]
        layers = graphc.compile(start.with_outputs(hidden, [f"layer{k}" for k in range(len(hidden))]))(TRAIN.x[:500])
        spreads[name] = [float(y.std()) for y in layers]
        runs[name] = fit(start, TRAIN, RECIPE, validation=HELD_OUT)
    show("first values: ten hidden layers", runs)
    before = Chart("standard deviation before training", spreads, along="layer", log=True)
    curves(folder / "initialisation.svg", before, losses(runs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/training"))
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="some of them, by the names above")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    experiments = {e.__name__: e for e in (activations, optimisers, schedules, regularisation, initialisation)}
    for name in options.experiments or experiments:
        experiments[name](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
