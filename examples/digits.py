"""Learn to read handwritten digits, by one compiled graph for each step.

    python examples/digits.py [perceptron | mlp | lenet5 | resnet] [--save FILE] [--pictures FOLDER]

1,797 scans from scikit-learn, of which a random fifth is held out. Without a name, all four networks are trained, and
a table compares them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

import graphc
from graphc import models
from graphc.autodiff import AdamW, Cosine, CrossEntropy, WarmUp, accuracy
from graphc.ir import Graph
from graphc.runtime.compile import compile
from graphc.train import Bar, Dataset, He, Recipe, Trained, Translate, Xavier, fit, initialise, pictures
from graphc.train.datasets import Task, digits
from graphc.train.metrics import confusion_matrix

BATCH, SEED = 32, 0

# Name: the network before it has learned, pixels of a side, epochs, and the largest learning rate.
NETWORKS: dict[str, tuple[Callable[[], Graph], int, int, float]] = {
    "perceptron": (lambda: models.mlp(batch="batch", inputs=64, hidden=()), 8, 40, 0.02),
    "mlp": (lambda: models.mlp(batch="batch", inputs=64, hidden=(128, 64)), 8, 100, 0.002),
    "lenet5": (lambda: models.lenet5(batch="batch"), 28, 40, 0.002),
    "resnet": (lambda: models.resnet_cifar(batch="batch", depth=8, channels=1, image_size=16), 16, 30, 0.005),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", choices=list(NETWORKS))
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the trained network as ONNX")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="curves, confusions, filters, activations, fields"
    )
    options = parser.parse_args()
    table = Table(title=f"{len(digits(8).held_out)} digits that no network has seen")
    for column in ("network", "parameters", "accuracy %", "seconds"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name in [options.network] if options.network else NETWORKS:
        task = load(name)
        found, seconds = train(name, task)
        parameters = sum(n.op.value.size for n in found.graph.constants() if n.name.endswith((".weight", ".bias")))
        share = 100 * found.history[-1]["validation_accuracy"]
        table.add_row(name, f"{parameters:,}", f"{share:.2f}", f"{seconds:.1f}")
        if options.save:
            graphc.save(found.graph, options.save)
        if options.pictures:
            draw(options.pictures, name, task, found)
    Console().print(table)
    return 0


def load(name: str) -> Task:
    """The digits in the size that the network reads."""
    size = NETWORKS[name][1]
    task = digits(size)
    if size == 8:  # rows of pixels, for networks that know nothing of images
        task = Task(*(Dataset(d.x.reshape(len(d), -1), d.y) for d in (task.train, task.held_out)), task.classes)
    return task


def train(name: str, task: Task, seed: int = SEED) -> tuple[Trained, float]:
    """What was learned, and the seconds that it took."""
    build, size, epochs, rate = NETWORKS[name]
    steps = epochs * (len(task.train) // BATCH)
    recipe = Recipe(
        CrossEntropy(),
        AdamW(weight_decay=0.05),
        WarmUp(50, Cosine(rate, steps - 50)),
        batch=BATCH,
        epochs=epochs,
        metrics={"accuracy": accuracy},
        augment=(Translate(1),) if size > 8 else (),
        seed=seed,
    )
    graph = initialise(build(), Xavier() if name == "lenet5" else He(), seed=seed)
    start = time.perf_counter()
    with Bar(epochs, say=lambda line: None) as bar:
        found = fit(graph, task.train, recipe, validation=task.held_out, watcher=bar)
    return found, time.perf_counter() - start


def draw(folder: Path, name: str, task: Task, found: Trained) -> None:
    """What was learned, as pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures.training(folder / f"{name}.svg", found.losses, found.rates, found.history)
    scores = compile(found.graph)(task.held_out.x)
    pictures.confusion(folder / f"{name}_confusion.svg", confusion_matrix(scores, task.held_out.y))
    if name == "lenet5":
        pictures.filters(folder / f"{name}_filters.svg", found.graph, "conv1.weight")
        pictures.activations(folder / f"{name}_activations.svg", found.graph, "conv1", task.held_out.x[:1])
        pictures.field(folder / f"{name}_field.svg", found.graph, "conv2", task.held_out.x[:1])


if __name__ == "__main__":
    sys.exit(main())
