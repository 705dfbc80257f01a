"""Perceptron and MLP beside scikit-learn's, on the same handwritten digits.

    python examples/beside_sklearn.py [--seeds N]

Each seed draws the fifth that is held out, first values, and the order of examples. One held-out digit is 0.28 %, so
that a single seed says little: the table has means over seeds. The exit code is 1 if graphc is behind by more than
chance: in one of forty runs one of the differences would be so by Student's t, which asks for more where seeds are few.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable

import numpy as np
from digits import train
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import t
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from graphc import models
from graphc.autodiff import L2, Adam, Constant, CrossEntropy, accuracy
from graphc.train import Dataset, Recipe, Xavier, fit, initialise
from graphc.train.datasets import Task, digits

# What MLPClassifier does by default, but for the number of epochs, which it would choose by itself.
HIDDEN, BATCH, EPOCHS, RATE, ALPHA = (128, 64), 200, 100, 0.001, 1e-4


def by_same_recipe(task: Task, seed: int) -> float:
    """graphc with the network and the recipe of `by_sklearn`."""
    recipe = Recipe(
        CrossEntropy(),
        Adam(),
        Constant(RATE),
        batch=BATCH,
        epochs=EPOCHS,
        regulariser=L2(ALPHA / 2 / BATCH),  # scikit-learn adds α/2 Σ w² to the sum over a batch
        metrics={"accuracy": accuracy},
        seed=seed,
    )
    graph = initialise(models.mlp(batch="batch", inputs=64, hidden=HIDDEN), Xavier(), seed=seed)
    return fit(graph, task.train, recipe, validation=task.held_out).history[-1]["validation_accuracy"]


def by_sklearn(task: Task, seed: int) -> float:
    """Adam with its usual constants, ReLU, Glorot's first values."""
    network = MLPClassifier(
        HIDDEN, batch_size=BATCH, max_iter=EPOCHS, n_iter_no_change=EPOCHS, learning_rate_init=RATE, alpha=ALPHA,
        random_state=seed,
    )  # fmt: skip
    return float(network.fit(task.train.x, task.train.y).score(task.held_out.x, task.held_out.y))


def of_example(name: str) -> Callable[[Task, int], float]:
    """A network of examples/digits.py with its own recipe."""
    return lambda task, seed: train(name, task, seed)[0].history[-1]["validation_accuracy"]


def linear(build: Callable[[int], LogisticRegression | Perceptron]) -> Callable[[Task, int], float]:
    return lambda task, seed: build(seed).fit(task.train.x, task.train.y).score(task.held_out.x, task.held_out.y)


# Name: how it is trained and measured, and what of scikit-learn it is compared with.
ROWS: dict[str, tuple[Callable[[Task, int], float], str]] = {
    "perceptron of digits.py": (of_example("perceptron"), "LogisticRegression"),
    "LogisticRegression": (linear(lambda seed: LogisticRegression(max_iter=1000)), ""),
    "Perceptron": (linear(lambda seed: Perceptron(random_state=seed)), ""),
    "MLP, same recipe": (by_same_recipe, "MLPClassifier"),
    "MLP of digits.py": (of_example("mlp"), "MLPClassifier"),
    "MLPClassifier": (by_sklearn, ""),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="from 0 on (20)")
    seeds = range(parser.parse_args().seeds)
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    stderr = Console(stderr=True)
    tasks = [drawn(seed) for seed in seeds]
    with threadpool_limits(1):  # NumPy's threads would wait for each other longer than they multiply
        shares = {
            name: 100
            * np.array([measure(tasks[seed], seed) for seed in track(seeds, name, console=stderr, transient=True)])
            for name, (measure, _) in ROWS.items()
        }
    table = Table(title=f"Held-out digits that are read, means over {len(seeds)} seeds")
    for column in ("classifier", "accuracy %", "ahead of", "by %"):
        table.add_column(column, justify="right" if "%" in column else "left")
    compared = sum(bool(peer) for _, peer in ROWS.values())
    behind, errors = False, t.ppf(1 - 0.025 / compared, len(seeds) - 1)
    for name, (_, peer) in ROWS.items():
        difference = shares[name] - shares[peer] if peer else None
        table.add_row(name, described(shares[name]), peer, "" if difference is None else described(difference))
        behind = behind or (difference is not None and difference.mean() < -errors * error(difference))
    Console().print(table)
    return int(behind)


def drawn(seed: int) -> Task:
    """Rows of 64 pixels, a fifth of them held out."""
    task = digits(8)
    x = np.concatenate([task.train.x, task.held_out.x]).reshape(-1, 64)
    train, held_out = Dataset(x, np.concatenate([task.train.y, task.held_out.y])).split(0.2, seed=seed)
    return Task(train, held_out, task.classes)


def error(values: np.ndarray) -> float:
    """The standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def described(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {error(values):.2f}"


if __name__ == "__main__":
    sys.exit(main())
