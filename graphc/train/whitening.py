"""Whitening: subtract the mean, divide by the standard deviation, of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.errors import CompileError
from graphc.ir import Graph, Value
from graphc.ops.base import const
from graphc.types import Array


@dataclass(frozen=True, eq=False)
class Whitening:
    """(x − mean) / std, for each feature by itself; both broadcast to the examples."""

    mean: Array
    std: Array

    @classmethod
    def fit(cls, x: Array, *, axes: Sequence[int] = (0,), least: float = 1e-3) -> Whitening:
        """That of the training examples `x`, and of them only: held-out data must stay unseen.

        Args:
            x: the examples along axis 0.
            axes: what counts as samples of one feature: (0,) for each column or pixel, (0, 2, 3) for each channel,
                (0, 1, 2, 3) for one mean of all pixels.
            least: a smaller standard deviation counts as 1, so that a constant feature becomes 0.
        """
        over = tuple(axes)
        mean, std = x.mean(over, np.float64, keepdims=True), x.std(over, np.float64, keepdims=True)
        std = np.where(std < least, 1.0, std)
        return cls(mean[0].astype(x.dtype), std[0].astype(x.dtype))

    def __call__(self, x: Array) -> Array:
        """`x` whitened."""
        return (x - self.mean) / self.std

    def inverse(self, x: Array) -> Array:
        """What `x` was before it was whitened."""
        return x * self.std + self.mean

    def before(self, graph: Graph) -> Graph:
        """`graph` with the whitening of its first input in front of it, so that a saved model takes raw data."""
        x, *others = graph.inputs
        raw = Value(x.type, name=x.name)
        white = (raw - const(self.mean, x.dtype)) / const(self.std, x.dtype)
        if white.type != x.type:
            raise CompileError(f"the mean has shape {list(self.mean.shape)}, which does not fit {x}")
        return Graph([raw, *others], graph(white, *others), graph.output_names, name=graph.name)
