"""The examples of a data set as feeds of steps: arrays by the names of inputs, checked once for all batches."""

from __future__ import annotations

import numpy as np

from graphc.autodiff.step import TARGET, WEIGHTS
from graphc.errors import FeedError
from graphc.ir import Graph
from graphc.runtime.feeds import Feeds
from graphc.runtime.ports import Port
from graphc.train.data import Dataset
from graphc.types import Array


def feeds_of(data: Dataset, measured: Graph, parameters: list[str], *, what: str) -> dict[str, Array]:
    """The arrays of `data` by the names of the inputs that they are for.

    Args:
        data: the examples.
        measured: the evaluation of the network on batches of any size; weighted where `data` has weights.
        parameters: the inputs of `measured` that are no data.
        what: what errors call `data`.

    Raises:
        FeedError: a name is missing or unknown; an element type, a size, or a weight is none that can be.
    """
    ports = [Port(v.name, v.type) for v in measured.inputs if v.name not in parameters]
    names = [p.name for p in ports if p.name not in (TARGET, WEIGHTS)]
    try:
        arrays = {**data.named(names), TARGET: data.y}
        if data.weights is not None:
            (port,) = (p for p in ports if p.name == WEIGHTS)
            arrays[WEIGHTS] = _by_position(data.weights, data.y, port)
        bound = dict(zip((p.name for p in ports), Feeds(ports).bind_names(arrays), strict=True))
    except FeedError as e:
        raise FeedError(f"{what}: {e.message}", value=e.value, hint=e.hint) from e
    return {name: a for name, a in bound.items() if isinstance(a, np.ndarray)}


def _by_position(weights: Array, y: Array, port: Port) -> Array:
    """Weights of examples for each of their positions, in the element type of the network."""
    if weights.dtype.kind not in "biuf":
        raise FeedError(f"weights are {weights.dtype}, expected numbers or booleans", value=WEIGHTS)
    if wrong := np.argwhere(~((weights >= 0) & (weights < np.inf))).tolist():
        raise FeedError(f"a weight is {weights[tuple(wrong[0])]} at {wrong[0]}, expected one from 0 on", value=WEIGHTS)
    if not weights.any():
        raise FeedError("all weights are 0", value=WEIGHTS, hint="Something must count")
    rank = len(port.shape or ())
    positions = y.shape if rank == y.ndim else (y.shape[0], *y.shape[2:])  # scores have a class axis
    if weights.shape != positions[: weights.ndim]:
        raise FeedError(
            f"weights are {list(weights.shape)}, expected {list(positions)}" + (f" or [{len(y)}]" if rank > 1 else ""),
            value=WEIGHTS,
        )
    typed = weights.astype(port.dtype.numpy).reshape(weights.shape + (1,) * (rank - weights.ndim))
    return np.broadcast_to(typed, positions)
