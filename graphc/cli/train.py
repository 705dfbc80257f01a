"""`graphc train`: fit a network to data."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer

from graphc.autodiff.losses import CrossEntropy, Loss, MeanSquared, accuracy, mean_absolute_error
from graphc.autodiff.optimisers import SGD, Adagrad, Adam, AdamW, ClipByNorm, Momentum, Optimiser, RMSProp
from graphc.autodiff.regularisers import ElasticNet
from graphc.autodiff.schedules import Constant, Cosine, Exponential, Schedule, Stairstep, WarmUp
from graphc.cli.console import note, say, say_json, stderr
from graphc.cli.options import BackendName, Json, Model, Seed, Set, Threads, load_model, parse_options
from graphc.errors import CompileError, FeedError
from graphc.ir import Graph
from graphc.names import did_you_mean, quote
from graphc.runtime.compile import compile
from graphc.runtime.frontends import save
from graphc.runtime.zoo import networks
from graphc.train import pictures
from graphc.train.data import Dataset
from graphc.train.datasets import DATASETS, Task
from graphc.train.initialisers import Gaussian, He, Initialiser, Xavier, initialise
from graphc.train.loop import Recipe, Trained, fit
from graphc.train.metrics import confusion_matrix
from graphc.train.plateau import OnPlateau
from graphc.train.progress import Bar
from graphc.train.whitening import Whitening

T = TypeVar("T")

OPTIMISERS: dict[str, tuple[Optimiser, float]] = {  # with a learning rate that is usual
    "sgd": (SGD(), 0.1),
    "momentum": (Momentum(), 0.02),
    "nesterov": (Momentum(nesterov=True), 0.02),
    "adagrad": (Adagrad(), 0.02),
    "rmsprop": (RMSProp(), 0.001),
    "adam": (Adam(), 0.002),
    "adamw": (AdamW(), 0.002),
}
INITIALISERS: dict[str, Initialiser] = {"gaussian": Gaussian(), "xavier": Xavier(), "he": He()}

SCHEDULES = ("constant", "stairstep", "exponential", "cosine", "plateau")


def train(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(DATASETS)}, or a .npz with arrays x and y, by axis 0; held-out x_test and y_test.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the trained model goes, as ONNX.")
    ] = None,
    options: Set = None,
    epochs: Annotated[int, typer.Option("--epochs", "-e", min=1, help="How often to go through the examples.")] = 20,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Examples of a step.")] = 32,
    optimiser: Annotated[str, typer.Option("--optimiser", help=f"One of {', '.join(OPTIMISERS)}.")] = "momentum",
    rate: Annotated[
        float | None, typer.Option("--rate", "-r", min=0, help="Learning rate; by default one for the optimiser.")
    ] = None,
    schedule: Annotated[
        str, typer.Option("--schedule", help=f"How the rate changes: {', '.join(SCHEDULES)}.")
    ] = "constant",
    factor: Annotated[float, typer.Option("--factor", help="By what stairstep, exponential and plateau cut it.")] = 0.1,
    every: Annotated[
        int, typer.Option("--every", min=1, help="After how many epochs: stairs, decay, patience of plateau.")
    ] = 10,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Steps in which the rate grows at first.")] = 0,
    initial: Annotated[
        str | None,
        typer.Option("--init", help=f"Draw first weights: {', '.join(INITIALISERS)}; by default those of the model."),
    ] = None,
    l1: Annotated[float, typer.Option("--l1", min=0, help="L1 penalty on weights.")] = 0.0,
    l2: Annotated[float, typer.Option("--l2", min=0, help="L2 penalty on weights.")] = 0.0,
    clip: Annotated[float | None, typer.Option("--clip", min=0, help="Bound of the norm of all gradients.")] = None,
    smoothing: Annotated[float, typer.Option("--smoothing", min=0, max=0.99, help="Of labels.")] = 0.0,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0, max=0.9, help="Share of a .npz without x_test that is held out.")
    ] = 0.2,
    patience: Annotated[
        int | None, typer.Option("--patience", min=1, help="Stop after so many epochs without improvement.")
    ] = None,
    whiten: Annotated[bool, typer.Option("--whiten", help="Whiten features; becomes part of the model.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Written after each epoch; training goes on from it.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FOLDER", help="Write pictures there.")] = None,
    backend: BackendName = "llvm",
    threads: Threads = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a network: labels (integers y) by cross-entropy, numbers by the mean squared error.

    The first size of the model's input must be a symbol, the batch; networks of the zoo are built that way.
    """
    method, usual = _choose(optimiser, OPTIMISERS, "--optimiser")
    drawn = None if initial is None else _choose(initial, INITIALISERS, "--init")
    task = load_data(data, held_out, seed)
    chosen = parse_options(options)
    graph = load_model(model, options={"batch": "batch", **chosen} if model in networks() else chosen)
    task = fitted(task, graph)
    if drawn is not None:
        graph = initialise(graph, drawn, seed=seed)
    whitening = Whitening.fit(task.train.x) if whiten else None
    if whitening is not None:
        white = [Dataset(whitening(d.x), d.y) for d in (task.train, task.held_out)]
        task = Task(white[0], white[1])
    labels = task.train.y.dtype.kind == "i"
    loss: Loss = CrossEntropy(smoothing=smoothing) if labels else MeanSquared()
    steps = len(task.train) // batch
    recipe = Recipe(
        loss,
        method,
        scheduled(schedule, usual if rate is None else rate, factor, every, warm_up, steps, epochs),
        batch=batch,
        epochs=epochs,
        regulariser=ElasticNet(l1, l2) if l1 or l2 else None,
        clipping=None if clip is None else ClipByNorm(clip),
        metrics={"accuracy": accuracy} if labels else {"mean absolute error": mean_absolute_error},
        patience=patience,
        seed=seed,
    )
    with Bar(epochs, (lambda line: None) if json else say, stderr) as bar:
        found = fit(
            graph,
            task.train,
            recipe,
            validation=task.held_out if len(task.held_out) else None,
            backend=backend,
            threads=threads,
            checkpoint=checkpoint,
            watcher=bar,
        )
    learned = found.graph if whitening is None else whitening.before(found.graph)
    if output is not None:
        try:
            save(learned, output)
        except OSError as e:
            raise CompileError(f"cannot write {output}: {e.strerror or e}") from e
        note(f"wrote {output}")
    if plot is not None:
        write_pictures(plot, found, task)
    if json:
        say_json({"history": found.history, "losses": found.losses, "output": output})


