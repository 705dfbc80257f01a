"""The data of `graphc train`: a data set by name, or the arrays of a .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from graphc.errors import CompileError, FeedError
from graphc.ir import Graph
from graphc.names import did_you_mean, listing, quote
from graphc.train.data import Dataset
from graphc.train.datasets import DATASETS, Task
from graphc.types import Array, DType, TensorType, int64

TARGETS, WEIGHTS, HELD_OUT = "y", "weights", "_test"  # names of arrays, and how those of held-out examples end


def load_data(name: str, share: float, seed: int, graph: Graph) -> Task:
    """The data set called so, or that in a file, of which a `share` is held out if it does not say what is.

    Raises:
        CompileError: there is no such data set.
        FeedError: the file cannot be read, lacks an array, or has one that nothing reads.
    """
    if name in DATASETS:
        return DATASETS[name]()
    if Path(name).suffix != ".npz":
        raise CompileError(
            f"there is no data set {quote(name)}",
            hint=f"{did_you_mean(name, DATASETS)}Use {', '.join(DATASETS)}, or a .npz file",
        )
    try:
        with np.load(name, allow_pickle=False) as file:
            arrays = {n: file[n] for n in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise FeedError(f"cannot read {name}: {e}") from e
    keys = {v.name: v.name if len(graph.inputs) > 1 else "x" for v in graph.inputs}
    _check_names(name, arrays, list(keys.values()))
    train = _examples(name, arrays, keys)
    if any(n.endswith(HELD_OUT) and n not in keys.values() for n in arrays):
        return Task(train, _examples(name, arrays, keys, HELD_OUT))
    return Task(*train.split(share, seed=seed))


def _check_names(file: str, arrays: Mapping[str, Array], keys: list[str]) -> None:
    if taken := [key for key in keys if key in (TARGETS, WEIGHTS)]:
        raise FeedError(
            f"the model has an input {quote(taken[0])}, which in a .npz file is something else",
            value=taken[0],
            hint="Rename the input",
        )
    known = [name + end for end in ("", HELD_OUT) for name in (*keys, TARGETS, WEIGHTS)]
    if unknown := [n for n in arrays if n not in known]:
        raise FeedError(
            f"{file} has an array {quote(unknown[0])} that nothing reads",
            value=unknown[0],
            hint=f"{did_you_mean(unknown[0], known)}Its arrays can be {listing(known)}",
        )


def _examples(file: str, arrays: Mapping[str, Array], keys: Mapping[str, str], end: str = "") -> Dataset:
    """Those whose arrays' names have this end; `keys` has the name without it for each input."""
    if missing := [key + end for key in (*keys.values(), TARGETS) if key + end not in arrays]:
        raise FeedError(
            f"{file} has no array {missing[0]}", value=missing[0], hint=f"It has {', '.join(arrays) or 'nothing'}"
        )
    x = {own: arrays[key + end] for own, key in keys.items()}
    return Dataset(x, arrays[TARGETS + end], arrays.get(WEIGHTS + end))


def fitted(task: Task, graph: Graph) -> Task:
    """The examples in the element types of the network, images laid out as rows where it takes rows."""
    inputs = {v.name: v for v in graph.inputs}

    def fit_input(name: str, given: Array) -> Array:
        x = inputs.get(name)
        if x is None or not isinstance(x.type, TensorType):
            return given  # `fit` says that there is no such input
        if x.rank == 2 and given.ndim > 2:
            given = given.reshape(len(given), -1)
        return converted(given, x.dtype)

    def fit_one(data: Dataset) -> Dataset:
        x = {name: fit_input(name, a) for name, a in data.named(list(inputs)).items()}
        labels = data.y.dtype.kind in "iu"
        return Dataset(x, converted(data.y, int64 if labels else graph.outputs[0].dtype), data.weights)

    return Task(fit_one(task.train), fit_one(task.held_out), task.classes)


def converted(array: Array, dtype: DType) -> Array:
    """`array` in another element type of its kind; what only truncation could convert stays, for `fit` to refuse."""
    return array.astype(dtype.numpy) if np.can_cast(array.dtype, dtype.numpy, "same_kind") else array
