"""The training loop: epochs of mini-batches through a compiled train step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graphc.autodiff.losses import Loss, Metric
from graphc.autodiff.optimisers import Clipping, Optimiser
from graphc.autodiff.regularisers import Regulariser
from graphc.autodiff.schedules import Schedule
from graphc.autodiff.step import RATE, evaluation, initial_state, train_step, trained
from graphc.autodiff.training import NEW, SEED
from graphc.dims import Dim, plain_symbol
from graphc.errors import CompileError, FeedError
from graphc.ir import Graph, Value
from graphc.passes.specialize import specialize
from graphc.runtime.carried import Carried
from graphc.runtime.compile import compile
from graphc.runtime.model import CompiledModel
from graphc.text import format_graph
from graphc.train.augmentation import Augmentation, augment
from graphc.train.averages import Averages
from graphc.train.checkpoint import read_checkpoint, write_checkpoint
from graphc.train.data import Dataset, chunks, order_of, prefetch
from graphc.train.divergence import blame
from graphc.train.feeds import feeds_of
from graphc.train.plateau import OnPlateau
from graphc.types import Array, TensorType

Record = dict[str, float]  # what an epoch came to: epoch, step, learning_rate, loss, metrics, validation_loss, …


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        loss, optimiser, schedule, regulariser, clipping, metrics: as `train_step` has them.
        batch: examples of a step; the last ones of an epoch, when they are fewer, wait for another epoch.
        epochs: how often all examples are gone through.
        augment: random changes of the first input, in order.
        patience: stop when the validation loss (without validation data, the loss) has not improved for so many epochs,
            and return the parameters that were best.
        seed: of the order of examples, augmentation and dropout.
    """

    loss: Loss
    optimiser: Optimiser
    schedule: Schedule | OnPlateau
    batch: int = 32
    epochs: int = 10
    regulariser: Regulariser | None = None
    clipping: Clipping | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    augment: tuple[Augmentation, ...] = ()
    patience: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """What training came to.

    Attributes:
        graph: for inference, with the learned parameters.
        history: a record for each epoch.
        losses: the loss of each step.
        rates: the learning rate of each step.
    """

    graph: Graph
    history: list[Record]
    losses: list[float]
    rates: list[float]


class Watcher(Protocol):
    """Who is told how training goes."""

    def on_step(self, epoch: int, done: int, batches: int, means: Mapping[str, float]) -> None:
        """After a step: the epoch (from 1), steps done of it, steps it has, means of loss and metrics so far."""
        ...

    def on_epoch(self, record: Record) -> None:
        """After an epoch."""
        ...


def fit(
    graph: Graph,
    data: Dataset,
    recipe: Recipe,
    *,
    validation: Dataset | None = None,
    backend: str = "llvm",
    threads: int | None = None,
    checkpoint: Path | None = None,
    every: int | None = None,
    watcher: Watcher | None = None,
) -> Trained:
    """`graph` with its parameters fitted to `data`.

    Where data have weights, loss and metrics are weighted means, also those of an epoch over its batches.

    The same arguments give the same bits, whether in one go or from a checkpoint on, on any number of threads.

    Args:
        graph: what infers, with inputs whose first size is one symbol (the batch); its constants are where training
            starts.
        data: the training examples.
        recipe: how.
        validation: examples that are held out; loss and metrics on them end each epoch.
        backend, threads: what runs the steps.
        checkpoint: a file that is written after each epoch; if it is there already, training goes on from it.
        every: write it after so many steps as well.
        watcher: told after each step and epoch.

    Raises:
        Diverged: the loss is not a number; the message says where that came from.
        CompileError: the graph is not one that can be trained like this, or the checkpoint is of another training.
        FeedError: the examples do not fit the graph.
    """
    return _Training(graph, data, recipe, validation, backend, threads, checkpoint, every, watcher).run()


