"""Scan outputs at run time: slices, one for each trip of a loop, and what they are stacked to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from graphc.dims import SymDim, plain_symbol, substitute
from graphc.errors import ExecutionError
from graphc.ir import Value
from graphc.limits import current_limits
from graphc.ops.base import normalize_axis
from graphc.types import Array, TensorType

Given = Iterable[tuple[Value, tuple[int, ...] | None]]  # inputs of a body, and the shapes of those that are tensors


class ScanOutputs:
    """The slices of the scan outputs, held against the limit on a tensor's size while they come in.

    Args:
        values: the outputs of the body that are slices.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self._values = values
        self._slices: list[list[Array]] = [[] for _ in values]
        self._bytes = [0 for _ in values]

    def add(self, slices: Sequence[Array]) -> None:
        """Those of one more trip, one for each output. Raises `ResourceLimit`."""
        for i, x in enumerate(slices):
            self._slices[i].append(x)
            self._bytes[i] += x.nbytes
            current_limits().check(f"size of scan output {i} in bytes", self._bytes[i], "max_tensor_bytes")

    def stacked(self, axes: Sequence[int], reverse: Sequence[int], given: Given) -> list[Array]:
        """The outputs: slices along a new axis each, in `reverse` the last one first.

        Without trips they have the sizes that the types of the slices say, where what is `given` to the body says what
        their symbols are; a size that arises in the body is 0. Raises `ExecutionError` for slices of different shapes.
        """
        found = []
        sizes = None if any(self._slices) else _sizes(given)
        for v, slices, axis, backwards in zip(self._values, self._slices, axes, reverse, strict=True):
            if sizes is None:
                found.append(_stack(slices[::-1] if backwards else slices, axis))
                continue
            shape = [substitute(d, lambda s: sizes.get(s.name)) for d in v.shape or ()]
            numbers = [0 if isinstance(d, SymDim) else d for d in shape]
            numbers.insert(normalize_axis(axis, len(shape) + 1), 0)
            found.append(np.empty(numbers, v.dtype.numpy))
        return found


def _stack(slices: Sequence[Array], axis: int) -> Array:
    for trip, s in enumerate(slices):
        if s.shape != slices[0].shape:
            raise ExecutionError(
                f"a scan output has shape {list(slices[0].shape)} in the first trip, {list(s.shape)} in trip {trip}"
            )
    return np.stack(slices, normalize_axis(axis, slices[0].ndim + 1))


def _sizes(given: Given) -> dict[str, int]:
    """What the shapes of arrays say of the symbols in the types of `given`."""
    found: dict[str, int] = {}
    for v, shape in given:
        if isinstance(v.type, TensorType) and v.type.shape is not None and shape is not None:
            for d, n in zip(v.type.shape, shape, strict=True):
                name = plain_symbol(d)
                if isinstance(name, str):
                    found.setdefault(name, n)
    return found
