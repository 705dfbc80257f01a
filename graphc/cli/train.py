"""`graphc train`: fit a network to data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from graphc.autodiff.losses import CrossEntropy, Loss, MeanSquared, accuracy, mean_absolute_error
from graphc.autodiff.optimisers import SGD, Adagrad, Adam, AdamW, ClipByNorm, Momentum, Optimiser, RMSProp
from graphc.autodiff.regularisers import ElasticNet
from graphc.autodiff.schedules import Constant, Cosine, Exponential, Schedule, Stairstep, WarmUp
from graphc.cli.console import note, say, say_json, stderr, writing
from graphc.cli.data import fitted, load_data
from graphc.cli.options import BackendName, Json, Model, Seed, Set, Threads, load_model, parse_options
from graphc.errors import CompileError
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
            help=f"{', '.join(DATASETS)}, or a .npz: arrays x (of several inputs: each by name), y, and maybe weights; "
            "examples along axis 0, those that are held out in x_test, y_test, …",
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

    The first size of the model's inputs must be a symbol, the batch; networks of the zoo are built that way.
    Weights say what each example, or each position of its target, counts for: numbers from 0 on, or a mask.
    """
    method, usual = _choose(optimiser, OPTIMISERS, "--optimiser")
    drawn = None if initial is None else _choose(initial, INITIALISERS, "--init")
    chosen = parse_options(options)
    graph = load_model(model, options={"batch": "batch", **chosen} if model in networks() else chosen)
    task = fitted(load_data(data, held_out, seed, graph), graph)
    if drawn is not None:
        graph = initialise(graph, drawn, seed=seed)
    whitening = None
    if whiten:
        whitening, task = whitened(task, graph)
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
        with writing(output):
            save(learned, output)
        note(f"wrote {output}")
    if plot is not None:
        write_pictures(plot, found, task)
    if json:
        say_json({"history": found.history, "losses": found.losses, "output": output})


def whitened(task: Task, graph: Graph) -> tuple[Whitening, Task]:
    """How the first input is whitened, and the examples after that."""
    first, names = graph.inputs[0].name, [v.name for v in graph.inputs]
    whitening = Whitening.fit(task.train.named(names)[first])

    def white(data: Dataset) -> Dataset:
        x = data.named(names)
        return replace(data, x={**x, first: whitening(x[first])})

    return whitening, Task(white(task.train), white(task.held_out), task.classes)


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
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures.training(folder / "training.png", found.losses, found.rates, found.history)
    if task.held_out.y.dtype.kind == "i" and len(task.held_out):
        data = task.held_out
        model = compile(found.graph)
        scores = next(iter(model.run(data.named([p.name for p in model.inputs])).values()))
        if scores.ndim == 2:
            pictures.confusion(folder / "confusion.png", confusion_matrix(scores, data.y))
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