@dataclass(eq=False)
class _Training:
    """What `fit` was asked for, and how far it is."""

    graph: Graph
    data: Dataset
    recipe: Recipe
    validation: Dataset | None
    backend: str
    threads: int | None
    checkpoint: Path | None
    every: int | None
    watcher: Watcher | None

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.batches = len(self.data) // recipe.batch
        if not self.batches:
            raise FeedError(f"{len(self.data)} examples are no batch of {recipe.batch}")
        batch = _specialized(self.graph, recipe.batch)
        self.step_graph = train_step(
            batch,
            recipe.loss,
            recipe.optimiser,
            schedule=None if isinstance(recipe.schedule, OnPlateau) else recipe.schedule,
            regulariser=recipe.regulariser,
            clipping=recipe.clipping,
            metrics=recipe.metrics,
            weighted=self.data.weights is not None,
        )
        self.is_seeded = any(v.name == SEED for v in self.step_graph.inputs)
        state = initial_state(self.step_graph, batch)
        self.parameters = [n.name for n in self.graph.constants() if n.name in state]
        self.feeds = feeds_of(self.data, self._measured(self.data), self.parameters, what="training data")
        self.progress = _Progress()
        self.best: dict[str, Array] = {}
        if self.checkpoint is not None and self.checkpoint.exists():
            state = self._resume(self.checkpoint)
        self.step = Carried(self._compiled(self.step_graph), state, prefix=NEW)
        self.evaluate = None
        if self.validation is not None:
            measured = self._measured(self.validation)
            self.held_out = feeds_of(self.validation, measured, self.parameters, what="validation data")
            self.evaluate = self._compiled(measured)

    def _measured(self, data: Dataset) -> Graph:
        recipe, weighted = self.recipe, data.weights is not None
        return evaluation(self.graph, recipe.loss, self.parameters, metrics=recipe.metrics, weighted=weighted)

    def _compiled(self, graph: Graph) -> CompiledModel:
        return compile(graph, backend=self.backend, threads=self.threads)

    def run(self) -> Trained:
        at = self.progress
        while at.epoch < self.recipe.epochs and not self._is_over():
            self._epoch()
        state = self.best or self.step.state
        return Trained(trained(self.graph, state), at.history, at.losses, at.rates)

    def _epoch(self) -> None:
        at, recipe = self.progress, self.recipe
        rate = recipe.schedule.rates(self._watched()) if isinstance(recipe.schedule, OnPlateau) else None
        with closing(prefetch(self._batches(at.epoch, at.done))) as batches:
            for part in batches:
                feeds: dict[str, Any] = dict(part)
                if rate is not None:
                    feeds[RATE] = np.float32(rate)
                if self.is_seeded:
                    feeds[SEED] = np.int64(recipe.seed)
                results = {name: float(y) for name, y in self.step(feeds).items()}
                if not math.isfinite(results["loss"]):
                    blame(self.step_graph, {**feeds, **self.step.previous}, len(at.losses), at.epoch + 1)
                at.add(results.pop(RATE, rate or 0.0), results, recipe.batch)
                if self.watcher is not None:
                    self.watcher.on_step(at.epoch + 1, at.done, self.batches, at.averages.means())
                if self.every is not None and at.done < self.batches and len(at.losses) % self.every == 0:
                    self._save()
        record = {"epoch": at.epoch + 1, "step": len(at.losses), RATE: at.rates[-1], **at.averages.means()}
        if self.evaluate is not None:
            record |= {f"validation_{name}": y for name, y in self._validate().items()}
        at.end(record)
        if recipe.patience is not None and self._watched()[-1] == min(self._watched()):
            self.best = self.step.state
        self._save()
        if self.watcher is not None:
            self.watcher.on_epoch(record)

    def _batches(self, epoch: int, done: int) -> Iterator[dict[str, Array]]:
        """What is left of an epoch after `done` steps of it."""
        size, first = self.recipe.batch, self.graph.inputs[0].name
        order = order_of(len(self.data), self.recipe.seed, epoch)
        for k in range(done, self.batches):
            part = {name: a[order[k * size : (k + 1) * size]] for name, a in self.feeds.items()}
            x = augment(part[first], self.recipe.augment, self.recipe.seed, epoch * self.batches + k)
            yield {**part, first: np.ascontiguousarray(x)}

    def _validate(self) -> Record:
        """Means over the held-out examples."""
        assert self.evaluate is not None
        assert self.validation is not None
        state = self.step.state
        parameters = {name: state[name] for name in self.parameters}
        averages = Averages()
        for part in chunks(len(self.validation), self.recipe.batch):
            results = self.evaluate.run({name: a[part] for name, a in self.held_out.items()} | parameters)
            averages.add({name: float(y) for name, y in results.items()}, part.stop - part.start)
        return averages.means()

    def _watched(self) -> list[float]:
        """For each epoch the loss that says how good it was."""
        name = "loss" if self.validation is None else "validation_loss"
        return [record[name] for record in self.progress.history]

    def _is_over(self) -> bool:
        losses, patience = self._watched(), self.recipe.patience
        return patience is not None and len(losses) - 1 - int(np.argmin([*losses, math.inf])) >= patience

    # -- checkpoints --------------------------------------------------------------------------------------------------
    def _save(self) -> None:
        if self.checkpoint is None:
            return
        at = self.progress
        steps = {"losses": np.array(at.losses), "rates": np.array(at.rates)}
        groups = {"state": self.step.state, "best": self.best, "steps": steps}
        arrays = {f"{group} {name}": a for group, found in groups.items() for name, a in found.items()}
        meta: dict[str, Any] = {"of": self._fingerprint, "epoch": at.epoch, "done": at.done, "history": at.history}
        meta["averages"] = asdict(at.averages)
        write_checkpoint(self.checkpoint, arrays, meta)

    def _resume(self, path: Path) -> dict[str, Array]:
        arrays, meta = read_checkpoint(path)
        if meta.pop("of", None) != self._fingerprint:
            raise CompileError(
                f"{path} is a checkpoint of another training",
                hint="The network, the data and the recipe must be the same, but for the number of epochs",
            )
        groups: dict[str, dict[str, Array]] = {"state": {}, "best": {}, "steps": {}}
        for name, a in arrays.items():
            group, _, own = name.partition(" ")
            groups[group][own] = a
        averages = Averages(**meta.pop("averages"))
        self.progress = _Progress(
            **meta, averages=averages, **{name: a.tolist() for name, a in groups["steps"].items()}
        )
        self.best = groups["best"]
        return groups["state"]

    @cached_property
    def _fingerprint(self) -> str:
        """What results depend on: the step, which has most of the recipe as graph code, the rest of it, and data."""
        r = self.recipe
        rest = (r.seed, r.batch, r.augment, r.patience, r.schedule if isinstance(r.schedule, OnPlateau) else None)
        shapes = {name: a.shape for name, a in self.feeds.items()}
        digest = hashlib.sha256(f"{format_graph(self.step_graph)}{rest}{shapes}".encode())
        for a in self.feeds.values():
            digest.update(np.ascontiguousarray(a).data)
        return digest.hexdigest()