def load_data(name: str, share: float, seed: int) -> Task:
    """The data set called so, or that in a file."""
    if name in DATASETS:
        return DATASETS[name]()
    path = Path(name)
    if path.suffix != ".npz":
        raise CompileError(
            f"there is no data set {quote(name)}",
            hint=f"{did_you_mean(name, DATASETS)}Use {', '.join(DATASETS)}, or a .npz file",
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {n: file[n] for n in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise FeedError(f"cannot read {name}: {e}") from e
    if missing := [n for n in ("x", "y") if n not in arrays]:
        raise FeedError(f"{name} has no array {missing[0]}", hint=f"It has {', '.join(arrays) or 'nothing'}")
    train = Dataset(arrays["x"], arrays["y"])
    if "x_test" in arrays and "y_test" in arrays:
        return Task(train, Dataset(arrays["x_test"], arrays["y_test"]))
    return Task(*train.split(share, seed=seed))


def fitted(task: Task, graph: Graph) -> Task:
    """The examples in the element types of the network, images laid out as rows where it takes rows."""
    (x,) = graph.inputs[:1]

    def fit_one(data: Dataset) -> Dataset:
        given = data.x.astype(x.dtype.numpy)
        if x.rank == 2 and given.ndim > 2:
            given = given.reshape(len(given), -1)
        labels = data.y.dtype.kind in "iu"
        return Dataset(given, data.y.astype(np.int64 if labels else x.dtype.numpy))

    return Task(fit_one(task.train), fit_one(task.held_out), task.classes)


def scheduled(
    name: str, rate: float, factor: float, every: int, warm_up: int, steps: int, epochs: int
) -> Schedule | OnPlateau:
    """The schedule called so, with `steps` in an epoch."""
    _choose(name, dict.fromkeys(SCHEDULES), "--schedule")
    if name == "plateau":
        if warm_up:
            raise CompileError("--warm-up does not go with --schedule plateau")
        return OnPlateau(rate, factor, every)
    made: dict[str, Schedule] = {
        "constant": Constant(rate),
        "stairstep": Stairstep(rate, factor, every * max(steps, 1)),
        "exponential": Exponential(rate, factor, every * max(steps, 1)),
        "cosine": Cosine(rate, max(epochs * steps - warm_up, 1)),
    }
    chosen = made[name]
    return WarmUp(warm_up, chosen) if warm_up else chosen


def write_pictures(folder: Path, found: Trained, task: Task) -> None:
    """Curves; of classifiers the confusion matrix; of convolutions the first kernels."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise CompileError(f"cannot write to {folder}: {e.strerror or e}") from e
    pictures.training(folder / "training.png", found.losses, found.rates, found.history)
    if task.held_out.y.dtype.kind == "i" and len(task.held_out):
        scores = compile(found.graph)(task.held_out.x)
        if scores.ndim == 2:
            pictures.confusion(folder / "confusion.png", confusion_matrix(scores, task.held_out.y))
    kernels = [n.name for n in found.graph.constants() if n.name and n.output.rank == 4]
    if kernels:
        pictures.filters(folder / "filters.png", found.graph, kernels[0])
    note(f"wrote pictures to {folder}")


def _choose(name: str, table: Mapping[str, T], option: str) -> T:
    if name not in table:
        raise CompileError(
            f"{option} {quote(name)} is not known", hint=f"{did_you_mean(name, table)}Use {', '.join(table)}"
        )
    return table[name]
