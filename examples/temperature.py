"""Tomorrow's temperature from those of the last three days, on real data.

    python examples/temperature.py [--pictures FOLDER]

Daily means of Seattle, 2012 to 2014, to learn from; 2015 is held out. The network must do better than the guess that
tomorrow is as today (persistence), and than the best linear function of the three days.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from graphc import models
from graphc.autodiff import Adam, Cosine, MeanSquared
from graphc.runtime.compile import compile
from graphc.train import Bar, Dataset, He, Recipe, Whitening, fit, initialise, pictures
from graphc.train.datasets import temperatures
from graphc.train.metrics import mean_absolute_error, root_mean_squared_error

DAYS, EPOCHS, BATCH = 3, 100, 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    task = temperatures(DAYS)
    train, test = task.train, task.held_out

    # In units of the training data's spread; one mean for all days, so that x and y stay comparable.
    scale = Whitening.fit(train.x.reshape(-1, 1))
    recipe = Recipe(
        MeanSquared(), Adam(), Cosine(0.01, EPOCHS * (len(train) // BATCH)), batch=BATCH, epochs=EPOCHS, seed=0
    )
    graph = initialise(models.temperature_mlp(batch="batch", days=DAYS), He(), seed=0)
    white = [Dataset(scale(d.x), scale(d.y)) for d in (train, test)]
    with Bar(EPOCHS, say=lambda line: None) as bar:
        found = fit(graph, white[0], recipe, validation=white[1], watcher=bar)

    design = np.c_[train.x, np.ones(len(train))]
    weights = np.linalg.lstsq(design, train.y, rcond=None)[0]
    guesses = {
        "as today": test.x[:, -1:],
        "linear": np.c_[test.x, np.ones(len(test))] @ weights,
        "network": scale.inverse(compile(found.graph, backend="llvm")(white[1].x)),
    }
    table = Table(title="2015 in Seattle, °C")
    for column in ("tomorrow is", "mean absolute error", "root mean squared error"):
        table.add_column(column, justify="left" if column == "tomorrow is" else "right")
    errors = {}
    for name, guess in guesses.items():
        errors[name] = root_mean_squared_error(guess, test.y)
        table.add_row(name, f"{mean_absolute_error(guess, test.y):.3f}", f"{errors[name]:.3f}")
    Console().print(table)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        pictures.training(options.pictures / "temperature.svg", found.losses, found.rates, found.history)
    return 0 if errors["network"] < errors["as today"] else 1


if __name__ == "__main__":
    sys.exit(main())