@dataclass
class _Progress:
    """How far training is: epochs that are over, steps done of the next one, what has been measured."""

    epoch: int = 0
    done: int = 0
    averages: Averages = field(default_factory=Averages)
    history: list[Record] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def add(self, rate: float, results: Mapping[str, float], examples: int) -> None:
        self.done += 1
        self.losses.append(results["loss"])
        self.rates.append(rate)
        self.averages.add(results, examples)

    def end(self, record: Record) -> None:
        self.history.append(record)
        self.epoch, self.done, self.averages = self.epoch + 1, 0, Averages()


def _specialized(graph: Graph, batch: int) -> Graph:
    """`graph` for batches of a known size."""
    if not graph.inputs:
        raise CompileError("the graph has no inputs, expected what it predicts from")
    symbols = [_first_size(x) for x in graph.inputs]
    for x, symbol in zip(graph.inputs, symbols, strict=True):
        if not isinstance(symbol, str):
            raise CompileError(
                f"the input is {x}, expected a symbol as its first size, the batch", hint='Build it with batch="batch"'
            )
        if symbol != symbols[0]:
            raise CompileError(f"the inputs are {graph.inputs[0]} and {x}, expected one batch as their first size")
    return specialize(graph, {str(symbols[0]): batch})


def _first_size(x: Value) -> Dim | str | None:
    return plain_symbol(x.tensor.shape[0]) if isinstance(x.type, TensorType) and x.tensor.shape else None
